-- Schema 1 to 2, before columns.sql and contents.sql. What schema 1 calls blocks stays as it is, under its new name.
DROP VIEW contents;
DROP INDEX blocks_by_time;
ALTER TABLE blocks RENAME TO raw;
CREATE INDEX raw_by_end ON raw (component_id, end_ms, start_ms, pod_id, sequence, kind);
ALTER TABLE components DROP COLUMN longest_ms;
ALTER TABLE watermarks ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0;
UPDATE watermarks SET last_ms = latest.end_ms
FROM (SELECT pod_id, boot, max(end_ms) AS end_ms FROM raw GROUP BY pod_id, boot) AS latest
WHERE latest.pod_id = watermarks.pod_id AND latest.boot = watermarks.boot;
