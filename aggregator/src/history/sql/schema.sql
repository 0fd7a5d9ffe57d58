-- The history: one SQLite file, schema version 3. Times are milliseconds since the Unix epoch.
-- To look into it while it is in use: sqlite3 -readonly FILE 'SELECT * FROM contents'

-- Components, by namespace/kind.group/name/container: the namespace is the tenant.
CREATE TABLE components (
    id  INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
) STRICT;

-- Pods, the replicas of components: a pod of the same name that comes later has another uid.
CREATE TABLE pods (
    id           INTEGER PRIMARY KEY,
    component_id INTEGER NOT NULL REFERENCES components,
    uid          TEXT NOT NULL,
    name         TEXT NOT NULL,
    UNIQUE (component_id, uid)
) STRICT;

-- The frame that is expected next of each run of an agent: a lower sequence has been taken before. Moves in the
-- transaction that stores the frames, so a frame counts once however often it is sent.
CREATE TABLE watermarks (
    pod_id        INTEGER NOT NULL REFERENCES pods,
    boot          BLOB NOT NULL,
    next_sequence INTEGER NOT NULL,
    last_ms       INTEGER NOT NULL DEFAULT 0, -- the latest event of the frames below it
    PRIMARY KEY (pod_id, boot)
) STRICT, WITHOUT ROWID;

-- Frames as they arrived, not yet in columns: what one frame held of one kind. start_ms and end_ms are the earliest and
-- the latest event of the whole frame.
CREATE TABLE raw (
    id           INTEGER PRIMARY KEY,
    component_id INTEGER NOT NULL REFERENCES components,
    start_ms     INTEGER NOT NULL,
    end_ms       INTEGER NOT NULL,
    pod_id       INTEGER NOT NULL REFERENCES pods,
    boot         BLOB NOT NULL,
    sequence     INTEGER NOT NULL,
    kind         INTEGER NOT NULL CHECK (kind IN (0, 1, 2)), -- 0 arrivals, 1 progress, 2 samples
    rows         INTEGER NOT NULL,
    codec        INTEGER NOT NULL, -- 0 bincode, 1 bincode in an LZ4 block behind its length unpacked
    crc32c       INTEGER NOT NULL, -- of the columns above from component_id on, little-endian, and data
    data         BLOB NOT NULL
) STRICT;
-- By the end, since one frame with a wild start must not make every range a long one.
CREATE INDEX raw_by_end ON raw (component_id, end_ms, start_ms, pod_id, sequence, kind);

-- Frames that never came: from_sequence up to, not including, to_sequence, the frame that came at at_ms. Those before what
-- was imported lie at the end of all time: they are not missed, and may be imported later.
CREATE TABLE gaps (
    component_id  INTEGER NOT NULL REFERENCES components,
    pod_id        INTEGER NOT NULL REFERENCES pods,
    boot          BLOB NOT NULL,
    from_sequence INTEGER NOT NULL,
    to_sequence   INTEGER NOT NULL,
    at_ms         INTEGER NOT NULL
) STRICT;
CREATE INDEX gaps_by_time ON gaps (component_id, at_ms);

-- Trained models, the newest few of each component; the active one makes the forecasts.
CREATE TABLE models (
    component_id  INTEGER NOT NULL REFERENCES components,
    version       INTEGER NOT NULL,
    kind          TEXT NOT NULL,
    trained_at_ms INTEGER NOT NULL,
    scores        TEXT NOT NULL, -- JSON
    confidence    REAL NOT NULL,
    active        INTEGER NOT NULL CHECK (active IN (0, 1)),
    crc32c        INTEGER NOT NULL, -- of weights
    weights       BLOB NOT NULL,
    PRIMARY KEY (component_id, version)
) STRICT;

-- What the planner decided, and what became of it.
CREATE TABLE decisions (
    component_id INTEGER NOT NULL REFERENCES components,
    at_ms        INTEGER NOT NULL,
    body         TEXT NOT NULL, -- JSON
    PRIMARY KEY (component_id, at_ms)
) STRICT;

-- What was forecast, to be scored against what came.
CREATE TABLE forecasts (
    component_id INTEGER NOT NULL REFERENCES components,
    made_at_ms   INTEGER NOT NULL,
    codec        INTEGER NOT NULL, -- as in blocks
    crc32c       INTEGER NOT NULL, -- of data
    data         BLOB NOT NULL,
    PRIMARY KEY (component_id, made_at_ms)
) STRICT;

