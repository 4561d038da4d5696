//! Layer 1: what the appliances of a fleet and their hub tell one another, without I/O.
//!
//! An appliance at a *site* keeps its own database and sends its changes to the *hub*, which keeps a copy for each site
//! and serves all of them. Between them is a message broker, NATS, which stores nothing: an appliance keeps a change
//! until the hub has committed it.
//!
//! | file | content |
//! |---|---|
//! | `names` | what a site and a worker are called |
//! | `subjects` | where messages are published |
//! | `message` | the messages from a site to the hub, and the answers |
//! | `link` | the connection, as a trait |
//! | `row` | rows of tables, as they travel |
//! | `everywhere` | what a site lacks of the expectations for all sites |
//! | `forwarded` | the requests that the hub forwards to a site |
//! | `succession` | decides which batch a hub applies: each once, of one database alone |
//! | `reporters` | notices that two appliances report as one site |
//! | `status` | what the hub knows of a site's connection |
//! | `work` | one scan, shared by many workers |

mod everywhere;
mod forwarded;
mod link;
mod message;
mod names;
mod reporters;
mod row;
mod status;
pub mod subjects;
mod succession;
pub mod work;

/// The directory of a hub's copies, in its data directory.
pub const HUB_COPIES: &str = "sites";

pub use everywhere::{SiteLack, comment_at_site, lack_of_site};
pub use forwarded::{FORWARDED_MAX, ForwardedAnswer, ForwardedRequest, is_forwardable};
pub use link::{Asking, HubLink, LinkError};
pub use message::{
    BATCH_BYTES, Batch, HubAnswer, MESSAGE_MAX, MessageError, Pass, SentTable, SiteContext, SiteGreeting,
    SiteMessage, decode, encode,
};
pub use names::{FleetNameError, SiteName, WorkerName};
pub use reporters::Reporters;
pub use row::{ChangedRow, RowValue};
pub use status::{SiteState, SiteStatus};
pub use succession::{Standing, Succession, SuccessionVerdict};
