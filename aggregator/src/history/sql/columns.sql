-- Columns. Tier 0: whole frames, exactly as they arrived. Tiers 1 to 3: what the component did in each 15 s, minute and
-- 15 minutes, over all pods. A bucket is the hour that a frame starts in; roll-ups are made of merged blocks alone.
CREATE TABLE blocks (
    id           INTEGER PRIMARY KEY,
    component_id INTEGER NOT NULL REFERENCES components,
    tier         INTEGER NOT NULL CHECK (tier IN (0, 1, 2, 3)),
    bucket_ms    INTEGER NOT NULL,
    start_ms     INTEGER NOT NULL,
    end_ms       INTEGER NOT NULL,
    rows         INTEGER NOT NULL, -- frames, or steps
    samples      INTEGER NOT NULL,
    arrivals     INTEGER NOT NULL,
    progress     INTEGER NOT NULL,
    merged       INTEGER NOT NULL CHECK (merged IN (0, 1)), -- 1: the roll-ups know of it
    crc32c       INTEGER NOT NULL, -- of the columns above less id and merged, little-endian, and data
    data         BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_by_end ON blocks (component_id, tier, end_ms, start_ms, merged, bucket_ms);
CREATE INDEX blocks_by_age ON blocks (tier, end_ms);
CREATE INDEX blocks_unmerged ON blocks (bucket_ms, component_id) WHERE merged = 0;

-- How much there is in raw and in blocks of tier 0, kept up to date.
CREATE TABLE extents (
    component_id INTEGER PRIMARY KEY REFERENCES components,
    from_ms      INTEGER NOT NULL,
    to_ms        INTEGER NOT NULL,
    samples      INTEGER NOT NULL,
    batches      INTEGER NOT NULL
) STRICT;

-- Frames that end before are too old to be stored: watermarks may be gone.
CREATE TABLE horizon (
    id        INTEGER PRIMARY KEY CHECK (id = 0),
    oldest_ms INTEGER NOT NULL
) STRICT;

