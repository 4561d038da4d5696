-- Endpoints: a device at an address. A device may have several addresses, and each has ports of its own; so it is the
-- endpoint that is looked at and that has a state, and a device is all of its endpoints. An address that never answered
-- is no device: what a run asked there in vain is kept for as long as the run may have to be resumed.

DROP VIEW current;

-- The rows of `devices` become the present endpoints and keep their numbers, so that millions of observations stay as
-- they are; what refers to the table follows its name.
ALTER TABLE devices RENAME TO endpoints;
ALTER TABLE observations RENAME COLUMN device TO endpoint;
ALTER TABLE earlier RENAME COLUMN device TO endpoint;
ALTER TABLE unconfirmed RENAME COLUMN device TO endpoint;

-- The addresses at which a run found nothing, for runs that are resumed.
CREATE TABLE unanswered (
    scan    INTEGER NOT NULL REFERENCES scans (id),
    address TEXT NOT NULL,
    PRIMARY KEY (scan, address)
) STRICT, WITHOUT ROWID;

-- Rows of addresses that never answered, unless the owner has said something of them.
CREATE TABLE ghosts (id INTEGER PRIMARY KEY) STRICT;
INSERT INTO ghosts
    SELECT id FROM endpoints
    WHERE presence = 'sought' AND latest_seq IS NULL AND own_name IS NULL AND note IS NULL;
INSERT OR IGNORE INTO unanswered (scan, address)
    SELECT o.scan, o.address FROM observations o JOIN scans s ON s.id = o.scan
    WHERE s.status = 'running' AND o.endpoint IN (SELECT id FROM ghosts);
DELETE FROM observations WHERE endpoint IN (SELECT id FROM ghosts);

-- Rows known by an address alone where a device with a MAC was seen since: one thing, which keeps the row with the MAC.
CREATE TABLE merging (old INTEGER PRIMARY KEY, kept INTEGER NOT NULL, address TEXT NOT NULL, mac TEXT NOT NULL) STRICT;
INSERT INTO merging (old, kept, address, mac)
    SELECT x.id, m.id, m.address, m.mac FROM endpoints x JOIN endpoints m ON m.id = (
        SELECT o.id FROM endpoints o
        WHERE o.mac IS NOT NULL AND o.address = x.address AND o.id NOT IN (SELECT id FROM ghosts)
        ORDER BY o.last_seen DESC, o.id DESC LIMIT 1)
    WHERE x.mac IS NULL AND x.id NOT IN (SELECT id FROM ghosts);

-- What supplies the state of both, the newest of it as the latest: our own looks in their order, an import after the
-- look that it follows.
UPDATE observations SET endpoint = (SELECT kept FROM merging WHERE old = endpoint)
    WHERE endpoint IN (SELECT old FROM merging);
INSERT OR IGNORE INTO earlier (endpoint, seq, scan)
    SELECT m.kept, e.seq, e.scan FROM earlier e JOIN merging m ON m.old = e.endpoint;
INSERT OR IGNORE INTO earlier (endpoint, seq, scan)
    SELECT m.kept, e.latest_seq, e.latest_scan FROM merging m JOIN endpoints e ON e.id IN (m.old, m.kept)
    WHERE e.latest_seq IS NOT NULL;
DELETE FROM earlier WHERE endpoint IN (SELECT old FROM merging);
UPDATE endpoints SET (latest_scan, latest_seq) = (
        SELECT o.scan, o.seq FROM earlier e JOIN observations o ON o.scan = e.scan AND o.seq = e.seq
        WHERE e.endpoint = endpoints.id
        ORDER BY coalesce(o.place, o.seq) DESC, o.place IS NOT NULL DESC, o.started DESC, o.seq DESC LIMIT 1)
    WHERE id IN (SELECT kept FROM merging);
DELETE FROM earlier WHERE endpoint IN (SELECT kept FROM merging)
    AND seq = (SELECT latest_seq FROM endpoints WHERE id = earlier.endpoint);
DELETE FROM unconfirmed WHERE endpoint IN (SELECT old FROM merging);
UPDATE OR IGNORE names SET device = (SELECT mac FROM merging WHERE address = device)
    WHERE device IN (SELECT address FROM merging);
DELETE FROM names WHERE device IN (SELECT address FROM merging);
UPDATE changes SET device = (SELECT mac FROM merging WHERE address = device)
    WHERE device IN (SELECT address FROM merging);

CREATE TABLE devices (
    id         INTEGER PRIMARY KEY,
    mac        TEXT UNIQUE,         -- B8:27:EB:AC:14:3E; NULL: known by its one address alone
    name       TEXT,                -- as a feed says
    name_at    INTEGER,             -- when that was first said
    own_name   TEXT,                -- as the owner says, as is the next
    note       TEXT,
    first_seen INTEGER NOT NULL,
    presence   TEXT NOT NULL        -- there; gone: unseen for long, which was told
) STRICT;
-- At most one row merges into another: there is one row an address, and a device has one address.
INSERT INTO devices (id, mac, name, name_at, own_name, note, first_seen, presence)
    SELECT e.id, e.mac, coalesce(e.name, x.name), iif(e.name IS NULL, x.name_at, e.name_at),
        coalesce(e.own_name, x.own_name), coalesce(e.note, x.note),
        min(e.first_seen, coalesce(x.first_seen, e.first_seen)), iif(e.presence = 'sought', 'gone', e.presence)
    FROM endpoints e LEFT JOIN merging m ON m.kept = e.id LEFT JOIN endpoints x ON x.id = m.old
    WHERE e.id NOT IN (SELECT id FROM ghosts) AND e.id NOT IN (SELECT old FROM merging);

-- Every address that a device has had; of those that it has left the state is gone.
CREATE TABLE next_endpoints (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES devices (id),
    address     TEXT NOT NULL,
    held        TEXT NOT NULL,      -- now; left: not any more; once: only an import of the past says so
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,   -- at most an hour behind
    up          INTEGER,            -- whether it answered our newest look; NULL: we have not looked yet
    latest_scan INTEGER,            -- its newest complete observation
    latest_seq  INTEGER,
    UNIQUE (device, address),
    FOREIGN KEY (latest_scan, latest_seq) REFERENCES observations (scan, seq)
) STRICT;
INSERT INTO next_endpoints (id, device, address, held, first_seen, last_seen, up, latest_scan, latest_seq)
    SELECT e.id, e.id, e.address, 'now',
        coalesce((SELECT min(a.first_seen) FROM addresses a
                  WHERE a.address = e.address AND a.device IN (e.id, x.id)), e.first_seen),
        max(e.last_seen, coalesce(x.last_seen, e.last_seen)), e.up, e.latest_scan, e.latest_seq
    FROM endpoints e JOIN devices d ON d.id = e.id
    LEFT JOIN merging m ON m.kept = e.id LEFT JOIN endpoints x ON x.id = m.old;
INSERT OR IGNORE INTO next_endpoints (device, address, held, first_seen, last_seen)
    SELECT a.device, a.address, 'left', a.first_seen, a.last_seen FROM addresses a JOIN devices d ON d.id = a.device;
DROP TABLE addresses;
DROP TABLE endpoints;
ALTER TABLE next_endpoints RENAME TO endpoints;
CREATE INDEX endpoints_by_address ON endpoints (address);
DROP TABLE ghosts;
DROP TABLE merging;

-- All that supplies the present state of an endpoint's ports: each port is what the newest of these that covers it says.
CREATE VIEW current (endpoint, scan, seq) AS
    SELECT id, latest_scan, latest_seq FROM endpoints WHERE latest_seq IS NOT NULL
    UNION ALL
    SELECT endpoint, scan, seq FROM earlier;

-- A device as it is shown and named in other tables: its main address, and the MAC, or that address. Main is the oldest
-- of those that it was seen at within the last two hours of its being seen (sightings are written hourly), IPv4 before
-- IPv6: the same from look to look, and none that it seems to have left.
CREATE VIEW identities (device, mac, address, key, name, last_seen) AS
    SELECT d.id, d.mac, m.address, coalesce(d.mac, m.address), d.name,
        (SELECT max(a.last_seen) FROM endpoints a WHERE a.device = d.id)
    FROM devices d JOIN endpoints m ON m.id = (
        SELECT e.id FROM endpoints e WHERE e.device = d.id AND e.held = 'now'
        ORDER BY instr(e.address, ':') > 0,
            e.last_seen < (SELECT max(o.last_seen) FROM endpoints o WHERE o.device = d.id) - 7200000, e.id
        LIMIT 1);

-- What an import finds first is news only if nothing newer was known when it began. It is stored in steps, and a scan of
-- our own may begin between two of them: so it is decided once. NULL: a scan of our own, or an import of before.
ALTER TABLE scans ADD COLUMN is_newest INTEGER;
