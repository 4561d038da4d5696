//! A network that workers reach.

use std::{fmt, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Address, canonical_net};

/// A network that workers reach. Its shards have a queue of their own, from which only these workers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool(IpNet);

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network; write it as 192.0.2.0/24")]
pub struct PoolError(String);

impl Pool {
    /// The pool of this network.
    pub fn new(net: IpNet) -> Self {
        Self(canonical_net(net))
    }

    /// The network.
    pub const fn net(&self) -> IpNet {
        self.0
    }

    /// Whether the network has this address. A link-local one means something else on each machine, so it has none.
    pub fn contains(&self, address: &Address) -> bool {
        address.zone().is_none() && self.0.contains(&address.ip())
    }

    /// Of the pools with this address, the smallest one: its workers are the nearest.
    pub fn nearest<'a>(pools: impl IntoIterator<Item = &'a Self>, address: &Address) -> Option<Self> {
        pools
            .into_iter()
            .filter(|pool| pool.contains(address))
            .max_by_key(|pool| pool.0.prefix_len())
            .copied()
    }

    /// The network as a part of a subject and as the name of a queue, which have no dots and slashes: `10-0-0-0=16`,
    /// `fd00__=8`.
    pub fn token(&self) -> String {
        self.to_string().replace('.', "-").replace(':', "_").replace('/', "=")
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Pool {
    type Err = PoolError;

    fn from_str(text: &str) -> Result<Self, PoolError> {
        text.parse().map(Self::new).map_err(|_| PoolError(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for Pool {
    type Error = PoolError;

    fn try_from(text: String) -> Result<Self, PoolError> {
        text.parse()
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        pool.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> Pool {
        text.parse().unwrap()
    }

    #[test]
    fn each_network_has_a_token_of_its_own() {
        assert_eq!(pool("10.0.3.7/16"), pool("10.0.0.0/16"));
        let tokens = ["10.0.0.0/16", "10.0.0.0/1", "fd00::/8", "fd00:0:1::/48", "0.0.0.0/0", "::/0"]
            .map(|text| pool(text).token());
        assert_eq!(tokens[0], "10-0-0-0=16");
        for (place, token) in tokens.iter().enumerate() {
            assert!(!token.contains(['.', '*', '>', '/', ' ']), "{token}");
            assert!(!tokens[..place].contains(token), "{token}");
        }
    }

    #[test]
    fn a_host_belongs_to_the_smallest_network() {
        let pools = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"].map(pool);
        let nearest = |text: &str| Pool::nearest(&pools, &text.parse().unwrap());
        assert_eq!(nearest("10.1.2.3"), Some(pools[1]));
        assert_eq!(nearest("10.2.2.3"), Some(pools[0]));
        assert_eq!(nearest("192.0.2.1"), Some(pools[2]));
        assert_eq!(nearest("2001:db8::1"), None);
        assert_eq!(Pool::nearest(&[pool("fe80::/10")], &"fe80::1%eth0".parse().unwrap()), None);
    }
}
