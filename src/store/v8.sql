-- What ports and devices were identified as, and what their owner says of their kind.

-- By content, without the time: a port that says the same for years is one row here, and equal devices share it.
CREATE TABLE identifications (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,    -- SHA-256 of body
    body   TEXT NOT NULL            -- see src/store/identification_body.rs
) STRICT;

CREATE TABLE identified_ports (
    endpoint       INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    protocol       TEXT NOT NULL,
    port           INTEGER NOT NULL,
    method         TEXT NOT NULL,
    identification INTEGER NOT NULL REFERENCES identifications (id),
    time           INTEGER NOT NULL,    -- at most a day behind
    PRIMARY KEY (endpoint, protocol, port, method)
) STRICT, WITHOUT ROWID;

CREATE TABLE identified_devices (
    device         INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    method         TEXT NOT NULL,
    identification INTEGER NOT NULL REFERENCES identifications (id),
    time           INTEGER NOT NULL,    -- at most a day behind
    PRIMARY KEY (device, method)
) STRICT, WITHOUT ROWID;

ALTER TABLE devices ADD COLUMN own_type TEXT;       -- as the owner says, as is the next
ALTER TABLE devices ADD COLUMN tags TEXT;           -- separated by spaces
ALTER TABLE devices ADD COLUMN silenced INTEGER;    -- when it fell silent after an identification

-- Of a change of what a port is: what it was before is in `was`.
ALTER TABLE changes ADD COLUMN becomes TEXT;
