//! # portscan: what listens on my network, what changed, and is that all right?
//!
//! One binary for a Raspberry Pi: it finds the devices on the LAN, connects to every port of every device, stores the
//! results, and serves them. This page is an overview of the code; the contract is in README.md and docs/, the terms
//! are in docs/glossary.md.
//!
//! ## The data flow
//!
//! ```text
//!   lanscan feed ─► service::feeds ─► service::agenda ─► service::runner ─► service::scanner
//!     discovery ─►  which devices     which is next,     one scan of one     drives the one
//!                   there are         and when           device              engine
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
//! | layer | modules | content |
//! |---|---|---|
//! | 5 | [`app`], [`cli`], [`doctor`] | what is started in which order, how it stops; the command line; what this machine lacks |
//! | 4 | [`http`] | the server, its bounds, the APIs, the page |
//! | 3 | [`service`] | the tasks: feeds, agenda, runner, scanner |
//! | 2 | [`net`], [`store`], [`feed`], [`client`], [`metrics`], [`services`], [`advice`], [`vendor`], [`nmap`], [`syslog`], [`smtp`] | one outside thing each: sockets, SQLite, lanscan's JSON, HTTP, Prometheus, IANA's names, what is known of ports, the IEEE's names, nmap's files, syslog servers, mail servers |
//! | 1 | [`engine`], [`alerts`], [`fleet`], [`messages`], [`config`], [`clock`], [`resolve`], [`data_dir`], [`tls`], [`identify`], [`udp`] | decisions without I/O, the traits of what is injected, to which user the appliance's files belong, which certificates are trusted, what sites and a hub and a scan and its workers tell one another, what a greeting says of its service and device, and what UDP ports are asked |
//! | 0 | [`model`] | the values that all layers share |
//!
//! ## Three habits
//!
//! - **Sans-io where it matters.** [`engine::Engine`], [`alerts::ChannelOutbox`], [`service::agenda::Agenda`] and
//!   [`service::discovery::Sweep`] decide; they take `now` and return actions. Their tests simulate days and lossy networks in milliseconds.
//! - **Time is a parameter.** Only [`clock`] reads the machine's clocks (clippy enforces it), because a Pi boots in the
//!   year 2000.
//! - **Local errors are never verdicts.** A local error puts the probe back; it never makes a port look closed.
//!
//! ## Where to add what
//!
//! - another way to find devices: implement [`net::NeighbourQuery`], chosen in [`service::discovery`];
//! - another kind of probe: implement [`engine::Prober`] in [`net`];
//! - another UDP service that is scanned: its request in `udp/requests.rs`, a line in `udp/services.rs`;
//! - another source of devices: a reader in [`feed`], a task in [`service::feeds`];
//! - another port that people ask about: a paragraph in `advice/ports.txt`;
//! - another source of device names: a variant of [`model::NameSource`], queried in [`service::names`];
//! - another scanner's reports: a reader beside [`nmap`], imported by [`service::import`];
//! - another product or device that greetings name: a line of a table in [`identify`]; another kind of greeting: its
//!   grammar there;
//! - another query over HTTP: a method of the [`store`], a handler in [`http`], and its description in
//!   `http/v1/openapi.json`, which a test writes;
//! - another page for people: a file in `http/dashboard/page/pages/`, a line in `main.js` beside it;
//! - another kind of change: a variant of [`model::ChangeKind`], recorded by the store once it is certain, shown in
//!   [`http`];
//! - another way to ask a service what it is: a dialogue in [`net::dialogue`], a [`service::identify::Manner`];
//! - another metric: a field of [`model::Snapshot`], filled in [`service::snapshot`], written in [`metrics`];
//! - another setting: a field of [`config::Config`], its key in the file, and a faulty file in
//!   `tests/config` for each error in it;
//! - another column: a migration in [`store`], never a change of an old one.

pub mod advice;
pub mod alerts;
pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod engine;
pub mod feed;
pub mod fleet;
pub mod http;
pub mod identify;
pub mod messages;
pub mod metrics;
pub mod model;
pub mod net;
pub mod nmap;
pub mod resolve;
pub mod service;
pub mod services;
pub mod smtp;
pub mod store;
pub mod syslog;
pub mod tls;
pub mod udp;
pub mod vendor;
