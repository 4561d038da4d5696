-- Alerts. A channel sends the change events in the order of their ids, so all that is kept of it is how far it is; and, to
-- look it up, what became of its latest messages.

CREATE TABLE alert_channels (
    name     TEXT PRIMARY KEY,
    cursor   INTEGER NOT NULL,      -- the greatest id of a change with which it is done
    first    INTEGER,               -- the changes of the message that is being delivered; NULL: none is
    last     INTEGER,
    attempts INTEGER NOT NULL,      -- failed ones, of that message
    retry_in INTEGER NOT NULL,      -- milliseconds from the saving of this row to the next attempt
    failing  INTEGER NOT NULL,      -- milliseconds for which no attempt has succeeded; 0: the latest did
    trouble  TEXT NOT NULL DEFAULT '',   -- what it was told of the appliance's own trouble, without figures
    troubles INTEGER NOT NULL DEFAULT 0  -- how many messages about that it has had
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_messages (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    first   INTEGER NOT NULL,       -- the changes that it tells of
    last    INTEGER NOT NULL,
    device  TEXT,                   -- MAC, or address; NULL: it tells of several
    title   TEXT NOT NULL,
    state   TEXT NOT NULL,          -- delivered; parked: the receiver refused it; acknowledged
    at      INTEGER NOT NULL,       -- since when
    reason  TEXT,                   -- only of parked
    UNIQUE (channel, first)
) STRICT;

-- Which appliance sends: the begin of every message's key, so that a receiver of several never takes two for one.
CREATE TABLE appliance (id TEXT NOT NULL) STRICT;
INSERT INTO appliance (id) VALUES (lower(hex(randomblob(8))));
