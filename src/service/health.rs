//! Whether the appliance does its work, in one value that the HTTP server and the log can show.

/// How the appliance is. The default is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What keeps it from its work (a full disk, a failing database), one sentence each with the remedy.
    pub problems: Vec<String>,
    /// What the owner may want to know, but work goes on (a feed that does not answer), one sentence each.
    pub notices: Vec<String>,
}

impl Health {
    /// Whether it does its work.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}
