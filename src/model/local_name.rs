//! Which names are a local network's own.

/// Domains that do not exist in the public DNS: RFC 6762, RFC 8375, ICANN's .internal, and those of home routers.
const ENDINGS: [&str; 5] = [".local", ".lan", ".home.arpa", ".internal", ".fritz.box"];

/// Whether a name, in any case, is a single label or in a domain that does not exist in the public DNS.
pub fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    !name.contains('.') || ENDINGS.iter().any(|ending| name.ends_with(ending))
}
