-- What there is of each component: a line a kind, with its rows (samples, arrivals and progress of columns; steps of
-- roll-ups), the blocks that hold them, the bytes as stored and the times in UTC.
CREATE VIEW contents (component, kind, rows, blocks, bytes, "from", "to") AS
SELECT
    components.key,
    'raw ' || CASE raw.kind WHEN 0 THEN 'arrivals' WHEN 1 THEN 'progress' ELSE 'samples' END,
    sum(raw.rows),
    count(*),
    sum(length(raw.data)),
    strftime('%Y-%m-%dT%H:%M:%fZ', min(raw.start_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(raw.end_ms) / 1000.0, 'unixepoch')
FROM raw JOIN components ON components.id = raw.component_id
GROUP BY components.key, raw.kind
UNION ALL
SELECT
    components.key,
    CASE blocks.tier WHEN 0 THEN 'columns' WHEN 1 THEN 'steps of 15 s' WHEN 2 THEN 'roll-up of 1 min'
        ELSE 'roll-up of 15 min' END,
    CASE blocks.tier WHEN 0 THEN sum(blocks.samples + blocks.arrivals + blocks.progress) ELSE sum(blocks.rows) END,
    count(*),
    sum(length(blocks.data)),
    strftime('%Y-%m-%dT%H:%M:%fZ', min(blocks.start_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(blocks.end_ms) / 1000.0, 'unixepoch')
FROM blocks JOIN components ON components.id = blocks.component_id
GROUP BY components.key, blocks.tier
UNION ALL
SELECT components.key, 'gaps', sum(gaps.to_sequence - gaps.from_sequence), count(*), NULL,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(gaps.at_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(gaps.at_ms) / 1000.0, 'unixepoch')
FROM gaps JOIN components ON components.id = gaps.component_id
WHERE gaps.at_ms < 9223372036854775807
GROUP BY components.key
UNION ALL
SELECT components.key, 'models', count(*), count(*), sum(length(models.weights)),
    strftime('%Y-%m-%dT%H:%M:%fZ', min(models.trained_at_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(models.trained_at_ms) / 1000.0, 'unixepoch')
FROM models JOIN components ON components.id = models.component_id
GROUP BY components.key
UNION ALL
SELECT components.key, 'decisions', count(*), count(*), sum(length(decisions.body)),
    strftime('%Y-%m-%dT%H:%M:%fZ', min(decisions.at_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(decisions.at_ms) / 1000.0, 'unixepoch')
FROM decisions JOIN components ON components.id = decisions.component_id
GROUP BY components.key
UNION ALL
SELECT components.key, 'forecasts', count(*), count(*), sum(length(forecasts.data)),
    strftime('%Y-%m-%dT%H:%M:%fZ', min(forecasts.made_at_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(forecasts.made_at_ms) / 1000.0, 'unixepoch')
FROM forecasts JOIN components ON components.id = forecasts.component_id
GROUP BY components.key
UNION ALL
SELECT components.key, 'allocations', count(*), count(*), NULL,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(allocations.from_ms) / 1000.0, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', max(allocations.from_ms) / 1000.0, 'unixepoch')
FROM allocations JOIN components ON components.id = allocations.component_id
GROUP BY components.key;
