//! F2: sockets and what the machine says of itself.
