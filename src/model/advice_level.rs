//! How much an open port matters.

use serde::{Deserialize, Serialize};

use super::state::words;

/// How much an open port matters, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdviceLevel {
    /// It is all right on a device of the usual kind.
    Fine,
    /// Its owner should look at it: whether it is wanted depends on what is not visible from the network.
    Look,
    /// It should be closed or secured.
    Act,
}

words!(AdviceLevel, "fine, look, act", Fine = "fine", Look = "look", Act = "act");
