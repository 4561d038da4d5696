//! Layer 2: persistent storage in SQLite, with one writer.
//!
//! ```text
//!  any task --WriteRequest--> writer thread --commit--> portscan.db-wal --checkpoint--> portscan.db
//!     ^  `----Query----> reader thread <------------------------------------------------'
//!     `--oneshot: committed / answer--'
//! ```
//!
//! [`Store`] is the handle: its methods await the answer of a thread, and block none. A write is acknowledged once it
//! is *committed*; writes share commits ([`DiskPace`]).
//!
//! # Layers
//! A file imports from its own layer and the layers below, without cycles. From the top:
//!
//! - *opening*: `open` and `at_rest` start the threads;
//! - *subjects*, each with its SQL, its changes and queries, and its methods of [`Store`]: `scans`, `record`, `import`,
//!   `identifications`, `sightings`, `names`, `schedules`, `hosts`, `host_states`, `known`, `lookups`, `compared`, `scan_pages`, `reports`,
//!   `summary`, `outboxes`, `alert_context`, `snoozes`, `told_findings`, `prune`, `room`, `ahead`, `backup`, `device_presences`,
//!   `outgoing`, `site_copy`;
//! - *subjects with SQL that those share*: `identity`, `merge`, `endpoints`, `presence`, `insertion`, `contributors`,
//!   `unconfirmed`, `events`, `expected`, `identified`, `fleet_tables`, `copied_text`, `copied_values`;
//! - `handle`: what a task holds, and how it reaches the threads;
//! - *threads*: `writer`, `reader` and `check`, with `commit`, `condition` and `reopen`;
//! - `change`: the trait of the writes that share a commit;
//! - *the file*: `schema`, `lock`, `numbers`;
//! - *values*: `row`, `verdicts`, `identification_body`, `page`, `pace`, `placement`, `sighting_filter`, `health`, `error`,
//!   `copy_remedy`.
//!
//! A new write is a type that implements `DatabaseChange`, or a function for `Store::run_exclusive` if it needs
//! transactions of its own, and a method of [`Store`], both in the file of its subject; the threads need no change. A
//! new query is a function and a method there.
//!
//! **Identity.** A device is its MAC if known, else its one address. An *endpoint* is a device at an address;
//! endpoints are scanned and have a state. Only `identity` decides which device a report belongs to. `placement`
//! decides, without I/O, which addresses a device has; `merge` merges two rows, `endpoints` writes the rows, and
//! `presence` marks devices that are gone.
//!
//! **Order.** The wall clock of a machine without a battery jumps. The newest of our observations is the one with the
//! greatest sequence number, the newest scan the one with the greatest id; times are only displayed. Only imports are
//! ordered by their time.
//! **History** belongs to the device: a MAC keeps its history at every address, and an address that another MAC takes
//! starts a new one.

mod ahead;
mod alert_context;
mod at_rest;
mod backup;
mod change;
mod check;
mod commit;
mod compared;
mod condition;
mod contributors;
mod copied_text;
mod copied_values;
mod copy_form;
mod copy_remedy;
mod device_presences;
mod endpoints;
mod error;
mod events;
mod expected;
mod fleet_tables;
mod handle;
mod health;
mod host_states;
mod hosts;
mod identification_body;
mod identifications;
mod identified;
mod identity;
mod import;
mod insertion;
mod known;
mod lock;
mod lookups;
mod merge;
mod names;
mod numbers;
mod open;
mod outboxes;
mod outgoing;
mod pace;
mod page;
mod placement;
mod presence;
mod prune;
mod reader;
mod record;
mod reopen;
mod reports;
mod room;
mod row;
mod scan_pages;
mod scans;
mod schedules;
mod schema;
mod sighting_filter;
mod sightings;
mod site_copy;
mod snoozes;
mod summary;
mod told_findings;
mod unconfirmed;
mod verdicts;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use ahead::Repaired;
pub use alert_context::{AlertContext, UndoneEvent};
pub use at_rest::ReaderThread;
pub use backup::backup;
pub use compared::ScanDevice;
pub use copy_form::CopyForm;
pub use copy_remedy::copy_remedy;
pub use device_presences::DevicePresence;
pub use error::{Result, StoreError};
pub use expected::ExpectationUpdate;
pub use handle::Store;
pub use health::StoreHealth;
pub use host_states::HostState;
pub use hosts::{AddressRecord, Annotation, AnnotationPatch, DeviceRecord, OpenPort, PortKey, Presence};
pub use identified::{IdentifiedPage, IdentifiedPort};
pub use import::{Import, Imported, ImportedHost};
pub use known::KnownDevices;
pub use lock::{DirLock, lock, lock_existing};
pub use lookups::{CachedHost, Totals};
pub use names::NameLookup;
pub use open::WriterThread;
pub use outboxes::{EndedMessage, MessageRecord, MessageState};
pub use outgoing::{OutgoingRows, OutgoingState, SentThrough};
pub use pace::DiskPace;
pub use page::Page;
pub use prune::Pruned;
pub use record::Observation;
pub use reports::HostRecord;
pub use scan_pages::{ScanHost, ScanSummary};
pub use scans::OpenScan;
pub use schedules::Schedule;
pub use schema::FILE_NAME;
pub use site_copy::Applied;
pub use snoozes::Snooze;
pub use summary::ScannerSummary;
pub use told_findings::OpenPortFinding;
