-- Schedules that outlive a restart, where devices have been, and older looks that still count.

CREATE TABLE schedules (
    scanner     TEXT PRIMARY KEY,
    since_start INTEGER NOT NULL,   -- milliseconds on the monotonic clock from the last run's start
    started     INTEGER NOT NULL    -- what the wall clock said then
) STRICT, WITHOUT ROWID;

-- One row for each address that a device has had. The present one's last_seen is the device's: that row is
-- brought up to date when the device moves.
CREATE TABLE addresses (
    device     INTEGER NOT NULL REFERENCES devices (id),
    address    TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (device, address)
) STRICT, WITHOUT ROWID;

INSERT INTO addresses (device, address, first_seen, last_seen)
    SELECT device, address, min(started), max(finished) FROM observations
    WHERE status <> 'down' GROUP BY device, address;
INSERT INTO addresses (device, address, first_seen, last_seen)
    SELECT id, address, first_seen, last_seen FROM devices WHERE true
    ON CONFLICT DO NOTHING;

-- What still tells a port's state although a device was looked at since: the observations before its latest
-- with ports that no newer one of the same protocol covered in full. An hourly look at three ports says nothing of
-- the others, which a daily look found. Apart from `devices.latest_*`, so that a device that is always asked
-- for the same ports costs no page here.
CREATE TABLE earlier (
    device INTEGER NOT NULL REFERENCES devices (id),
    scan   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (device, seq),
    FOREIGN KEY (scan, seq) REFERENCES observations (scan, seq)
) STRICT, WITHOUT ROWID;

-- All that supplies the present state of a device's ports: each port is what the newest of these that covers
-- it says.
CREATE VIEW current (device, scan, seq) AS
    SELECT id, latest_scan, latest_seq FROM devices WHERE latest_seq IS NOT NULL
    UNION ALL
    SELECT device, scan, seq FROM earlier;

-- What a result covers is not for SQL to read. The newest observation of each different result is enough, and
-- a device's next look drops those that supply nothing.
INSERT INTO earlier (device, scan, seq)
    SELECT o.device, o.scan, max(o.seq) AS newest FROM observations o JOIN devices d ON d.id = o.device
    WHERE o.status = 'up' GROUP BY o.device, o.protocol, o.result HAVING newest <> d.latest_seq;
