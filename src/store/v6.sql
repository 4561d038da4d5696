-- `earlier` with the columns of its key first. Of a table without row numbers that is ordered otherwise, SQLite 3.40,
-- which Debian 12 has, tells whoever checks the database that values are missing which are there.

DROP VIEW current;
ALTER TABLE earlier RENAME TO unordered;

CREATE TABLE earlier (
    device INTEGER NOT NULL REFERENCES devices (id),
    seq    INTEGER NOT NULL,
    scan   INTEGER NOT NULL,
    PRIMARY KEY (device, seq),
    FOREIGN KEY (scan, seq) REFERENCES observations (scan, seq)
) STRICT, WITHOUT ROWID;

INSERT INTO earlier (device, seq, scan) SELECT device, seq, scan FROM unordered;
DROP TABLE unordered;

CREATE VIEW current (device, scan, seq) AS
    SELECT id, latest_scan, latest_seq FROM devices WHERE latest_seq IS NOT NULL
    UNION ALL
    SELECT device, scan, seq FROM earlier;
