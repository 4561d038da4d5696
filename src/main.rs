//! The `portscan` binary: calls [`portscan::app`].

fn main() {}
