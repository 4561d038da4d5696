-- Imports among the looks of our own, what is expected, and what has changed.

-- Where an import stands: right after the own look with this sequence number (0: before all), imports at one
-- place by `started`. NULL for an own look: its sequence number is its place.
ALTER TABLE observations ADD COLUMN place INTEGER;
-- SHA-256 of an imported report, by which the same one is known again.
ALTER TABLE scans ADD COLUMN digest BLOB;
CREATE UNIQUE INDEX scans_by_digest ON scans (digest) WHERE digest IS NOT NULL;

-- there; gone: unseen for long, which was told; sought: no device has ever answered there.
ALTER TABLE devices ADD COLUMN presence TEXT NOT NULL DEFAULT 'there';
-- Whether it answered our newest look at it; NULL: we have not looked yet.
ALTER TABLE devices ADD COLUMN up INTEGER;

-- Which devices are at an address, and which were.
CREATE INDEX devices_by_address ON devices (address);
CREATE INDEX addresses_by_address ON addresses (address);

CREATE TABLE expectations (
    written  INTEGER PRIMARY KEY,   -- ascending: of a MAC's and its address's the later holds
    device   TEXT NOT NULL,         -- a MAC, or an address: whoever is there
    protocol TEXT NOT NULL,
    port     INTEGER NOT NULL,
    state    TEXT NOT NULL,
    comment  TEXT NOT NULL,
    UNIQUE (device, protocol, port)
) STRICT;

-- What happened once. `baseline`: something was accepted, so that what differs is news.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What has changed, for good: outlives the scans and the devices it speaks of. The id is what readers go on
-- from, so that none is ever given twice.
CREATE TABLE changes (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    scan     INTEGER,               -- NULL: told by a feed, or by time passing
    device   TEXT NOT NULL,         -- MAC, or address
    address  TEXT NOT NULL,         -- where it was then
    kind     TEXT NOT NULL,         -- new, opened, closed, moved, gone, back
    protocol TEXT,                  -- only of opened and closed, as is the next
    ports    TEXT,                  -- one port; a range or list where too many changed at once
    was      TEXT,                  -- only of moved: the address before
    alert    INTEGER NOT NULL       -- whether it differed from what was expected, with a baseline there
) STRICT;
CREATE INDEX changes_of_device ON changes (device, id);

-- What a look found to have changed, as long as no second look has found it so.
CREATE TABLE unconfirmed (
    device   INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    protocol TEXT NOT NULL,
    opening  INTEGER NOT NULL,      -- 1: closed before and open now; 0: the other way
    since    INTEGER NOT NULL,      -- when the first such look ended
    ports    TEXT NOT NULL,
    PRIMARY KEY (device, protocol, opening, since)
) STRICT, WITHOUT ROWID;
