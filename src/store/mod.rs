//! F2: what is remembered: SQLite, one writer.
