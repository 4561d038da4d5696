//! Builds a search and reads its answers (UPnP Device Architecture 2.0, 1.3.2 and 1.3.3).

use std::net::Ipv4Addr;

use hyper::Uri;

/// The seconds over which devices spread their answers, so that not all come at once.
pub(super) const MX: u8 = 2;

/// The longest URL that is followed, in octets.
const URL_MAX: usize = 512;

/// The port of a URL without one.
const HTTP: u16 = 80;

/// Builds the search for every device, each of which answers once and not for each of its services.
pub(super) fn search() -> Vec<u8> {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: {MX}\r\n\
         ST: upnp:rootdevice\r\nUSER-AGENT: Linux UPnP/2.0 portscan/{}\r\nCPFN.UPNP.ORG: portscan\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// Returns the URL of the sender's description, and the port in it, if this is an answer to a search. It must lead to
/// the sender itself: what answers here could otherwise have this machine call another device, or a cloud's metadata
/// service.
pub(super) fn location(answer: &[u8], sender: Ipv4Addr) -> Option<(String, u16)> {
    let text = String::from_utf8_lossy(answer);
    let mut lines = text.lines();
    let status = lines.next()?;
    if !(status.starts_with("HTTP/1.1 200") || status.starts_with("HTTP/1.0 200")) {
        return None;
    }
    let headers = lines.take_while(|line| !line.is_empty());
    let mut named = headers.filter_map(|line| line.split_once(':'));
    let (_, url) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("location"))?;
    let url = url.trim();
    Some((url.to_owned(), port_at(url, sender)?))
}

/// Returns the port of a URL of plain HTTP to that address, without a user; `None` for any other URL.
fn port_at(url: &str, address: Ipv4Addr) -> Option<u16> {
    let is_printable = url.len() <= URL_MAX && url.bytes().all(|octet| octet.is_ascii_graphic());
    let uri = url.parse::<Uri>().ok().filter(|uri| is_printable && uri.scheme_str() == Some("http"))?;
    let authority = uri.authority()?;
    let written = match authority.port() {
        Some(port) => format!("{address}:{}", port.as_str()),
        None => address.to_string(),
    };
    let port = authority.port_u16().unwrap_or(HTTP);
    (authority.as_str() == written && port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn answer(location: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nEXT:\r\nLocation: {location}\r\nST: upnp:rootdevice\r\n\r\n"
        )
        .into_bytes()
    }

    fn located(location_is: &str) -> Option<String> {
        location(&answer(location_is), SENDER).map(|(url, _)| url)
    }

    #[test]
    fn takes_the_location_of_the_sender_itself() {
        for url in [
            "http://10.0.0.5/rootDesc.xml",
            "http://10.0.0.5:8200/rootDesc.xml",
            "http://10.0.0.5:49152/a?b=c",
            "http://10.0.0.5",
        ] {
            assert_eq!(located(url).as_deref(), Some(url));
        }
        let ports = ["http://10.0.0.5/", "http://10.0.0.5:8200/a"].map(|url| port_at(url, SENDER));
        assert_eq!(ports, [Some(80), Some(8200)]);
    }

    #[test]
    fn other_locations_are_refused() {
        let long = format!("http://10.0.0.5/{}", "x".repeat(URL_MAX));
        for url in [
            "http://10.0.0.6/rootDesc.xml",
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1:80/",
            "http://nas.local/rootDesc.xml",
            "http://10.0.0.5@10.0.0.6/",
            "http://user:password@10.0.0.5/",
            "http://10.0.0.5.example/",
            "http://0x0a.0.0.5/",
            "http://010.0.0.5/",
            "http://10.5/",
            "http://[::ffff:10.0.0.5]/",
            "https://10.0.0.5/rootDesc.xml",
            "file:///etc/passwd",
            "ftp://10.0.0.5/",
            "/rootDesc.xml",
            "10.0.0.5",
            "http://10.0.0.5:99999/",
            "http://10.0.0.5:0/",
            "http://10.0.0.5/a b",
            "http://10.0.0.5/\u{1b}[2J",
            "",
            long.as_str(),
        ] {
            assert_eq!(located(url), None, "{url}");
        }
    }

    #[test]
    fn only_answers_to_searches_are_read() {
        let good = String::from_utf8(answer("http://10.0.0.5/")).unwrap();
        for (from, to) in [
            ("HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1"),
            ("HTTP/1.1 200 OK", "M-SEARCH * HTTP/1.1"),
            ("HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"),
            ("Location:", "X-Location:"),
            ("Location:", "\r\nLocation:"),
        ] {
            assert_eq!(location(good.replacen(from, to, 1).as_bytes(), SENDER), None, "{to}");
        }
        assert_eq!(location(b"", SENDER), None);
        assert_eq!(location(&[0xff; 2048], SENDER), None);
    }

    #[test]
    fn a_search_is_one_small_packet_that_names_the_sender() {
        let text = String::from_utf8(search()).unwrap();
        assert!(text.starts_with("M-SEARCH * HTTP/1.1\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("portscan/") && text.len() < 400, "{text}");
        assert_eq!(location(text.as_bytes(), SENDER), None, "its own search, come back");
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_leads_to_the_sender(url in "(http|https|ftp)://[0-9a.:@\\[\\]/?#%x]{0,24}") {
            let own = url.strip_prefix("http://10.0.0.5").is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(['/', ':', '?', '#'])
            });
            prop_assert!(located(&url).is_none() || own, "{}", url);
        }
    }
}
