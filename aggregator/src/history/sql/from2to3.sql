-- Schema 2 to 3, after runs.sql and before contents.sql.
INSERT INTO ticked SELECT 0, max(at_ms) FROM carried HAVING count(*) > 0;
DROP VIEW IF EXISTS contents;
