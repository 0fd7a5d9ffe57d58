INSERT INTO extents
SELECT component_id, min(start_ms), max(end_ms), ifnull(sum(rows) FILTER (WHERE kind = 2), 0),
    ifnull(sum(rows) FILTER (WHERE kind = 0), 0)
FROM raw GROUP BY component_id;
