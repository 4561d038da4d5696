//! F4: the HTTP server.
