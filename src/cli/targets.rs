//! Determines the hosts to scan: targets from the command line and its files, looked up, expanded, each address once.

use std::{
    collections::HashSet,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::ScanArgs;
use crate::{
    model::{Address, HostAddressError, TargetError, TargetSpec, without_mark},
    resolve::{Resolve, ResolveError},
};

/// The most addresses of one scan.
const MOST: usize = 65_536;

/// The largest list that is read: 65,536 of the longest names would be 16 MB.
const LONGEST_LIST: u64 = 16 << 20;

/// One host to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    /// The name, if the user typed one.
    pub(super) name: Option<String>,
}

/// The hosts to scan, and the unusable targets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) targets: Vec<Target>,
    /// Sentences for the user, such as on an unknown name, or an address that cannot be a host's.
    pub(super) warnings: Vec<String>,
    /// The MACs, or beginnings of MACs, to leave out: which target has one of them is known only once its MAC is
    /// resolved.
    pub(super) left_out: Vec<TargetSpec>,
}

/// Why the targets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetsError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is larger than 16 MB; a list of targets is text, one on a line", .0.display())]
    TooLong(PathBuf),
    #[error("{}:{line}: {source}", .path.display())]
    Malformed { path: PathBuf, line: usize, source: TargetError },
    /// An error rather than a warning: a scan of an excluded host cannot be undone.
    #[error("to be left out, but: {0} Write its address")]
    Excluded(ResolveError),
    #[error("more than 65,536 addresses in all; scan them in parts")]
    TooMany,
}

/// The excluded addresses. A list of a provider's prefixes may be long, and each prefix large, so only the ends of the
/// ranges are kept, and looked up by bisection.
#[derive(Debug, Default, PartialEq)]
struct Excluded {
    /// First and last addresses, ascending, without overlaps.
    ranges: Vec<(IpAddr, IpAddr)>,
    /// Link-local addresses on one interface.
    on_interface: HashSet<Address>,
}

impl Excluded {
    fn new(mut ranges: Vec<(IpAddr, IpAddr)>, on_interface: HashSet<Address>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|(first, last), (_, before)| {
            let overlaps = *first <= *before;
            if overlaps {
                *before = (*before).max(*last);
            }
            overlaps
        });
        Self { ranges, on_interface }
    }

    fn has(&self, address: &Address) -> bool {
        let ip = address.ip();
        let begun = self.ranges.partition_point(|(first, _)| *first <= ip);
        begun > 0 && self.ranges[begun - 1].1 >= ip || self.on_interface.contains(address)
    }
}

/// Addresses of one target at which no host can be.
#[derive(Default)]
struct NoHosts {
    count: u32,
    first: Option<HostAddressError>,
}

impl NoHosts {
    fn add(&mut self, error: HostAddressError) {
        self.count += 1;
        // An unusable address matters more than the two that every network has.
        let tells_less = |first: &HostAddressError| matches!(first, HostAddressError::WholeNetwork { .. });
        if self.first.as_ref().is_none_or(tells_less) {
            self.first = Some(error);
        }
    }

    /// Returns a warning for the user. A network as target means its hosts, so leaving out its first and last address
    /// needs no warning.
    fn warning(self, spec: &TargetSpec) -> Option<String> {
        let (count, first) = (self.count, self.first?);
        match (spec, &first) {
            (TargetSpec::Address(_), _) => Some(first.to_string()),
            (TargetSpec::Name(name), _) => Some(format!("\"{name}\" leads nowhere: {first}")),
            (_, HostAddressError::WholeNetwork { .. }) => None,
            _ => Some(format!("{spec}: left out {count} of its addresses: {first}")),
        }
    }
}

/// The targets and exclusions before names are looked up.
#[derive(Debug, Default)]
pub(super) struct TargetList {
    pub(super) targets: Vec<TargetSpec>,
    pub(super) exclude: Vec<TargetSpec>,
    /// Whether names resolve to IPv6 addresses only.
    pub(super) ipv6: bool,
}

impl TargetList {
    /// The command line's targets and those of its files; `-` reads `stdin`.
    pub(super) fn read(args: &ScanArgs, stdin: &mut dyn Read) -> Result<Self, TargetsError> {
        let mut list = Self { targets: args.targets.clone(), exclude: args.exclude.clone(), ipv6: args.ipv6 };
        for path in &args.input_list {
            list.targets.extend(read_list(path, stdin, TargetSpec::parse_target)?);
        }
        for path in &args.exclude_file {
            list.exclude.extend(read_list(path, stdin, str::parse)?);
        }
        Ok(list)
    }

    /// Returns the addresses in the order in which they were named, each once. A name means its first address, as with
    /// nmap: the others usually are the same host. `check` decides whether an address can be a host's.
    pub(super) async fn expand(
        &self,
        resolver: &dyn Resolve,
        check: impl Fn(&Address) -> Result<(), HostAddressError>,
    ) -> Result<Expanded, TargetsError> {
        let (exclude, left_out) = self.excluded(resolver).await?;
        let mut expanded = Expanded { left_out, ..Expanded::default() };
        let mut seen = HashSet::new();
        for spec in &self.targets {
            let (addresses, name): (Box<dyn Iterator<Item = Address>>, _) = match spec {
                TargetSpec::Name(name) => match self.look_up(name, resolver).await {
                    Ok(address) => (Box::new(std::iter::once(address)), Some(name)),
                    Err(warning) => {
                        expanded.warnings.push(warning);
                        continue;
                    }
                },
                other => (other.addresses(), None),
            };
            let mut no_hosts = NoHosts::default();
            for address in addresses {
                if exclude.has(&address) {
                    continue;
                }
                if let Err(error) = check(&address) {
                    no_hosts.add(error);
                } else if seen.insert(address.clone()) {
                    if expanded.targets.len() == MOST {
                        return Err(TargetsError::TooMany);
                    }
                    expanded.targets.push(Target { address, name: name.cloned() });
                }
            }
            expanded.warnings.extend(no_hosts.warning(spec));
        }
        Ok(expanded)
    }

    /// Returns the exclusions by address, and those by MAC.
    async fn excluded(&self, resolver: &dyn Resolve) -> Result<(Excluded, Vec<TargetSpec>), TargetsError> {
        let mut on_interface = HashSet::new();
        let (mut ranges, mut macs) = (Vec::new(), Vec::new());
        for spec in &self.exclude {
            match spec {
                TargetSpec::Name(name) => {
                    on_interface.extend(resolver.resolve(name).await.map_err(TargetsError::Excluded)?);
                }
                TargetSpec::Address(address) if address.zone().is_some() => {
                    on_interface.insert(address.clone());
                }
                TargetSpec::Mac(_) => macs.push(spec.clone()),
                other => ranges.extend(other.ends()),
            }
        }
        Ok((Excluded::new(ranges, on_interface), macs))
    }

    async fn look_up(&self, name: &str, resolver: &dyn Resolve) -> Result<Address, String> {
        let addresses = resolver.resolve(name).await.map_err(|error| error.to_string())?;
        let found = addresses.into_iter().find(|address| !self.ipv6 || address.ipv4().is_none());
        found.ok_or_else(|| format!("\"{name}\" has no IPv6 address; leave out -6"))
    }
}

/// Parses one word of a list.
type ParseWord = fn(&str) -> Result<TargetSpec, TargetError>;

fn read_list(path: &Path, stdin: &mut dyn Read, parse: ParseWord) -> Result<Vec<TargetSpec>, TargetsError> {
    let unreadable = |source| TargetsError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        stdin.take(LONGEST_LIST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST_LIST + 1).read_to_string(&mut text))
    };
    if read.map_err(unreadable)? as u64 > LONGEST_LIST {
        return Err(TargetsError::TooLong(path.to_owned()));
    }
    parse_list(&text, path, parse)
}

/// Splits a list as nmap does: blanks and line ends separate the targets, `#` begins a comment.
fn parse_list(text: &str, path: &Path, parse: ParseWord) -> Result<Vec<TargetSpec>, TargetsError> {
    let words = without_mark(text).lines().enumerate().flat_map(|(index, line)| {
        let list = line.split('#').next().unwrap_or_default();
        list.split_whitespace().map(move |word| (index + 1, word))
    });
    words
        .map(|(line, word)| {
            parse(word).map_err(|source| TargetsError::Malformed { path: path.to_owned(), line, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Resolving;

    /// A resolver that knows three names.
    struct Table;

    impl Resolve for Table {
        fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
            let addresses: &[&str] = match name {
                "nas.lan" => &["10.0.0.5", "10.0.0.6", "fd00::5"],
                "old.lan" => &["10.0.0.7"],
                "nowhere.lan" => &["0.0.0.0", "::"],
                _ => &[],
            };
            let found: Vec<Address> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let answer =
                if found.is_empty() { Err(ResolveError::Unknown(name.to_owned())) } else { Ok(found) };
            Box::pin(std::future::ready(answer))
        }
    }

    fn specs(text: &str) -> Vec<TargetSpec> {
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    async fn expand(targets: &str, exclude: &str, ipv6: bool) -> Expanded {
        let list = TargetList { targets: specs(targets), exclude: specs(exclude), ipv6 };
        list.expand(&Table, Address::check_host).await.unwrap()
    }

    fn addresses(expanded: &Expanded) -> String {
        expanded.targets.iter().map(|target| target.address.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn order_is_kept_and_each_address_comes_once() {
        let found = expand("10.0.0.9 nas.lan 10.0.0.4-6 10.0.0.9 10.0.0.0/30", "", false).await;
        assert_eq!(
            addresses(&found),
            "10.0.0.9 10.0.0.5 10.0.0.4 10.0.0.6 10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3"
        );
        assert_eq!(found.targets[1].name.as_deref(), Some("nas.lan"));
        assert_eq!(found.warnings, [""; 0]);
    }

    #[tokio::test]
    async fn a_name_is_left_out_if_its_address_is_excluded() {
        let found = expand("10.0.0.0/29", "nas.lan 10.0.0.0-3", false).await;
        assert_eq!(addresses(&found), "10.0.0.4 10.0.0.7");
    }

    #[tokio::test]
    async fn networks_of_any_size_are_left_out() {
        let targets = "10.0.0.1 192.0.2.1-4 fd00::9 fe80::1%eth0 fe80::2%eth0 2001:db8::1";
        for (exclude, left) in [
            (
                "10.0.0.0/8 fd00::/64",
                "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 fe80::1%eth0 fe80::2%eth0 2001:db8::1",
            ),
            ("0.0.0.0/0 fe80::1%eth0 fe80::2%eth1", "fd00::9 fe80::2%eth0 2001:db8::1"),
            ("::/0", "10.0.0.1 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4"),
            (
                "fe80::2 192.0.0.0-192.0.2.2 192.0.2.2/32 10.0.0.0/7 10.0.0.0-9",
                "192.0.2.3 192.0.2.4 fd00::9 fe80::1%eth0 2001:db8::1",
            ),
        ] {
            assert_eq!(addresses(&expand(targets, exclude, false).await), left, "{exclude}");
        }
    }

    #[test]
    fn overlapping_ranges_are_merged() {
        let ends = |text: &str| specs(text).iter().filter_map(TargetSpec::ends).collect::<Vec<_>>();
        let excluded = Excluded::new(
            ends("10.0.0.9 10.0.0.0/8 10.5.0.0/16 9.0.0.1-10.0.0.3 ::/0 fd00::/8"),
            HashSet::new(),
        );
        assert_eq!(excluded.ranges, ends("9.0.0.1-10.255.255.255 ::/0"));
    }

    #[tokio::test]
    async fn files_leave_out_networks_of_any_size_and_name_bounded_targets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nets");
        std::fs::write(&file, "10.0.0.0/8\nfd00::/64\n").unwrap();
        let parsed = |line: &str| {
            let line = format!("portscan scan {line}").replace("FILE", file.to_str().unwrap());
            match super::super::parse(line.split(' ').map(Into::into)).unwrap().command {
                super::super::Command::Now(super::super::Now::Scan(scan)) => *scan,
                other => panic!("{other:?}"),
            }
        };
        let list =
            TargetList::read(&parsed("--excludefile FILE 10.0.0.1 10.1.0.0/30 11.0.0.1"), &mut io::empty());
        assert_eq!(addresses(&list.unwrap().expand(&Table, Address::check_host).await.unwrap()), "11.0.0.1");
        let error = TargetList::read(&parsed("-iL FILE"), &mut io::empty()).unwrap_err().to_string();
        assert!(
            error.ends_with("nets:1: \"10.0.0.0/8\" has more than 65,536 addresses; name a smaller prefix"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn six_takes_the_ipv6_address() {
        assert_eq!(addresses(&expand("nas.lan", "", true).await), "fd00::5");
        let none = expand("old.lan", "", true).await;
        assert_eq!(none.warnings, ["\"old.lan\" has no IPv6 address; leave out -6"]);
    }

    #[tokio::test]
    async fn reports_unusable_targets() {
        let targets =
            "no.lan 0.0.0.0 nowhere.lan 224.0.0.0/24 fe80::/127 fe80::1 223.255.255.255-224.0.0.1 10.0.0.1";
        let found = expand(targets, "", false).await;
        assert_eq!(addresses(&found), "223.255.255.255 10.0.0.1");
        let expected = [
            "Unable to resolve host \"no.lan\".",
            "0.0.0.0 is not the address of one host; name another",
            "\"nowhere.lan\" leads nowhere: 0.0.0.0 is not the address of one host; name another",
            "224.0.0.0/24: left out 256 of its addresses: 224.0.0.0 is not the address of one host; name another",
            "fe80::/127: left out 2 of its addresses: fe80:: is valid on one link only; name its interface: fe80::%eth0",
            "fe80::1 is valid on one link only; name its interface: fe80::1%eth0",
            "223.255.255.255-224.0.0.1: left out 2 of its addresses: 224.0.0.0 is not the address of one host; name another",
        ];
        assert_eq!(found.warnings, expected);
        assert_eq!(expand("224.0.0.0/24 0.0.0.0", "224.0.0.0/4 0.0.0.0", false).await, Expanded::default());
    }

    #[tokio::test]
    async fn a_networks_first_and_last_address_are_left_out_in_silence_unless_they_were_typed() {
        let check = |address: &Address| match address.to_string().as_str() {
            "10.0.0.0" | "10.0.0.7" => Err(HostAddressError::WholeNetwork {
                address: address.clone(),
                net: "10.0.0.0/29".parse().unwrap(),
                interface: "eth0".to_owned(),
            }),
            _ => Ok(()),
        };
        for (targets, left, warnings) in [
            ("10.0.0.0/29", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6", &[][..]),
            ("10.0.0.6-9", "10.0.0.6 10.0.0.8 10.0.0.9", &[]),
            (
                "old.lan",
                "",
                &[
                    "\"old.lan\" leads nowhere: 10.0.0.7 stands for the whole network 10.0.0.0/29 on eth0, not for one host; name another",
                ],
            ),
            (
                "10.0.0.7 10.0.0.1",
                "10.0.0.1",
                &[
                    "10.0.0.7 stands for the whole network 10.0.0.0/29 on eth0, not for one host; name another",
                ],
            ),
        ] {
            let list = TargetList { targets: specs(targets), ..TargetList::default() };
            let found = list.expand(&Table, check).await.unwrap();
            assert_eq!(
                (addresses(&found).as_str(), &found.warnings[..]),
                (left, &warnings.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }

    #[tokio::test]
    async fn an_unresolvable_exclusion_stops_the_scan() {
        let list = TargetList { targets: specs("10.0.0.1"), exclude: specs("gone.lan"), ipv6: false };
        assert!(list.expand(&Table, Address::check_host).await.is_err());
    }

    #[tokio::test]
    async fn excluded_macs_are_kept_until_a_targets_mac_is_resolved() {
        let found = expand("10.0.0.1", "10.0.0.2 AA:BB:CC:*", false).await;
        assert_eq!((addresses(&found).as_str(), found.left_out), ("10.0.0.1", specs("AA:BB:CC:*")));
        assert!(expand("10.0.0.1", "10.0.0.2", false).await.left_out.is_empty());
    }

    #[tokio::test]
    async fn the_total_of_addresses_is_bounded() {
        let list = TargetList { targets: specs("10.0.0.0/16 10.1.0.1"), ..TargetList::default() };
        assert!(matches!(list.expand(&Table, Address::check_host).await, Err(TargetsError::TooMany)));
    }

    #[test]
    fn lists_have_comments_and_errors_name_the_line() {
        let text = "# the lab\n10.0.0.1 10.0.0.2\t# two\n\n  nas.lan\r\n";
        let read = |text, file| parse_list(text, Path::new(file), TargetSpec::parse_target);
        assert_eq!(read(text, "l").unwrap(), specs("10.0.0.1 10.0.0.2 nas.lan"));
        let error = read("10.0.0.1\n10.0.0.300\n", "hosts.txt").unwrap_err().to_string();
        let marked = format!("\u{feff}{text}");
        assert_eq!(read(&marked, "l").unwrap(), read(text, "l").unwrap());
        assert!(error.starts_with("hosts.txt:2: \"10.0.0.300\""), "{error}");
    }

    #[test]
    fn lists_come_from_files_and_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        std::fs::write(&file, "10.0.0.1\n").unwrap();
        let mut stdin: &[u8] = b"10.0.0.2";
        assert_eq!(read_list(&file, &mut stdin, str::parse).unwrap(), specs("10.0.0.1"));
        assert_eq!(read_list(Path::new("-"), &mut stdin, str::parse).unwrap(), specs("10.0.0.2"));
        let missing = read_list(&folder.path().join("none"), &mut stdin, str::parse).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
        let endless = &mut io::repeat(b'#');
        assert!(matches!(read_list(Path::new("-"), endless, str::parse), Err(TargetsError::TooLong(_))));
    }
}
