//! Layer 4: the HTTP server.
//!
//! A request passes, from the outside in: `server` (accepts connections), `conversation` (serves one connection within
//! its time limits), `connections` (whether its client has a place left, as `admission` decides), `finish` (methods,
//! JSON errors, cache headers), `host_allowlist` (whether Host names this appliance), `body` (how much a client may
//! send), `auth` (around routes that change state), `extract` (parses path and query), then the route's handler.
//! Handlers are thin: they query a lower layer and give the result the form that the API promises.
//!
//! The release build aborts on a panic, so nothing here may panic: no indexing, no unwrap, no arithmetic on what a
//! client sent.

mod admission;
mod answer;
mod appliance;
mod auth;
mod body;
mod budget;
mod connections;
mod conversation;
mod cross_site;
mod dashboard;
mod extract;
mod finish;
mod host_allowlist;
mod hub;
mod lanscan;
mod limits;
mod listen;
mod listeners;
mod metered;
mod metrics;
mod peer;
mod portscan;
mod probes;
mod reading;
mod refusals;
mod routes;
mod rows;
mod sender;
mod server;
mod token;
mod v1;
mod wrong_tokens;

pub use appliance::{ApplianceParts, StoredParts, owners_request, router};
pub use auth::Gate;
pub use body::pieces;
pub use host_allowlist::HostAllowlist;
pub use hub::{
    Everywhere, ForgetError, ForgetSite, ForwardError, ForwardRequest, HubParts, HubSite, SiteBehind,
    hub_router,
};
pub use limits::ServerLimits;
pub use listen::{BindError, bind, bind_each};
pub use reading::LeastRate;
pub use server::{Server, serve};
pub use token::{FILE as TOKEN_FILE, Token, TokenError, open_token};
pub use v1::{Diagnose, DiagnosisBody, additions_body, removals_body};

#[cfg(test)]
mod tests;
