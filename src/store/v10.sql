-- For how long alerts are snoozed, as their owner wants it.

CREATE TABLE alert_snoozes (
    device TEXT PRIMARY KEY,        -- MAC, or address; '': all devices
    after  INTEGER NOT NULL,        -- the latest change when it began: later ones are held
    until  INTEGER NOT NULL,        -- by the wall clock
    length INTEGER NOT NULL         -- milliseconds: after so long it ends, whatever the wall clock says
) STRICT, WITHOUT ROWID;

-- A change of the kind snooze-ended has in `was` the change after which the snooze began. There are few of them.
CREATE INDEX changes_of_snoozes ON changes (id) WHERE kind = 'snooze-ended';

-- What was found of open ports and told, so that each is told once. The first row begins the list: what the first look
-- finds is how things are, and no news.
CREATE TABLE told_findings (
    device   TEXT NOT NULL,         -- MAC, or address
    protocol TEXT NOT NULL,
    port     INTEGER NOT NULL,
    kind     TEXT NOT NULL,         -- advice, certificate-expires
    reason   TEXT NOT NULL,         -- another one is told again
    PRIMARY KEY (device, protocol, port, kind, reason)
) STRICT, WITHOUT ROWID;
