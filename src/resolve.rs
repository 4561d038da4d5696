//! Layer 1: names to addresses, as a trait: `app` injects the system's resolver, tests a table.

use std::{future::Future, pin::Pin};

use crate::model::Address;

/// A look-up in progress.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<Address>, ResolveError>> + Send + 'a>>;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The resolver knows no such name.
    #[error("Unable to resolve host \"{0}\".")]
    Unknown(String),
    /// No answer in time.
    #[error("Unable to resolve host \"{0}\": no answer from the name server.")]
    TimedOut(String),
}

/// Looks names up.
pub trait Resolve: Send + Sync {
    /// The addresses of a host name, IPv4 first, never empty. Bounded in time (5 s). An address that is
    /// written as one is returned without a query.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}
