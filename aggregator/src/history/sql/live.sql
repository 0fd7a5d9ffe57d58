-- What components were given, as the platform told: a row a change, which holds until the next; NULL where it was not
-- known any more.
CREATE TABLE allocations (
    component_id   INTEGER NOT NULL REFERENCES components,
    from_ms        INTEGER NOT NULL,
    replicas       INTEGER,
    ready          INTEGER,
    cpu_millicores INTEGER, -- of each replica
    PRIMARY KEY (component_id, from_ms)
) STRICT, WITHOUT ROWID;

-- What planner and feedback had in mind of each component at the last tick that changed it: where the next start goes on.
CREATE TABLE carried (
    component_id INTEGER PRIMARY KEY REFERENCES components,
    at_ms        INTEGER NOT NULL,
    body         TEXT NOT NULL -- JSON
) STRICT;

