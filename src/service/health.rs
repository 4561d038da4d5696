//! Whether the appliance works, in one value that the HTTP server and the log can show.

use crate::store::StoreHealth;

/// The health of the appliance. The default is healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What keeps it from working (a full disk, a failing database), one sentence each with the remedy.
    pub problems: Vec<String>,
    /// What the owner may want to know although work goes on (a feed that does not answer), one sentence each.
    pub notices: Vec<String>,
}

impl Health {
    /// Combines the store's health and these notices. A store that cannot write pauses all scanning, so that is a
    /// problem; what feeds report never is.
    pub fn new(store: &StoreHealth, notices: Vec<String>) -> Self {
        let problems = match store {
            StoreHealth::Ok => Vec::new(),
            unwell => vec![unwell.to_string()],
        };
        Self { problems, notices }
    }

    /// All sentences, the problems first.
    pub fn sentences(&self) -> Vec<String> {
        self.problems.iter().chain(&self.notices).cloned().collect()
    }

    /// Whether it works.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}
