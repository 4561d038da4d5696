//! F2: a bounded HTTP(S) client.
