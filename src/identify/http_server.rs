//! HTTP's `Server`: products `name/version` and comments in brackets, the most significant first (RFC 9110 10.2.4).
//! Real ones also have names of several words, and commas between them.

use super::{
    claims::Claims,
    table::{MODELS, Preference, Table},
    text::{find_ignoring_case, is_common},
    version,
};

const TABLE: Table = Table::new(include_str!("tables/http_server.txt"));

/// Platforms that a server runs on or is built with. The header names them beside the server, and often before it.
const PLATFORMS: [&str; 36] = [
    "almalinux",
    "android",
    "darwin",
    "dav",
    "debian",
    "dlnadoc",
    "ecos",
    "fedora",
    "freebsd",
    "ipos",
    "isos",
    "java",
    "linux",
    "lua",
    "mac_os_x",
    "macos",
    "mod_",
    "nucleus",
    "openssl",
    "openwrt",
    "perl",
    "php",
    "posix",
    "python",
    "red hat",
    "ruby",
    "servlet",
    "sunos",
    "threadx",
    "tizen",
    "ubuntu",
    "unix",
    "unknown",
    "upnp",
    "vxworks",
    "win",
];

pub(super) fn parse(text: &str) -> Claims {
    let line = text.lines().next().unwrap_or_default().trim();
    let found = TABLE.find(line, Preference::First).or(MODELS.find(line, Preference::Longest));
    if found.product.is_some() { found } else { found.or(unlisted(line)) }
}

/// Finds a product that no table lists: the first one with a version that is not a platform. Its name is all the
/// words before the version. A name without a version counts only if it says that it is a server: half of such names
/// are those of devices, or sentences.
fn unlisted(line: &str) -> Claims {
    let end = line.find(['(', '[', ',', ';']).unwrap_or(line.len());
    let mut rest = &line[..end];
    while let Some((name, behind)) = rest.split_once('/') {
        let (version, after) = behind.split_once(' ').unwrap_or((behind, ""));
        let name = name.trim();
        let is_name = name.len() >= 4 && name.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_name && !is_common(name) && !is_platform(name) {
            let versioned = version.contains('.') && version::is_version(version);
            return if versioned { Claims::software("", name, version) } else { Claims::default() };
        }
        rest = after;
    }
    if let Some(found) = bare(line) {
        return found;
    }
    let says_http = find_ignoring_case(line, "http").is_some() && !is_common(line);
    let is_name = line.len() <= 24 && line.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '_'));
    if says_http && is_name { Claims::software("", line, "") } else { Claims::default() }
}

/// A header that is one name and its version: `kHTTPd 0.1.6`; or PHP alone, which is a platform beside anything else.
fn bare(line: &str) -> Option<Claims> {
    if let Some(version) = line.strip_prefix("PHP/").filter(|version| !version.contains(' ')) {
        return Some(Claims::software("PHP", "PHP", version));
    }
    let (name, version) = line.split_once(' ')?;
    let is_version = version.contains('.')
        && version::first(version).is_some_and(|number| number == version.trim_start_matches(['v', 'V']));
    let is_name = name.len() >= 4
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        && !is_common(name)
        && !is_platform(name);
    (is_name && is_version).then(|| Claims::software("", name, version.trim_start_matches(['v', 'V'])))
}

fn is_platform(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PLATFORMS.iter().any(|platform| name.starts_with(platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn software_of(text: &str) -> (Option<String>, Option<String>) {
        let found = parse(text);
        (found.product, found.version)
    }

    fn some(product: &str, version: &str) -> (Option<String>, Option<String>) {
        (Some(product.to_owned()), Some(version.to_owned()))
    }

    #[test]
    fn names_the_server_among_what_it_runs_on() {
        for (text, product, version) in [
            ("Apache/2.4.57 (Debian) OpenSSL/3.0.11", "Apache httpd", "2.4.57"),
            ("nginx/1.22.1", "nginx", "1.22.1"),
            ("Debian/12 UPnP/1.1 MiniUPnPd/2.3.1", "MiniUPnPd", "2.3.1"),
            ("Linux/6.1 DLNADOC/1.50 UPnP/1.0 ReadyDLNA/1.3.3", "ReadyMedia", "1.3.3"),
            ("SimpleHTTP/0.6 Python/3.11.2", "Python http.server", "0.6"),
        ] {
            assert_eq!(software_of(text), some(product, version), "{text}");
        }
    }

    #[test]
    fn names_an_unlisted_product_with_a_version_by_all_its_words() {
        assert_eq!(software_of("Gardenia/1.4.2"), some("Gardenia", "1.4.2"));
        assert_eq!(software_of("Garden Shed Server/2.0 (rose)"), some("Garden Shed Server", "2.0"));
        assert_eq!(software_of("Linux/6.1 UPnP/1.0 Gardenia/1.4.2"), some("Gardenia", "1.4.2"));
        assert_eq!(software_of("gardenHTTP v0.1.6"), some("gardenHTTP", "0.1.6"));
        assert_eq!(software_of("PHP/8.2.7"), some("PHP", "8.2.7"));
        assert_eq!(software_of("PHP/8.2.7 Gardenia/1.4.2"), some("Gardenia", "1.4.2"));
        assert_eq!(parse("gardenHttpd").product.as_deref(), Some("gardenHttpd"));
    }

    #[test]
    fn names_nothing_where_no_product_is_said() {
        for text in [
            "",
            " ",
            "Gardenia",
            "Linux/6.1 UPnP/1.0",
            "//",
            "a/b/c",
            "Our server, our rules",
            "Linux 6.1",
            "Server 1.0",
        ] {
            assert_eq!(parse(text).product, None, "{text}");
        }
    }

    #[test]
    fn names_devices_by_their_model_codes() {
        let found = parse("Linux, HTTP/1.1, DIR-825 Ver 1.0");
        assert_eq!(
            (found.device.maker.as_deref(), found.device.model.as_deref()),
            (Some("D-Link"), Some("DIR-825"))
        );
        assert_eq!(parse("DIR-list of things").device.model, None);
    }
}
