//! Prints a summary on a terminal when `portscan serve` starts: the address of the page, the networks and devices
//! that it watches, and those that it does not watch, and why. Under systemd there is no terminal, and only the log
//! is written.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use ipnet::Ipv4Net;

use crate::{
    config::{Config, Targets},
    net::{Lan, LanCandidate, LanError, Links, mdns::MdnsScope},
    service::discovery::MOST_UNNAMED,
};

/// Tells it on standard output, or on standard error if only that is a terminal.
pub(super) fn announce(config: &Config, file: &Path, listen: &[SocketAddr]) {
    let mut terminal: Box<dyn Write> = match (io::stdout().is_terminal(), io::stderr().is_terminal()) {
        (true, _) => Box::new(io::stdout()),
        (false, true) => Box::new(io::stderr()),
        (false, false) => return,
    };
    let own = Links::read().map(|links| links.own_addresses()).unwrap_or_default();
    let networks = Lan::candidates().unwrap_or_default();
    let configuration = match file.exists() {
        true => file.display().to_string(),
        false => format!("{} is not there: defaults", file.display()),
    };
    let text = describe(config, &configuration, listen, &own, &networks);
    // A terminal that is gone is no reason not to serve.
    _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

fn describe(
    config: &Config,
    configuration: &str,
    listen: &[SocketAddr],
    own: &[IpAddr],
    networks: &[LanCandidate],
) -> String {
    let mut text = format!("portscan {}\n", env!("CARGO_PKG_VERSION"));
    section(&mut text, "Page", &pages(config, listen, own));
    let mut watched = Vec::new();
    let mut unwatched = Vec::new();
    for network in networks {
        watch_network(config, network, &mut watched, &mut unwatched);
    }
    for discover in &config.feed.discover {
        if !networks.iter().any(|network| network.interface == discover.interface) {
            unwatched.push(format!("{discover}: there is no interface {}", discover.interface));
        }
    }
    watched.extend(config.feed.urls.iter().map(|url| format!("the devices that {url} names, every minute")));
    match config.feed.hosts.len() {
        0 => {}
        1 => watched.push("1 device named under [feed] hosts".to_owned()),
        count => watched.push(format!("{count} devices named under [feed] hosts")),
    }
    for scanner in &config.scanners {
        if let Targets::List(targets) = &scanner.targets {
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            watched.push(format!("{}, by the scanner {}", targets.join(", "), scanner.name));
        }
    }
    unwatched.extend(config.exclude.iter().map(|excluded| format!("{excluded}: excluded")));
    let switched_off = config.devices.iter().filter(|rule| !rule.scan);
    unwatched.extend(switched_off.map(|rule| format!("{}: scan = false under [[device]]", rule.matches)));
    if watched.is_empty() {
        watched.push("nothing yet: choose networks with `portscan setup`".to_owned());
    }
    section(&mut text, "Watched", &watched);
    if !unwatched.is_empty() {
        section(&mut text, "Not watched", &unwatched);
    }
    _ = write!(text, "\nConfiguration: {configuration}\nStop with Ctrl-C.\n\n");
    text
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    _ = write!(text, "\n{title}\n");
    for line in lines {
        _ = writeln!(text, "  {line}");
    }
}

/// Returns the URLs that lead to the page: by name, from other machines, from this one.
fn pages(config: &Config, listen: &[SocketAddr], own: &[IpAddr]) -> Vec<String> {
    let mut pages = Vec::new();
    if let Some(scope) = MdnsScope::of(listen).filter(|_| config.mdns.enabled) {
        let port = with_port(scope.port());
        pages
            .push(format!("http://{}.local{port}/ (unless another machine has this name)", config.mdns.name));
    }
    let mut push = |page: String| {
        if !pages.contains(&page) {
            pages.push(page);
        }
    };
    // IPv6 link-local addresses need a zone, which browsers do not take.
    let reachable = own.iter().filter(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    });
    for address in listen.iter().filter(|address| address.ip().is_unspecified()) {
        // A socket of `[::]` takes IPv4, too, unless another listens there on the same port.
        let has_ipv4 = listen.iter().any(|other| other.is_ipv4() && other.port() == address.port());
        let takes = |ip: &&IpAddr| ip.is_ipv4() == address.is_ipv4() || (address.is_ipv6() && !has_ipv4);
        reachable.clone().filter(takes).for_each(|ip| push(url(*ip, address.port())));
    }
    for address in listen.iter().filter(|address| !address.ip().is_unspecified()) {
        push(url(address.ip(), address.port()));
    }
    for address in listen.iter().filter(|address| address.ip().is_unspecified()) {
        push(format!("http://localhost{}/", with_port(address.port())));
    }
    pages
}

fn url(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("http://{ip}{}/", with_port(port)),
        IpAddr::V6(ip) => format!("http://[{ip}]{}/", with_port(port)),
    }
}

fn with_port(port: u16) -> String {
    if port == 80 { String::new() } else { format!(":{port}") }
}

/// Adds a line for each of an interface's IPv4 networks.
fn watch_network(
    config: &Config,
    network: &LanCandidate,
    watched: &mut Vec<String>,
    unwatched: &mut Vec<String>,
) {
    let name = &network.interface;
    let wanted: Vec<_> = config.feed.discover.iter().filter(|discover| discover.interface == *name).collect();
    if let Some(obstacle) = network.obstacle.as_ref().filter(|_| !wanted.is_empty()) {
        unwatched.push(format!("{name}: not at present: {obstacle}"));
        return;
    }
    for net in &network.nets {
        let shown = net.trunc();
        let parts: Vec<Ipv4Net> =
            wanted.iter().filter_map(|discover| discover.net).filter(|part| net.contains(part)).collect();
        let is_whole = wanted.iter().any(|discover| discover.net.is_none());
        let is_small = net.hosts().count() <= MOST_UNNAMED;
        if is_whole && is_small {
            watched.push(format!("{name} {shown}: searched for devices every 5 minutes"));
            continue;
        }
        watched.extend(parts.iter().map(|part| match *part == shown {
            true => format!("{name} {part}: searched for devices every 5 minutes"),
            false => format!("{name} {part}, a part of {shown}: searched for devices every 5 minutes"),
        }));
        if !parts.is_empty() {
            continue;
        }
        let why = match &network.obstacle {
            _ if is_whole => "more than 1,024 addresses; name the part in use under [feed] discover",
            Some(LanError::NotEthernet(_)) => "no Ethernet; name its devices under [feed] hosts",
            _ if network.is_virtual => "for containers or virtual machines",
            _ => "not under [feed] discover; add it with `portscan setup`",
        };
        unwatched.push(format!("{name} {shown}: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn network(interface: &str, nets: &[&str], obstacle: Option<LanError>) -> LanCandidate {
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        LanCandidate {
            interface: interface.to_owned(),
            nets,
            obstacle,
            is_virtual: interface.starts_with("docker"),
        }
    }

    fn described(config: &str, listen: &[&str]) -> String {
        let file = Some((Path::new("portscan.toml"), config));
        let config = Config::load(&Overrides::default(), &|_| None, file).unwrap();
        let listen: Vec<SocketAddr> = listen.iter().map(|address| address.parse().unwrap()).collect();
        let own = ["127.0.0.1", "192.168.1.7", "172.17.0.1", "::1", "fd00::7", "fe80::7"];
        let networks = [
            network("eth0", &["192.168.1.7/24"], None),
            network("docker0", &["172.17.0.1/16"], None),
            network("eth1", &["10.0.0.7/16"], None),
            network("wlan0", &["192.168.2.7/24"], Some(LanError::NoCarrier("wlan0".to_owned()))),
            network("wg0", &["10.8.0.2/24"], Some(LanError::NotEthernet("wg0".to_owned()))),
        ];
        let own = own.map(|ip| ip.parse().unwrap());
        describe(&config, "/etc/portscan/portscan.toml", &listen, &own, &networks)
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn tells_where_the_page_is_and_what_is_watched() {
        let everything = "exclude = [\"192.168.1.9\"]\n\
            [feed]\nurl = [\"http://lanscan.local/lanscan/json\"]\n\
            discover = [\"eth0\", \"eth1 10.0.4.0/24\", \"wlan0\", \"eth9\"]\n\
            hosts = [{ address = \"192.168.7.2\" }]\n\
            [[scanner]]\nname = \"servers\"\ntargets = [\"192.168.1.10-20\", \"nas.lan\"]\n\
            [[device]]\nmatch = \"B8:27:EB:AC:14:3E\"\nscan = false\n";
        insta::assert_snapshot!("startup", described(everything, &["0.0.0.0:80", "[::]:80"]));
        insta::assert_snapshot!("startup_default", described("", &["0.0.0.0:80", "[::]:80"]));
        let nothing = described("[feed]\nurl = []\n", &["127.0.0.1:8080"]);
        assert!(nothing.contains("\nPage\n  http://127.0.0.1:8080/\n\n"), "{nothing}");
        assert!(nothing.contains("nothing yet: choose networks with `portscan setup`"), "{nothing}");
    }

    #[test]
    fn a_socket_of_ipv6_takes_ipv4_too_unless_another_does() {
        let both = described("[mdns]\nenabled = false\n", &["[::]:8080"]);
        let pages = "\nPage\n  http://192.168.1.7:8080/\n  http://172.17.0.1:8080/\n  http://[fd00::7]:8080/\n  \
                     http://localhost:8080/\n\n";
        assert!(both.contains(pages), "{both}");
        let one = described("", &["192.168.1.7:80"]);
        assert!(one.contains("\n  http://192.168.1.7/\n\n") && !one.contains("localhost"), "{one}");
    }
}
