-- Frames that come late find the gap that they fall in by the run of their agent.
CREATE INDEX gaps_by_run ON gaps (pod_id, boot, to_sequence);

-- When the last tick was, whatever it changed of what is carried over.
CREATE TABLE ticked (
    id    INTEGER PRIMARY KEY CHECK (id = 0),
    at_ms INTEGER NOT NULL
) STRICT;

