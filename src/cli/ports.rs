//! Ports as nmap's `-p` takes them: numbers, ranges and names, `T:` before TCP's.

use crate::{model::PortSet, services};

/// Why a `-p` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortsError {
    #[error(transparent)]
    Malformed(#[from] crate::model::PortSetError),
    #[error("\"{0}\": only TCP ports can be scanned; leave out U:, S: and P:")]
    NotTcp(String),
    #[error("no TCP service is called \"{0}\"; write the port's number")]
    UnknownName(String),
}

/// Reads `22,80,8000-8100`, `-`, `ssh,http`, `T:1-100`. Square brackets (registered ports within a range)
/// and wildcards in names are not read: write the numbers.
pub(super) fn parse(text: &str) -> Result<PortSet, PortsError> {
    let mut ranges = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let ports = match part.split_once(':') {
            Some(("T" | "t", tcp)) => of_part(tcp)?,
            Some(_) => return Err(PortsError::NotTcp(part.chars().take(40).collect())),
            None => of_part(part)?,
        };
        ranges.extend_from_slice(ports.ranges());
    }
    match ranges.is_empty() {
        true => Err(crate::model::PortSetError::Empty.into()),
        false => Ok(PortSet::from_ranges(ranges)),
    }
}

fn of_part(part: &str) -> Result<PortSet, PortsError> {
    if !part.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(part.parse()?);
    }
    let ports = services::ports_of(&part.to_ascii_lowercase());
    match ports.is_empty() {
        true => Err(PortsError::UnknownName(part.chars().take(40).collect())),
        false => Ok(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_nmaps_users_type() {
        for (text, expected) in [
            ("22,80,8000-8100", "22,80,8000-8100"),
            ("-", "1-65535"),
            ("-100", "1-100"),
            ("60000-", "60000-65535"),
            ("0-", "0-65535"),
            ("ssh,https", "22,443"),
            ("T:21-25,80", "21-25,80"),
            ("HTTP", "80"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        for (text, why) in [
            ("U:53", "only TCP"),
            ("T:80,U:53", "only TCP"),
            ("no-such-service", "no TCP service"),
            ("70000", "not a port"),
            ("9-3", "backwards"),
            (",", "no ports"),
            ("[1-1000]", "not a port"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
