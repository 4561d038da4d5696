-- Scans, devices, and what was found on them. Times are UTC in milliseconds since 1970 as the machine's
-- clock said, which may have been years off: order is by `scans.id` and `observations.seq`, never by time.

CREATE TABLE scans (
    id       INTEGER PRIMARY KEY,   -- Unix seconds, or one more than the scan before
    scanner  TEXT NOT NULL,
    kind     TEXT NOT NULL,         -- run, seen, manual
    ports    TEXT NOT NULL,         -- what was asked for: 22,80,8000-8100
    status   TEXT NOT NULL,         -- running, complete, partial, failed
    started  INTEGER NOT NULL,
    finished INTEGER
) STRICT;

-- A device is its MAC where that is known, else its address.
CREATE TABLE devices (
    id          INTEGER PRIMARY KEY,
    mac         TEXT UNIQUE,        -- B8:27:EB:AC:14:3E
    address     TEXT NOT NULL,      -- where it was last seen
    name        TEXT,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,   -- at most an hour behind
    latest_scan INTEGER,            -- its newest complete observation
    latest_seq  INTEGER,
    FOREIGN KEY (latest_scan, latest_seq) REFERENCES observations (scan, seq)
) STRICT;
CREATE UNIQUE INDEX devices_without_mac ON devices (address) WHERE mac IS NULL;

-- What a look at a host found, without what changes from look to look: see src/store/verdicts.rs.
CREATE TABLE results (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,    -- SHA-256 of body
    body   BLOB NOT NULL
) STRICT;

-- One look at one host. Clustered by scan, so that a scan is read in one go and a finished host appends to
-- one page, with no second index to write.
CREATE TABLE observations (
    scan        INTEGER NOT NULL REFERENCES scans (id),
    seq         INTEGER NOT NULL,   -- ascending over all scans: the newest has the greatest
    device      INTEGER NOT NULL REFERENCES devices (id),
    address     TEXT NOT NULL,      -- where it was then
    protocol    TEXT NOT NULL,
    status      TEXT NOT NULL,      -- up, down, partial
    result      INTEGER REFERENCES results (id),  -- only when up
    reason      TEXT,               -- what the default state rests on; only when up
    probes      INTEGER NOT NULL,
    started     INTEGER NOT NULL,
    finished    INTEGER NOT NULL,
    preparation INTEGER NOT NULL,   -- milliseconds
    scanning    INTEGER NOT NULL,   -- milliseconds
    detail      TEXT,               -- why it is not up
    PRIMARY KEY (scan, seq)
) STRICT, WITHOUT ROWID;
