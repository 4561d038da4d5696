//! Layer 1: the content of alerts: writes the message about some change events, as text and as JSON, or by the
//! owner's templates.
//!
//! It knows neither channels nor their configuration; [`alerts`](crate::alerts) decides what is sent when, and how.
//!
//! | File | Does |
//! |---|---|
//! | `message.rs` | messages about change events and about the appliance's own trouble |
//! | `summary.rs` | summaries of the network |
//! | `shapes.rs` | the JSON that carries it |
//! | `template.rs`, `samples.rs` | the owner's templates, and the messages that they are tried on |

mod message;
mod samples;
pub mod shapes;
mod summary;
mod template;

pub use self::{
    message::{AlertChange, AlertMessage, KnownElsewhere, MOST_LINES, Origin, PortExplanation},
    samples::samples,
    summary::{DeviatingPorts, NetworkSummary},
    template::{MessagePart, MessageTemplates, TemplateError},
};
