//! Chooses the ports of a device that a look scans.

use std::sync::LazyLock;

use crate::{
    config::{Config, ScannerPorts, Targets},
    model::{Device, PortSet},
    services::{RANKED, commonest},
};

/// The commonest ports. Kept, because the table is read anew by each call, and this is needed for each device.
pub(super) static COMMONEST: LazyLock<PortSet> = LazyLock::new(|| commonest(RANKED));

/// How the ports of a look are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the scanner, or of the device's own rule.
    Usual,
    /// The commonest of those, and the ones that were open earlier.
    Common,
    /// Exactly those of the look, whatever the device's rule says.
    Exact,
}

impl Scope {
    /// Returns the ports of one device. `ports` are those of the scanner or the look, `rule` those of the device's own
    /// rule, and `once_open` those that were open on it earlier, as far as they are known.
    pub fn ports(self, ports: &PortSet, rule: Option<&PortSet>, once_open: &PortSet) -> PortSet {
        match self {
            Self::Usual => rule.unwrap_or(ports).clone(),
            Self::Exact => ports.clone(),
            Self::Common => {
                let common = ports.union(once_open);
                match rule {
                    None => common,
                    // The owner has chosen few ports, none of which may be left out.
                    Some(own) if is_few(own) => own.clone(),
                    Some(own) => Some(common.intersection(own))
                        .filter(|common| !common.is_empty())
                        .unwrap_or_else(|| own.clone()),
                }
            }
        }
    }
}

/// The scope of a scanner's looks.
pub(super) fn scope_of(ports: &ScannerPorts) -> Scope {
    match ports {
        ScannerPorts::Listed(_) => Scope::Usual,
        ScannerPorts::Common => Scope::Common,
    }
}

/// The ports of a scanner, without those that only were open earlier.
pub(super) fn listed(ports: &ScannerPorts) -> PortSet {
    match ports {
        ScannerPorts::Listed(ports) => ports.clone(),
        ScannerPorts::Common => COMMONEST.clone(),
    }
}

/// Returns the ports of a device that a full look scans: of the scanners that it is a target of, those of the one with
/// the most. `None` if it is no scanner's target, except perhaps by a name.
pub fn usual_ports(config: &Config, device: &Device) -> Option<PortSet> {
    let is_target = |targets: &Targets| match targets {
        Targets::Feed => true,
        Targets::List(specs) => specs.iter().any(|spec| spec.matches(&device.address, device.mac)),
    };
    let scanners = config.scanners.iter().filter(|scanner| is_target(&scanner.targets));
    let widest = &widest(scanners, |scanner| &scanner.ports)?.ports;
    let rule = config.rule_for(device).and_then(|rule| rule.ports.as_ref());
    Some(scope_of(widest).ports(&listed(widest), rule, &PortSet::default()))
}

/// Returns the scanner with the most ports, of equals the first.
pub(super) fn widest<'a, T>(
    scanners: impl DoubleEndedIterator<Item = &'a T>,
    ports: impl Fn(&T) -> &ScannerPorts,
) -> Option<&'a T> {
    // `max_by_key` takes the last of equals.
    scanners.rev().max_by_key(|scanner| count(ports(scanner)))
}

/// Counts the ports of a scanner.
fn count(ports: &ScannerPorts) -> usize {
    match ports {
        ScannerPorts::Listed(ports) => usize::try_from(ports.len()).unwrap_or(usize::MAX),
        ScannerPorts::Common => RANKED,
    }
}

/// Whether there are so few ports that to scan the commonest of them first saves nothing.
pub(super) fn is_few(ports: &PortSet) -> bool {
    usize::try_from(ports.len()).is_ok_and(|count| count <= RANKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    #[test]
    fn the_commonest_ports_include_those_once_open_and_stay_within_the_devices_rule() {
        let common = |rule: Option<&str>| {
            let rule = rule.map(set);
            Scope::Common.ports(&set("22,80,443"), rule.as_ref(), &set("9999")).to_string()
        };
        assert_eq!(common(None), "22,80,443,9999");
        assert_eq!(common(Some("1-5000")), "22,80,443");
        assert_eq!(common(Some("5000-10000")), "9999");
        assert_eq!(common(Some("7000-7100")), "7000-7100", "few ports are all scanned");
        assert_eq!(common(Some("20000-30000")), "20000-30000", "none of them is common");
    }

    #[test]
    fn the_devices_rule_replaces_the_scanners_ports_unless_a_look_names_its_own() {
        let (scanner, rule, none) = (set("1-1000"), set("22"), PortSet::default());
        assert_eq!(Scope::Usual.ports(&scanner, Some(&rule), &none), rule);
        assert_eq!(Scope::Usual.ports(&scanner, None, &none), scanner);
        assert_eq!(Scope::Exact.ports(&scanner, Some(&rule), &none), scanner);
    }
}
