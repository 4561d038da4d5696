-- What devices are called by themselves and by name servers.

-- Of a device that is not there (yet), too: the task that asks for its name need not wait for the one that writes
-- the device.
CREATE TABLE names (
    device TEXT NOT NULL,       -- MAC, or address
    source TEXT NOT NULL,       -- mdns, dns
    name   TEXT NOT NULL,
    heard  INTEGER NOT NULL,    -- the last time
    PRIMARY KEY (device, source)
) STRICT, WITHOUT ROWID;

-- When `name` was first said.
ALTER TABLE devices ADD COLUMN name_at INTEGER;
