//! Resolves addresses to names: by the system's resolver, and by a query to the neighbour itself.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use dns_lookup::{LookupErrorKind, lookup_addr};
use tokio::time::timeout;

use super::{
    dns_message::{DnsAnswer, DnsName, DnsQuestion, LABEL_MAX, RecordData, RecordKind},
    lookup::{PATIENCE, SystemResolver},
    unicast_mdns::UnicastMdns,
};
use crate::model::{Address, one_line};

/// The longest name, in octets (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;

/// The outcome of a query for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameReply {
    /// The name: at most 255 characters, on one line, without invisible or direction-changing characters; HTML and the
    /// like are left to the caller to escape.
    Name(String),
    /// The answer that there is no name.
    Nameless,
    /// No answer, or no usable one.
    Silence,
}

impl SystemResolver {
    /// Looks up the system's name for an address, from /etc/hosts or a name server (a PTR record). Takes 5 s at most,
    /// on one of the resolver's threads.
    pub async fn name_of(&self, address: &Address) -> NameReply {
        let ip = address.ip();
        match timeout(PATIENCE, self.run(move || Ok(lookup_addr(&ip)))).await {
            Ok(Ok(Ok(name))) => fit(&name).map_or(NameReply::Silence, NameReply::Name),
            Ok(Ok(Err(error)))
                if matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData) =>
            {
                NameReply::Nameless
            }
            // The name server fails, or takes too long.
            Ok(_) | Err(_) => NameReply::Silence,
        }
    }
}

/// Queries the neighbour at this address for its own name. Takes 1 s at most.
///
/// # Errors
/// Fails if this machine cannot send the query: it is out of sockets, or has no route.
pub async fn mdns_name(neighbour: Ipv4Addr) -> io::Result<NameReply> {
    let Some(question) = question(neighbour) else { return Ok(NameReply::Silence) };
    let mdns = UnicastMdns::open(neighbour)?;
    let asked = mdns.ask(std::slice::from_ref(&question), |answer| name_in(answer, &question)).await;
    match asked {
        // No socket listens there: the neighbour itself reports that.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(NameReply::Silence),
        asked => Ok(asked?.map_or(NameReply::Silence, NameReply::Name)),
    }
}

/// The question for the name of the host with this address: `5.0.77.10.in-addr.arpa`.
fn question(address: Ipv4Addr) -> Option<DnsQuestion> {
    let octets = address.octets().map(|octet| octet.to_string());
    let labels = octets.iter().rev().map(String::as_str).chain(["in-addr", "arpa"]);
    Some(DnsQuestion { name: DnsName::of(labels.map(str::as_bytes))?, kind: RecordKind::Ptr })
}

/// Returns the name in a message that answers the question. RFC 6762, 6.7, has the question repeated; some leave it out,
/// but no other question is expected.
fn name_in(answer: DnsAnswer, question: &DnsQuestion) -> Option<String> {
    if !matches!(&answer.questions[..], [] | [_])
        || answer.questions.iter().any(|repeated| repeated != question)
    {
        return None;
    }
    let named = answer.records.into_iter().find_map(|record| match record.data {
        RecordData::Ptr(name) if record.owner == question.name => Some(name),
        _ => None,
    });
    fit(&named?.joined()?)
}

/// Accepts a name from the network if it can be a host's, and is not in the form of an address, which would mislead.
fn fit(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.');
    let is_label = |label: &str| (1..=LABEL_MAX).contains(&label.len());
    let is_name = name.len() <= NAME_MAX && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err();
    is_name.then(|| one_line(name, NAME_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::dns_message::DnsRecord;

    #[test]
    fn only_the_name_of_the_address_that_was_asked_about_is_taken() {
        let asked = question(Ipv4Addr::new(10, 77, 0, 5)).unwrap();
        assert_eq!(asked.name.joined().as_deref(), Some("5.0.77.10.in-addr.arpa"));
        let other = question(Ipv4Addr::new(10, 77, 0, 6)).unwrap();
        let name = DnsName::of([&b"nas"[..], b"local"]).unwrap();
        let name_of = |questions: &[&DnsQuestion], owner: &DnsQuestion| {
            let record = DnsRecord { owner: owner.name.clone(), data: RecordData::Ptr(name.clone()) };
            let questions = questions.iter().copied().cloned().collect();
            name_in(DnsAnswer { questions, records: vec![record] }, &asked)
        };
        assert_eq!(name_of(&[&asked], &asked).as_deref(), Some("nas.local"));
        assert_eq!(name_of(&[], &asked).as_deref(), Some("nas.local"));
        for (questions, owner) in [(&[&asked][..], &other), (&[&other], &asked), (&[&asked, &asked], &asked)]
        {
            assert_eq!(name_of(questions, owner), None);
        }
    }

    #[test]
    fn only_possible_host_names_are_accepted() {
        let label = "x".repeat(LABEL_MAX);
        for name in ["nas", "nas.local", "Büro-Drucker.local", &label, "<b>nas</b>"] {
            assert_eq!(fit(name).as_deref(), Some(name));
        }
        assert_eq!(fit("nas.local.").as_deref(), Some("nas.local"));
        assert_eq!(fit("n\u{202e}as\u{1b}[2J\n").as_deref(), Some("n\u{fffd}as\u{fffd}[2J\u{fffd}"));
        let long = [label.as_str(); 5].join(".");
        for name in ["", ".", "a..b", &format!("{label}x"), &long, "192.0.2.1", "2001:db8::1"] {
            assert_eq!(fit(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn asks_the_system() {
        let loopback = Address::from(Ipv4Addr::LOCALHOST);
        let reply = SystemResolver::default().name_of(&loopback).await;
        assert!(matches!(&reply, NameReply::Name(name) if name.contains("localhost")), "{reply:?}");
    }

    #[tokio::test]
    async fn a_closed_port_is_silence_at_once() {
        // The loopback, of which 127.0.0.9 is as good as any.
        let reply = timeout(Duration::from_millis(300), mdns_name(Ipv4Addr::new(127, 0, 0, 9))).await;
        assert_eq!(reply.unwrap().unwrap(), NameReply::Silence);
    }
}
