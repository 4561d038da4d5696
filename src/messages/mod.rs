//! Layer 1: what an alert says: the message of some change events, in words and as JSON, and the owner's own words for it.
//!
//! It knows neither channels nor their configuration; [`alerts`](crate::alerts) decides what is sent when, and by which
//! request.
//!
//! | File | Does |
//! |---|---|
//! | `message.rs` | what a message says |
//! | `summary.rs` | what a summary says |
//! | `shapes.rs` | the JSON that carries it |
//! | `template.rs`, `samples.rs` | the owner's own words in place of the built-in ones, and what they are tried on |

mod message;
mod samples;
pub mod shapes;
mod summary;
mod template;

pub use self::{
    message::{AlertChange, AlertMessage, MOST_LINES, Origin, PortExplanation},
    samples::samples,
    summary::{DeviatingPorts, NetworkSummary},
    template::{MessagePart, MessageTemplates, TemplateError},
};
