//! # portscan: what listens on my network, what changed, and is that all right?
//!
//! One binary for a Raspberry Pi: it learns who is on the LAN, connects to every port of every device,
//! remembers what answered, and tells. This page is the way through the house; the contract is in README.md and docs/,
//! the terms are in docs/glossary.md.
//!
//! ## The way of the data
//!
//! ```text
//!   lanscan feed ─► service::feeds ─► service::agenda ─► service::runner ─► service::scanner
//!     discovery ─►  who is there      who is next,       one look at one     drives the one
//!                                     and when           device              engine
//!                                                            │                   │ probes ▼ ▲ replies
//!   clients ◄─ http ◄─ service::differences ◄─ store ◄───────┘               net::connect ─► the LAN
//! ```
//!
//! It flows one way: a feed never learns of a scan, the engine never learns of the store.
//!
//! ## The layers
//!
//! A module imports only from lower layers, the modules of layer 2 never from each other, and the files of one module
//! never in a circle; `tests/layers.rs` enforces it.
//!
//! | layer | modules | what is there |
//! |---|---|---|
//! | 5 | [`app`], [`cli`] | what is started in which order, how it stops; the command line |
//! | 4 | [`http`] | the server, its bounds, the APIs, the page |
//! | 3 | [`service`] | the tasks: feeds, agenda, runner, scanner |
//! | 2 | [`net`], [`store`], [`feed`], [`client`], [`metrics`], [`services`], [`vendor`], [`nmap`] | one outside thing each: sockets, SQLite, lanscan's JSON, HTTP, Prometheus, IANA's names, the IEEE's, nmap's files |
//! | 1 | [`engine`], [`config`], [`clock`], [`resolve`], [`data_dir`] | decisions without I/O, the traits of what is injected, and to which user the appliance's files belong |
//! | 0 | [`model`] | the values that all speak in |
//!
//! ## Three habits
//!
//! - **Sans-io where it matters.** [`engine::Engine`], [`service::agenda::Agenda`] and [`service::discovery::Sweep`]
//!   decide; they take `now` and return actions. Their tests simulate days and lossy networks in milliseconds.
//! - **Time is a parameter.** Only [`clock`] reads the machine's clocks (clippy sees to it), for a Pi boots
//!   in the year 2000.
//! - **Local errors are never verdicts.** A fault of this machine's puts the probe back; it never makes a
//!   port look closed.
//!
//! ## Where to add what
//!
//! - another way to find out who is there: implement [`net::Asker`], chosen in [`service::discovery`];
//! - another kind of probe: implement [`engine::Prober`] in [`net`];
//! - another source of devices: a reader in [`feed`], a task in [`service::feeds`];
//! - another who knows what devices are called: a word of [`model::NameSource`], asked in [`service::names`];
//! - another scanner's reports: a reader beside [`nmap`], handed on by [`service::import`];
//! - another question over HTTP: a method of the [`store`], a handler in [`http`];
//! - another page for people: a file in `http/dashboard/page/pages/`, a line in `main.js` beside it;
//! - another kind of change: a word of [`model::ChangeKind`], told by the store where it is certain, shown in [`http`];
//! - another figure: a field of [`model::Snapshot`], filled in [`service::snapshot`], written in [`metrics`];
//! - another setting: a field of [`config::Config`], its key in the file, and a faulty file in
//!   `tests/config` for each way to get it wrong;
//! - another column: a step of the ladder in [`store`], never a change of an old one.

// The lab's scenario files are read by the engine's simulation, too; there the library goes by its own name.
#[cfg(test)]
extern crate self as portscan;

pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod engine;
pub mod feed;
pub mod http;
pub mod metrics;
pub mod model;
pub mod net;
pub mod nmap;
pub mod resolve;
pub mod service;
pub mod services;
pub mod store;
pub mod vendor;
