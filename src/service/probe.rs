//! Probes one port of any host, now, for a client, and decides what each client may have probed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ipnet::{Ipv4Net, Ipv6Net};
use tokio::sync::watch;

use super::{
    agenda::is_wanted,
    feeds::Inventory,
    scanner::Scanner,
    witness::{Unsighted, Witness},
};
use crate::{
    config::Config,
    engine::{HostJob, Liveness},
    model::{Address, Device, HostAddressError, HostReport, PortFinding, PortSet, TargetSpec, Timing},
    net::Links,
    resolve::{Resolve, ResolveError},
};

/// How long a link may be down while a client waits.
const OUTAGE: Duration = Duration::from_secs(2);

/// The longest that a probe by hand may take. The original allowed 5 s; here the probe may first have to wait for
/// another scan of the same host.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where clouds reveal a machine's secrets, to any program that asks from that machine: AWS, Azure, Google, Oracle,
/// `OpenStack` and others (169.254.169.0/24), AWS's containers (169.254.170.0/24), Scaleway, Azure's host, Alibaba.
const METADATA_IPV4: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 169, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 170, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 42, 42), 32),
    Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32),
];

/// The same by IPv6: AWS, Google, Oracle, Scaleway, `OpenStack`.
const METADATA_IPV6: [Ipv6Net; 5] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0), 64),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254), 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042), 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
];

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A program on this machine, which can connect to it anyway.
    ThisMachine,
    /// On the network, or unknown.
    Network,
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The address that was probed: the first of the name.
    pub address: Address,
    /// The verdict, or why there is none.
    pub found: Result<PortFinding, String>,
}

/// Why no probe was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The name has no address.
    #[error(transparent)]
    Unresolved(#[from] ResolveError),
    /// No host can have the address.
    #[error(transparent)]
    NoHost(#[from] HostAddressError),
    /// Services on the loopback are private, and other services may trust this machine's own address.
    #[error("{0} is the appliance's own address; ask for it on the appliance's machine itself")]
    OwnAddress(Address),
    /// A cloud's metadata service gives keys to any program on the machine (`METADATA_IPV4`).
    #[error("{0} is where a cloud's metadata service listens; it is never probed over HTTP")]
    Metadata(Address),
    /// The configuration excludes the address.
    #[error(
        "{0} must not be probed; if that has changed, take it out of `exclude`, or out of the [[device]] with \
         `scan = false`"
    )]
    Excluded(Address),
    /// The configuration permits only others.
    #[error("{0} may not be probed from here; if it should be, add it to `probe` under [http]")]
    NotAllowed(Address),
    /// The scanner has stopped.
    #[error("the appliance is stopping; try again when it is back")]
    Stopping,
}

/// Refuses what no configuration allows. Checks the address, not the name that led to it.
fn check(address: &Address, links: &Links, asker: Asker) -> Result<(), ProbeError> {
    let is_metadata = match address.ip() {
        IpAddr::V4(ip) => METADATA_IPV4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => METADATA_IPV6.iter().any(|net| net.contains(&ip)),
    };
    if is_metadata {
        return Err(ProbeError::Metadata(address.clone()));
    }
    if asker != Asker::ThisMachine && links.is_own(address) {
        return Err(ProbeError::OwnAddress(address.clone()));
    }
    Ok(())
}

/// Probes ports for clients. A reloaded configuration applies from the next request on.
#[derive(Clone)]
pub struct PortProber {
    /// The handle of the one engine.
    pub scanner: Scanner,
    /// Resolves hosts that are given by name.
    pub resolver: Arc<dyn Resolve>,
    /// Says what must not be probed.
    pub config: watch::Receiver<Arc<Config>>,
    /// What feeds report of an address.
    pub inventory: watch::Receiver<Inventory>,
}

impl PortProber {
    /// Probes one port of any host, within the budget that the host's other scans leave. Stores nothing. Takes at most
    /// 5 s to resolve the name, and 10 s for the probe.
    pub async fn probe(&self, host: &str, port: u16, asker: Asker) -> Result<ProbeAnswer, ProbeError> {
        // Never empty; IPv4 first, as the original did.
        let found = self.resolver.resolve(host).await?;
        let address = found.into_iter().next().ok_or_else(|| ResolveError::Unknown(host.to_owned()))?;
        let config = Arc::clone(&self.config.borrow());
        // Read anew each time: interfaces come and go.
        let links = match Links::read() {
            Ok(links) => links,
            // Whether this machine itself is excluded by its MAC is unknown then.
            Err(error) => return Ok(ProbeAnswer { address, found: Err(error.to_string()) }),
        };
        match links.check_host(&address) {
            // The interface may exist tomorrow: the request is not at fault.
            Err(error @ HostAddressError::UnknownInterface { .. }) => {
                return Ok(ProbeAnswer { address, found: Err(error.to_string()) });
            }
            checked => checked?,
        }
        check(&address, &links, asker)?;
        let fed = self.fed_at(&address);
        // Without an ARP request where the address, or what a feed reports of it, is enough.
        let unseen = Device { address: address.clone(), mac: None, name: None };
        if config.is_excluded(&unseen) || !fed.iter().all(|device| is_wanted(&config, device)) {
            return Err(ProbeError::Excluded(address));
        }
        let seen = match Witness::of(&links, &address).first_sighted(&config, &links, &address).await {
            Ok(mac) => Device { mac, ..unseen },
            Err(Unsighted::Silent) => {
                let why = HostReport::no_neighbour_detail(&address).to_owned();
                return Ok(ProbeAnswer { address, found: Err(why) });
            }
            Err(error) => return Ok(ProbeAnswer { address, found: Err(error.to_string()) }),
        };
        // A rule for the address alone does not overrule one for the MAC that a feed gives.
        if (seen.mac.is_some() || fed.is_empty()) && !is_wanted(&config, &seen) {
            return Err(ProbeError::Excluded(address));
        }
        let devices: Vec<Device> = std::iter::once(seen).chain(fed).collect();
        let allows = |spec: &TargetSpec| devices.iter().any(|device| spec.matches(&address, device.mac));
        if config.http_probe.as_ref().is_some_and(|allowed| !allowed.iter().any(allows)) {
            return Err(ProbeError::NotAllowed(address));
        }
        let rule = devices.iter().find_map(|device| config.rule_for(device));
        let timing = rule.and_then(|rule| rule.timing).unwrap_or(Timing::T3);
        let mut ticket = self.scanner.submit(HostJob {
            link: links.link_of(&address),
            address,
            ports: PortSet::from_ranges([(port, port)]),
            first: Vec::new(),
            timing,
            by_syn: false,
            max_in_flight: config.max_in_flight,
            max_retries: None,
            max_rate: None,
            liveness: Liveness::Assume,
            deadline: Some(PATIENCE),
            sits_out: OUTAGE,
        });
        let report = ticket.report().await.ok_or(ProbeError::Stopping)?;
        Ok(ProbeAnswer { found: verdict(&report, port), address: report.address })
    }

    /// Returns the devices at an address, as the feeds have them.
    fn fed_at(&self, address: &Address) -> Vec<Device> {
        let inventory = self.inventory.borrow();
        let fed = inventory.devices.iter().map(|known| &known.device);
        fed.filter(|device| device.address == *address).cloned().collect()
    }
}

/// Returns what a report says of its only port.
fn verdict(report: &HostReport, port: u16) -> Result<PortFinding, String> {
    let why = if report.detail.is_empty() { report.status.as_str() } else { &report.detail };
    report.verdict(port).ok_or_else(|| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_own_addresses_only_for_this_machine_and_metadata_services_for_no_client() {
        let links = Links::default();
        let verdict = |text: &str, asker| check(&text.parse().unwrap(), &links, asker);
        for own in ["127.0.0.1", "127.4.5.6", "::1", "::ffff:127.0.0.1", "[::ffff:7f00:1]"] {
            let address = own.parse().unwrap();
            assert_eq!(verdict(own, Asker::Network), Err(ProbeError::OwnAddress(address)), "{own}");
            assert_eq!(verdict(own, Asker::ThisMachine), Ok(()), "{own}");
        }
        for metadata in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "169.254.170.2",
            "169.254.169.253",
            "169.254.42.42",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fe80::a9fe:a9fe%eth0",
        ] {
            for asker in [Asker::Network, Asker::ThisMachine] {
                let error = ProbeError::Metadata(metadata.parse().unwrap());
                assert_eq!(verdict(metadata, asker), Err(error), "{metadata} {asker:?}");
            }
        }
        for other in
            ["192.0.2.1", "169.254.1.1", "2001:db8::1", "fd00:ec3::254", "fe80::1%eth0", "100.100.100.1"]
        {
            assert_eq!(verdict(other, Asker::Network), Ok(()), "{other}");
        }
    }
}
