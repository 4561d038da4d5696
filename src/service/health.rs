//! Whether the appliance does its work, in one value that the HTTP server and the log can show.

use crate::store::StoreHealth;

/// How the appliance is. The default is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What keeps it from its work (a full disk, a failing database), one sentence each with the remedy.
    pub problems: Vec<String>,
    /// What the owner may want to know, but work goes on (a feed that does not answer), one sentence each.
    pub notices: Vec<String>,
}

impl Health {
    /// How it is with a store like this and these notices. A store that takes nothing pauses all scanning,
    /// so it is a problem; what feeds report never is.
    pub fn new(store: &StoreHealth, notices: Vec<String>) -> Self {
        let problems = match store {
            StoreHealth::Ok => Vec::new(),
            unwell => vec![unwell.to_string()],
        };
        Self { problems, notices }
    }

    /// Whether it does its work.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}
