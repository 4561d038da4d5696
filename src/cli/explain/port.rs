//! Explains a port by its number.

use std::io::{self, Write};

use serde::Serialize;

use super::super::{CliError, Terminal, table};
use crate::{
    advice::{self, AdviceText, Certainty, PortUse},
    model::{AdviceLevel, Protocol},
    services,
};

/// The widest text, in columns: longer lines are hard to read.
const WIDEST: u16 = 100;

/// The first number that systems give out by themselves (RFC 6335, 6).
const FIRST_DYNAMIC: u16 = 49_152;

/// What is known of a port over one protocol, for programs.
#[derive(Serialize)]
struct PortJson {
    port: u16,
    protocol: Protocol,
    /// IANA's name; the registry here has those of TCP.
    service: Option<&'static str>,
    /// The general use first; empty if nothing is known.
    uses: Vec<UseJson>,
}

/// What a port is used for.
#[derive(Serialize)]
struct UseJson {
    name: AdviceText,
    /// The devices, by the beginnings of their makers' names; if both lists are empty, any device.
    vendors: Vec<&'static str>,
    /// The devices, by the beginnings of their own names.
    host_names: Vec<&'static str>,
    purpose: AdviceText,
    devices: AdviceText,
    level: AdviceLevel,
    why: AdviceText,
    always: Option<AdviceText>,
    remedy: AdviceText,
    source: AdviceText,
}

/// Prints what is known of a port.
pub(super) fn explain(
    port: u16,
    protocol: Option<Protocol>,
    json: bool,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    let protocols = protocol.map_or_else(|| vec![Protocol::Tcp, Protocol::Udp], |protocol| vec![protocol]);
    if json {
        let ports: Vec<PortJson> = protocols.iter().map(|protocol| for_programs(port, *protocol)).collect();
        serde_json::to_writer_pretty(&mut *terminal.out, &ports).map_err(io::Error::from)?;
        return Ok(writeln!(terminal.out)?);
    }
    Ok(print(terminal.out, port, &protocols, terminal.width)?)
}

fn for_programs(port: u16, protocol: Protocol) -> PortJson {
    let of_use = |known: &'static PortUse| UseJson {
        name: known.name,
        vendors: known.vendors().collect(),
        host_names: known.host_names().collect(),
        purpose: known.purpose,
        devices: known.devices,
        level: known.level,
        why: known.why,
        always: known.always,
        remedy: known.remedy,
        source: known.source,
    };
    let uses = advice::uses(protocol, port).map(of_use).collect();
    PortJson { port, protocol, service: registered(port, protocol), uses }
}

fn registered(port: u16, protocol: Protocol) -> Option<&'static str> {
    services::name(port).filter(|_| protocol == Protocol::Tcp)
}

fn print(out: &mut dyn Write, port: u16, protocols: &[Protocol], width: Option<u16>) -> io::Result<()> {
    // A use of the port over both protocols is printed once.
    let mut told: Vec<(Vec<Protocol>, &PortUse)> = Vec::new();
    for &protocol in protocols {
        for known in advice::uses(protocol, port) {
            match told.iter_mut().find(|(_, other)| std::ptr::eq(*other, known)) {
                Some((protocols, _)) => protocols.push(protocol),
                None => told.push((vec![protocol], known)),
            }
        }
    }
    if told.is_empty() {
        return print_unknown(out, port, protocols, width);
    }
    for (protocols, known) in told {
        print_use(out, &labels(port, &protocols), known, width)?;
        writeln!(out)?;
    }
    let registered = protocols.iter().find_map(|protocol| registered(port, *protocol));
    let registered = registered
        .map(|name| format!("The worldwide list of port numbers (IANA's) calls it \"{name}\". "))
        .unwrap_or_default();
    // The texts of the file have no room to say it in each.
    let end = format!(
        "{registered}A number does not prove which program answers: `portscan explain DEVICE` says more of a device. \
         Commands and names of files are for the person who runs the device."
    );
    write_text(out, &end, width)
}

/// `53/tcp and 53/udp`
fn labels(port: u16, protocols: &[Protocol]) -> String {
    protocols.iter().map(|protocol| format!("{port}/{protocol}")).collect::<Vec<_>>().join(" and ")
}

fn print_use(out: &mut dyn Write, port: &str, known: &PortUse, width: Option<u16>) -> io::Result<()> {
    let any = |hints: Vec<&str>| (!hints.is_empty()).then(|| hints.join(" or "));
    let makers = any(known.vendors().collect()).map(|makers| format!("made by {makers}"));
    let names = any(known.host_names().collect()).map(|names| format!("called {names}"));
    let devices: Vec<String> = makers.into_iter().chain(names).collect();
    match devices.is_empty() {
        true => write_text(out, &format!("{port}: {} {}", Certainty::Usual.as_str(), known.name), width)?,
        false => {
            let devices = devices.join(" or ");
            let certainty = Certainty::Probable.as_str();
            write_text(out, &format!("{port} on a device {devices}: {certainty} {}", known.name), width)?;
        }
    }
    let rows = [
        ("Level", Some(known.level.to_string())),
        ("For", Some(known.purpose.to_string())),
        ("Usual on", Some(known.devices.to_string())),
        ("Why", Some(known.why.to_string())),
        ("Always", known.always.map(|text| text.to_string())),
        ("To do", Some(known.remedy.to_string())),
        ("Source", Some(known.source.to_string())),
    ];
    let rows = rows.into_iter().filter_map(|(label, text)| Some(vec![format!("  {label}"), text?]));
    table::write(out, NO_HEADER, rows, 1, limited(width))
}

const NO_HEADER: &[&str] = &[];

fn limited(width: Option<u16>) -> Option<u16> {
    width.map(|width| width.min(WIDEST))
}

fn write_text(out: &mut dyn Write, text: &str, width: Option<u16>) -> io::Result<()> {
    table::write(out, NO_HEADER, std::iter::once(vec![text.to_owned()]), 0, limited(width))
}

fn print_unknown(
    out: &mut dyn Write,
    port: u16,
    protocols: &[Protocol],
    width: Option<u16>,
) -> io::Result<()> {
    let mut text = format!("{}: nothing is known about this port.", labels(port, protocols));
    if let Some(name) = protocols.iter().find_map(|protocol| registered(port, *protocol)) {
        text += &format!(
            " The worldwide list of port numbers (IANA's) calls it \"{name}\"; any other program may use it."
        );
    }
    if port >= FIRST_DYNAMIC {
        text += " A device gives out such high numbers to its programs, often others after each start.";
    }
    write_text(out, &text, width)?;
    writeln!(out, "How to find out what it is:")?;
    let udp = protocols == [Protocol::Udp];
    let (sockets, apple) = if udp { ("-lunp", "UDP") } else { ("-ltnp", "TCP -sTCP:LISTEN") };
    let mut steps = vec![
        "See what else the device has open, and what that is: \"portscan explain DEVICE\".".to_owned(),
        "See since when it is open: \"portscan changes\". Think of what was installed or updated then."
            .to_owned(),
        "Look for the number in the manual of the device, or ask its maker.".to_owned(),
        format!(
            "The person who runs the device can list the programs that wait for connections: \"sudo ss {sockets}\" on \
             Linux, \"netstat -abn\" as administrator on Windows, \"sudo lsof -nP -i{apple}\" on a Mac."
        ),
    ];
    if !udp {
        let page = format!(
            "Open http://ADDRESS:{port} and https://ADDRESS:{port} in a browser, with the device's address: many ports \
             are pages."
        );
        steps.insert(0, page);
    }
    let rows = steps.into_iter().map(|step| vec!["  -".to_owned(), step]);
    table::write(out, NO_HEADER, rows, 1, limited(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(port: u16, protocols: &[Protocol], width: Option<u16>) -> String {
        let mut out = Vec::new();
        print(&mut out, port, protocols, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_port_is_explained_as_wide_as_the_terminal() {
        const BOTH: &[Protocol] = &[Protocol::Tcp, Protocol::Udp];
        insta::assert_snapshot!("port", printed(23, BOTH, Some(80)));
        insta::assert_snapshot!("port_of_some_devices", printed(5001, &[Protocol::Tcp], Some(80)));
        insta::assert_snapshot!("port_unknown", printed(60_001, BOTH, Some(80)));
        assert_eq!(printed(53, BOTH, None).matches("53/tcp and 53/udp: usually DNS").count(), 1);
        assert!(printed(60_001, &[Protocol::Udp], None).contains("ss -lunp"));
        for width in [40, 80] {
            for port in [23, 5000, 60_001] {
                let text = printed(port, BOTH, Some(width));
                assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
            }
        }
    }
}
