-- Schedules that outlive a restart, and where devices have been.

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
