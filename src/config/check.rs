//! Checks whether a valid configuration fits this machine: what `check-config` reports beyond syntax.

use std::{fmt, net::SocketAddr};

use ipnet::IpNet;

use super::{ChannelConfig, ChannelKind, Config, Targets, mqtt, parse::covers};

/// The facts about this machine, gathered by the caller; this module reads nothing itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Whether the configuration is that of a fleet's hub, rather than an appliance's.
    pub is_hub: bool,
    /// Why `data_dir` cannot be written to, if so.
    pub data_dir: Option<String>,
    /// What keeps this user from `data_dir` or a file in it, and how to mend it, if anything does.
    pub obstacle: Option<String>,
    /// Which files in `data_dir` belong to another user than the directory does, and how to mend it, if there are any.
    pub strangers: Option<String>,
    /// Why `spool` cannot be written to, if so.
    pub spool: Option<String>,
    /// Why the token in `auth.token_file` cannot be used, if so.
    pub token: Option<String>,
    /// Why the secrets of alert channels cannot be used, if so.
    pub secrets: Vec<String>,
    /// Why credentials for a hub cannot be used, with the section, if so.
    pub credentials: Vec<String>,
    /// The warning that credentials for a hub end soon or have ended, with the section and the remedy.
    pub ending_credentials: Vec<String>,
    /// The files that the appliance's user cannot use, each with the remedy.
    pub closed: Vec<String>,
    /// The same files, if the appliance's user is only a guess.
    pub maybe_closed: Vec<String>,
    /// The warning that every user of this machine may read the token, with the remedy.
    pub open_token: Option<String>,
    /// Why addresses of `listen` cannot be bound, and what to do about it.
    pub unbound: Vec<String>,
    /// The addresses of `listen` that are left out because this machine has no IPv6.
    pub left_out: Vec<SocketAddr>,
    /// The names of the interfaces.
    pub interfaces: Vec<String>,
}

/// Why a hub refuses a configuration with `[fleet]`.
const HUB_AS_SITE: &str = "[fleet] makes an appliance a site, and has no effect at a hub; remove it here. If this machine \
                               is an appliance, too, write it into the appliance's own configuration, \
                               /etc/portscan/portscan.toml";

/// Why a hub refuses a configuration, if it does.
pub fn unfit_for_hub(config: &Config) -> Option<String> {
    let has_mqtt = |channel: &&ChannelConfig| matches!(channel.kind, ChannelKind::Mqtt(_));
    if config.fleet.is_some() {
        return Some(HUB_AS_SITE.to_owned());
    }
    if let Some(channel) = config.channels.iter().find(has_mqtt) {
        return Some(format!(
            "channel {}: a hub has no channels of type mqtt; write it into the configuration of each site",
            channel.name
        ));
    }
    let channel = config.channels.iter().find(|channel| channel.summary.is_some())?;
    Some(format!(
        "channel {}: a hub sends no summaries; remove summary here, and write it into the configuration of each site",
        channel.name
    ))
}

/// A problem that a valid configuration meets on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// What and how to mend it.
    pub text: String,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but probably not as intended.
    Warning,
    /// It does not work.
    Error,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{word}: {}", self.text)
    }
}

/// Compares a configuration with the machine it is to run on.
pub fn check(config: &Config, machine: &Machine) -> Vec<Finding> {
    let error = |text| Finding { severity: Severity::Error, text };
    let warning = |text| Finding { severity: Severity::Warning, text };
    let mut findings = Vec::new();
    if let Some(reason) = unfit_for_hub(config).filter(|_| machine.is_hub) {
        findings.push(error(reason));
    }
    if let Some(reason) = &machine.data_dir {
        let dir = config.data_dir.display();
        findings.push(error(format!(
            "data_dir {dir} cannot be written to ({reason}); make it and give it to the user that portscan runs as"
        )));
    }
    findings.extend(machine.obstacle.iter().map(|told| error(format!("data_dir: {told}"))));
    findings.extend(machine.strangers.iter().map(|told| warning(format!("data_dir: {told}"))));
    if let (Some(spool), Some(reason)) = (&config.spool, &machine.spool) {
        findings.push(error(format!(
            "spool {} cannot be written to ({reason}): what was imported is moved within it; give it to the user that \
             portscan runs as",
            spool.display()
        )));
    }
    findings.extend(machine.token.iter().map(|reason| error(format!("auth.token_file: {reason}"))));
    findings.extend(machine.secrets.iter().map(|told| error(told.clone())));
    findings.extend(machine.credentials.iter().map(|told| error(told.clone())));
    findings.extend(machine.ending_credentials.iter().map(|told| warning(told.clone())));
    findings.extend(config.channels.iter().filter(|channel| sends_in_the_clear(channel)).map(|channel| {
        warning(format!(
            "channel {}: its secret is sent unencrypted over http; write its URL with https if the receiver has it",
            channel.name
        ))
    }));
    findings.extend(config.channels.iter().filter(|channel| shows_password(channel)).map(|channel| {
        warning(format!(
            "channel {}: its password is sent unencrypted to an address that is not private; write its URL with mqtts if \
             the broker has it",
            channel.name
        ))
    }));
    findings.extend(machine.closed.iter().map(|told| error(told.clone())));
    findings.extend(machine.maybe_closed.iter().map(|told| warning(told.clone())));
    findings.extend(machine.open_token.iter().map(|told| warning(told.clone())));
    findings.extend(config.auth_trust.iter().filter(|net| is_anywhere(net)).map(|net| {
        warning(format!(
            "auth.trust {net} means hosts anywhere: without the token, they may change all there is; name your own \
             networks, as 192.168.1.0/24"
        ))
    }));
    findings.extend(machine.unbound.iter().map(|reason| error(reason.clone())));
    for address in &machine.left_out {
        findings.push(warning(format!("listen {address} is left out: this machine has no IPv6")));
    }
    let discover = config.feed.discover.iter().map(|discover| &discover.interface);
    for interface in discover.filter(|name| !machine.interfaces.contains(name)) {
        let there = machine.interfaces.join(", ");
        findings.push(error(format!("feed.discover: no interface {interface} here; there are {there}")));
    }
    for zone in zones(config).filter(|zone| !machine.interfaces.iter().any(|name| name == zone)) {
        findings.push(warning(format!("an address names the interface {zone}, which is not here")));
    }
    let feed = &config.feed;
    let no_feed = feed.urls.is_empty() && feed.discover.is_empty() && feed.hosts.is_empty();
    for scanner in &config.scanners {
        let name = &scanner.name;
        match &scanner.targets {
            Targets::Feed if no_feed => findings.push(warning(format!(
                "scanner {name} scans the feed, which has no source; give [feed] a url, discover or hosts"
            ))),
            Targets::List(targets)
                if targets.iter().all(|target| config.exclude.iter().any(|spec| covers(spec, target))) =>
            {
                findings
                    .push(warning(format!("scanner {name} scans no host: all of its targets are excluded")));
            }
            Targets::Feed | Targets::List(_) => {}
        }
    }
    findings
}

/// Whether a channel's token is sent unencrypted.
fn sends_in_the_clear(channel: &ChannelConfig) -> bool {
    channel.token_file.is_some() && channel.url.has_scheme("http")
}

/// Whether a password is sent unencrypted to an MQTT broker outside private networks.
fn shows_password(channel: &ChannelConfig) -> bool {
    matches!(&channel.kind, ChannelKind::Mqtt(broker) if mqtt::shows_password(broker, &channel.url))
}

/// Whether a network is so large that it is not the owner's: the largest private range is a /8, and
/// providers of IPv6 have less than a /16. Half of the address space, twice, is all of it.
fn is_anywhere(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => {
            // Unique local and link-local addresses, which no router of the internet forwards.
            let is_local = net.network().is_unique_local() || net.network().is_unicast_link_local();
            net.prefix_len() < if is_local { 7 } else { 16 }
        }
    }
}

/// Returns the interfaces that addresses in the configuration name.
fn zones(config: &Config) -> impl Iterator<Item = &str> {
    let listed = config.scanners.iter().filter_map(|scanner| match &scanner.targets {
        Targets::List(targets) => Some(targets),
        Targets::Feed => None,
    });
    let targets = listed.flatten().filter_map(|target| match target {
        crate::model::TargetSpec::Address(address) => address.zone(),
        _ => None,
    });
    config.feed.hosts.iter().filter_map(|host| host.address.zone()).chain(targets)
}
