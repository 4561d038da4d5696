//! A part of a scan, as a worker gets it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    engine::ScanSettings,
    model::{Address, PortSet},
};

/// The most hosts of a shard.
pub const SHARD_HOSTS: usize = 64;

/// What a scan is called: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobName([u8; 8]);

/// Why a text is not a job's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a job's name, which has 16 hexadecimal digits")]
pub struct JobNameError;

/// Which part of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// From 0 on, in the order in which they were cut.
    pub number: u32,
    /// How many times it was put into the queue before: a broker may lose it.
    pub attempt: u32,
}

/// What is to be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardPurpose {
    /// Which of the hosts are there.
    Discovery,
    /// The state of each port.
    Scan,
}

/// A part of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The scan.
    pub job: JobName,
    /// Which part of it.
    pub id: ShardId,
    /// What is to be found out.
    pub purpose: ShardPurpose,
    /// How. A discovery takes the first port alone.
    pub settings: ScanSettings,
    /// At most [`SHARD_HOSTS`]; each is in no other shard of the same purpose.
    pub hosts: Vec<Address>,
}

impl Shard {
    /// How a worker scans each host.
    pub fn host_settings(&self) -> ScanSettings {
        ScanSettings { ports: self.purpose.ports(&self.settings), ..self.settings.clone() }
    }
}

impl ShardPurpose {
    /// The ports of a host that are scanned for it.
    pub fn ports(self, settings: &ScanSettings) -> PortSet {
        match self {
            Self::Discovery => settings.ports.iter().take(1).collect(),
            Self::Scan => settings.ports.clone(),
        }
    }
}

impl JobName {
    /// A new one.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut name = [0; 8];
        getrandom::fill(&mut name)?;
        Ok(Self(name))
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl FromStr for JobName {
    type Err = JobNameError;

    fn from_str(text: &str) -> Result<Self, JobNameError> {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() != 16 || !text.chars().all(is_hex) {
            return Err(JobNameError);
        }
        u64::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| JobNameError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let name = JobName::generate().unwrap();
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in ["", "0123", "0123456789ABCDEF", "+123456789abcdef"] {
            assert!(text.parse::<JobName>().is_err(), "{text}");
        }
    }
}
