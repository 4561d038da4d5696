//! Databases: the first packet of MySQL and its kin, a message of PostgreSQL, a reply of Redis.

use super::{
    claims::Claims,
    text::{decode, find_ignoring_case},
    version,
};
use crate::model::strip_prefix_ignoring_case;

/// Where a MySQL packet's payload begins: after three bytes of its length and its number.
const MYSQL_HEADER: usize = 4;

/// The version of the protocol that a handshake begins with; MySQL has known no other since 3.21.
const MYSQL_PROTOCOL: u8 = 10;

/// The prefix of MariaDB's version from 10 on, which makes old replication clients treat it as a 5.5.
const REPLICATION_PREFIX: &str = "5.5.5-";

/// Products that speak MySQL's protocol and name themselves in their version; vendor, then product. Not MySQL's own
/// editions ("community", "enterprise"). The first one found counts.
const MYSQL_KIN: [(&str, &str, &str); 8] = [
    ("proxysql", "ProxySQL", "ProxySQL"),
    ("tidb", "PingCAP", "TiDB"),
    ("vitess", "Vitess", "Vitess"),
    ("aurora", "Amazon", "Aurora"),
    ("singlestore", "SingleStore", "SingleStore"),
    ("drizzle", "Drizzle", "Drizzle"),
    ("mariadb", "MariaDB", "MariaDB"),
    ("percona", "Percona", "Percona Server"),
];

/// Parses the packet, or the version in it: `5.5.5-10.11.6-MariaDB-0+deb12u1`.
pub(super) fn parse_mysql(greeting: &[u8]) -> Claims {
    let text = match greeting.get(MYSQL_HEADER) {
        Some(&MYSQL_PROTOCOL) => {
            let version = &greeting[MYSQL_HEADER + 1..];
            decode(version.split(|byte| *byte == 0).next().unwrap_or_default())
        }
        // An error packet, such as one that refuses the host: its sentence names the product.
        Some(0xff) => return mysql_error(&decode(greeting)),
        _ => decode(greeting),
    };
    mysql_version(text.trim())
}

fn mysql_error(text: &str) -> Claims {
    if find_ignoring_case(text, "MariaDB server").is_some() {
        Claims::software("MariaDB", "MariaDB", "")
    } else if find_ignoring_case(text, "MySQL server").is_some() {
        Claims::software("Oracle", "MySQL", "")
    } else {
        Claims::default()
    }
}

fn mysql_version(text: &str) -> Claims {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Claims::default();
    }
    let text = text.strip_prefix(REPLICATION_PREFIX).unwrap_or(text);
    let software = |vendor: &str, product: &str, text: &str| {
        Claims::software(vendor, product, text.split(['-', ' ', '_', '+']).next().unwrap_or_default())
    };
    if let Some((_, behind)) = text.split_once(' ').filter(|(_, behind)| behind.ends_with("-maxscale")) {
        return software("MariaDB", "MaxScale", behind);
    }
    let named = MYSQL_KIN.iter().find(|(word, ..)| find_ignoring_case(text, word).is_some());
    match named {
        Some((_, vendor, product)) => software(vendor, product, text),
        None if is_percona(text) => software("Percona", "Percona Server", text),
        None if find_ignoring_case(text, "maxscale").is_some() => software("MariaDB", "MariaDB", text),
        None => software("Oracle", "MySQL", text),
    }
}

/// Whether a Percona release follows the version: `8.0.35-27`, `5.6.51-91.0`. A distribution's revision is a number,
/// too, but goes on with the distribution's name (`-0ubuntu0.12`, `-1+deb9u1`) or is a single digit. Older releases
/// say `rel` or `rc` before it.
fn is_percona(text: &str) -> bool {
    let marked = text.find("rel").or_else(|| text.find("-rc")).map(|at| &text[at..]);
    let Some(release) = marked.or_else(|| text.split_once('-').map(|(_, release)| release)) else {
        return false;
    };
    let release = release.trim_start_matches(|c: char| !c.is_ascii_digit());
    let (release, after) = release.split_once('-').unwrap_or((release, ""));
    let mut numbers = release.split('.').map(str::parse::<u16>);
    let is_release = matches!(numbers.next(), Some(Ok(10..))) && numbers.all(|number| number.is_ok());
    let is_followed = after.is_empty() || after == "log" || after.starts_with(|c: char| c.is_ascii_digit());
    is_release && (marked.is_some_and(|_| release.contains('.')) || is_followed)
}

/// Parses a message: its type, its length in four bytes, its content (PostgreSQL 55.7). The form of an error or a
/// status shows that it is PostgreSQL; a status contains the version.
pub(super) fn parse_postgresql(greeting: &[u8]) -> Claims {
    let postgresql = |version: &str| Claims::software("PostgreSQL", "PostgreSQL", version);
    let Some((&kind, length)) = greeting.split_first() else { return Claims::default() };
    let Some(length) = length.first_chunk::<4>() else { return Claims::default() };
    let length = u32::from_be_bytes(*length);
    let content = decode(greeting.get(5..).unwrap_or_default());
    match kind {
        // Severity first, as every server since 7.4 sends it.
        b'E' if content.starts_with('S') && (8..=30_000).contains(&length) => postgresql(""),
        b'R' if (8..=2000).contains(&length) => {
            let version = find_ignoring_case(&content, "server_version ")
                .map(|at| &content[at + "server_version ".len()..]);
            postgresql(version.and_then(version::first).unwrap_or_default())
        }
        b'S' => match strip_prefix_ignoring_case(&content, "server_version ").and_then(version::first) {
            Some(version) => postgresql(version),
            None => Claims::default(),
        },
        _ => Claims::default(),
    }
}

/// Parses a reply: a status, an error, or the text of INFO. Redis and similar servers all answer PONG, so only
/// replies in Redis's own words count.
pub(super) fn parse_redis(text: &str) -> Claims {
    let server =
        [("valkey_version:", "Valkey"), ("dragonfly_version:", "Dragonfly"), ("redis_version:", "Redis")];
    for (key, product) in server {
        if let Some(line) = text.lines().find_map(|line| strip_prefix_ignoring_case(line.trim(), key)) {
            let version = version::first(line.trim_start_matches("df-")).unwrap_or_default();
            return Claims::software(product, product, version);
        }
    }
    let refused = text.starts_with("-NOAUTH") || text.starts_with("-DENIED Redis");
    if refused { Claims::software("Redis", "Redis", "") } else { Claims::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake packet: length, number, protocol, version, and the start of what follows.
    fn handshake(version: &str) -> Vec<u8> {
        [b"\x4a\0\0\0\x0a".as_slice(), version.as_bytes(), b"\0\x0b\0\0\0abcdefgh\0\xff\xf7"].concat()
    }

    #[test]
    fn reads_handshakes_and_bare_versions() {
        for (version, product, number) in [
            ("8.0.36-0ubuntu0.22.04.1", "MySQL", "8.0.36"),
            ("5.7.44-log", "MySQL", "5.7.44"),
            ("5.5.5-10.11.6-MariaDB-0+deb12u1", "MariaDB", "10.11.6"),
            ("11.4.2-MariaDB", "MariaDB", "11.4.2"),
            ("8.0.35-27", "Percona Server", "8.0.35"),
            ("8.0.36-2ubuntu3", "MySQL", "8.0.36"),
            ("5.7.25-TiDB-v7.5.0", "TiDB", "5.7.25"),
            ("8.0.30-Vitess", "Vitess", "8.0.30"),
        ] {
            for greeting in [handshake(version), version.as_bytes().to_vec()] {
                let found = parse_mysql(&greeting);
                assert_eq!(
                    (found.product.as_deref(), found.version.as_deref()),
                    (Some(product), Some(number)),
                    "{version}"
                );
            }
        }
    }

    #[test]
    fn reads_the_error_that_refuses_a_host() {
        let refusal =
            b"\x45\0\0\0\xff\x6a\x04Host '192.0.2.7' is not allowed to connect to this MariaDB server";
        assert_eq!(parse_mysql(refusal).product.as_deref(), Some("MariaDB"));
    }

    #[test]
    fn names_no_mysql_without_its_version() {
        for greeting in
            [b"".as_slice(), b"\x0a", b"\0\0\0\0\x0a", b"\0\0\0\0\x0aabc", b"hello", b"\xff\xff\xff\xff\xff"]
        {
            assert!(parse_mysql(greeting).is_empty(), "{greeting:?}");
        }
    }

    #[test]
    fn knows_postgresql_by_its_messages() {
        let error = b"E\0\0\0\x1aSFATAL\0C28000\0Mno\0\0";
        assert_eq!(parse_postgresql(error).product.as_deref(), Some("PostgreSQL"));
        let status = b"S\0\0\0\x1aserver_version\x0016.2\0";
        assert_eq!(parse_postgresql(status).version.as_deref(), Some("16.2"));
        for greeting in [b"".as_slice(), b"S", b"N", b"E\0\0", b"ERROR: no such file", b"R\xff\xff\xff\xff"] {
            assert!(parse_postgresql(greeting).is_empty(), "{greeting:?}");
        }
    }

    #[test]
    fn knows_redis_and_its_kin_by_their_words() {
        let info = "$90\n# Server\nredis_version:7.0.15\nredis_mode:standalone\n";
        let found = parse_redis(info);
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("Redis"), Some("7.0.15")));
        let found = parse_redis("redis_version:7.2.4\nvalkey_version:8.0.1\n");
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("Valkey"), Some("8.0.1")));
        assert_eq!(parse_redis("-NOAUTH Authentication required.").product.as_deref(), Some("Redis"));
        assert!(parse_redis("+PONG").is_empty() && parse_redis("").is_empty());
    }
}
