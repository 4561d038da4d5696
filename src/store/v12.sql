-- What a fleet needs: the rows that the hub does not have yet, and how far its copy goes.

-- The keys of rows that were written, in that order, by triggers that exist only while [fleet] names a hub
-- (src/store/outgoing.rs). A row that changes often is here often: to look it up would cost an index, and so a second page
-- a commit.
CREATE TABLE outgoing (
    number     INTEGER PRIMARY KEY,
    table_code INTEGER NOT NULL,    -- see src/store/fleet_tables.rs
    key        TEXT NOT NULL        -- JSON, a list
) STRICT;

-- At a site: what it may continue with. In a hub's copy: what is committed. See src/fleet/succession.rs.
CREATE TABLE succession (
    single     INTEGER PRIMARY KEY CHECK (single = 1),
    epoch      BLOB NOT NULL,       -- random, of the site's database
    pass       BLOB,                -- given with the last batch that is known to be committed
    before     BLOB,                -- in a copy: the pass that this batch showed
    is_partial INTEGER NOT NULL     -- whether a whole copy has to be sent, or has begun to arrive, and is not complete
) STRICT;
