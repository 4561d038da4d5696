//! F2: sockets and what the machine says of itself.
//!
//! [`ConnectProber`] makes the connects that the engine asks for, [`mdns`] asks and answers for names in `.local`,
//! [`mdns_name`] asks one neighbour for its name; the other modules read what this machine knows without sending
//! anything: its limits, its interfaces, its neighbours, its name server's answers.

mod connect;
mod hosts;
mod limits;
mod links;
mod lookup;
pub mod mdns;
mod neighbours;
mod reverse;

pub use connect::ConnectProber;
pub use limits::{Conntrack, Limits};
pub use links::Links;
pub use lookup::SystemResolver;
pub use neighbours::neighbour;
pub use reverse::{Heard, mdns_name};
