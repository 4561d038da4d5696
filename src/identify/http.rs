//! An HTTP response: its status line, its headers and the title of its page (RFC 9112).

use jiff::Timestamp;

use super::{
    challenge,
    claims::Claims,
    html_title, http_server,
    text::{decode, find_ignoring_case},
};
use crate::model::{IdentifyMethod, PortIdentification, one_line};

/// The headers that are looked at. Servers send fewer than thirty.
const HEADERS_MAX: usize = 64;

/// The longest title that is kept, in characters.
const TITLE_MAX: usize = 120;

/// The longest header and title that are looked at, in bytes. Longer ones name nothing.
const TEXT_MAX: usize = 1024;

/// The parts of a response that identify the server.
pub(super) struct Response {
    /// `HTTP/1.1 200 OK`.
    status: String,
    /// The value of `Server`.
    pub(super) server: Option<String>,
    /// The value of `User-Agent`, which SIP uses instead of `Server`.
    pub(super) user_agent: Option<String>,
    challenge: Option<String>,
    title: Option<String>,
}

/// Parses a response of HTTP, RTSP or SIP, which may be truncated.
pub(super) fn read(response: &[u8]) -> Response {
    let text = decode(response);
    let mut lines = text.split('\n');
    let status = lines.next().unwrap_or_default().trim().to_owned();
    let headers: Vec<(&str, &str)> = lines
        .take(HEADERS_MAX)
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let header = |wanted: &str| {
        let mut found = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.find_map(|(_, value)| Some((*value).to_owned()).filter(|value| is_telling(value)))
    };
    Response {
        server: header("server"),
        user_agent: header("user-agent"),
        challenge: header("www-authenticate"),
        title: title(&text).map(str::to_owned),
        status,
    }
}

/// Identifies a response, alike for the answer to `GET /` and for a server that speaks first.
pub(super) fn identify(
    response: &[u8],
    method: IdentifyMethod,
    time: Timestamp,
) -> Option<PortIdentification> {
    if !response.starts_with(b"HTTP/") {
        return None;
    }
    let Response { status, server, challenge, title, .. } = read(response);
    let title = title.map(|title| html_title::plain(&title));
    let parsed = |text: &Option<String>, parse: fn(&str) -> Claims| text.as_deref().map(parse);
    // The page names the application, the header only the server below it; an owner knows the application.
    let found = parsed(&title, html_title::parse)
        .unwrap_or_default()
        .or(parsed(&challenge, challenge::parse).unwrap_or_default())
        .or(parsed(&server, http_server::parse).unwrap_or_default());
    let quotes = [("Server: ", &server), ("WWW-Authenticate: ", &challenge), ("title: ", &title)];
    let quoted = quotes.iter().filter_map(|(name, text)| Some(format!("; {name}{}", text.as_deref()?)));
    let said = quoted.fold(status, |said, quote| said + &quote);
    let title = title.map(|title| one_line(title.trim(), TITLE_MAX)).filter(|title| !title.is_empty());
    Some(PortIdentification { title, ..found.at_port(Some("http"), method, &said, time) })
}

/// Returns the text of the first `title` that is complete.
fn title(text: &str) -> Option<&str> {
    let element = &text[find_ignoring_case(text, "<title")?..];
    let content = &element[element.find('>')? + 1..];
    let title = content[..find_ignoring_case(content, "</title")?].trim();
    is_telling(title).then_some(title)
}

fn is_telling(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified(response: &str) -> PortIdentification {
        identify(response.as_bytes(), IdentifyMethod::Http, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn the_page_names_the_application_and_the_header_what_serves_it() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nserver: nginx/1.22.1\r\n\r\n";
        let found = identified(&format!("{head}<html><TITLE lang=en>\n Grafana </title>"));
        assert_eq!((found.product.as_deref(), found.version), (Some("Grafana"), None));
        assert_eq!(found.title.as_deref(), Some("Grafana"));
        assert_eq!(found.evidence.text, "HTTP/1.1 200 OK; Server: nginx/1.22.1; title: Grafana");
        let found = identified(&format!("{head}<title>cut o"));
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("nginx"), Some("1.22.1")));
        assert_eq!(found.title, None);
    }

    #[test]
    fn the_challenge_names_the_device() {
        let found = identified("HTTP/1.0 401 No\nWWW-Authenticate: Basic realm=\"NETGEAR R6400\"\n\n");
        assert_eq!(found.device.model.as_deref(), Some("R6400"));
        assert_eq!(found.service.as_deref(), Some("http"));
    }

    #[test]
    fn other_protocols_are_none() {
        for response in [b"".as_slice(), b"RTSP/1.0 200 OK\r\n\r\n", b"\x15\x03\x01\0\x02\x02\x28"] {
            assert!(identify(response, IdentifyMethod::Http, Timestamp::UNIX_EPOCH).is_none());
        }
    }
}
