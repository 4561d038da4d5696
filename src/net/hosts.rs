//! Reads the machine's own list of names, hosts(5).

use std::path::Path;

use crate::model::{Address, ascii_name};

/// The file's path.
const HOSTS: &str = "/etc/hosts";

/// The addresses that the owner of this machine gave a name, in the file's order; none if there is no such file.
pub(super) async fn listed(name: &str) -> Vec<Address> {
    let text = tokio::fs::read_to_string(Path::new(HOSTS)).await.unwrap_or_default();
    find(&text, name)
}

/// A line consists of an address and its names; `#` begins a comment.
fn find(text: &str, name: &str) -> Vec<Address> {
    let looked_up =
        |name: &str| ascii_name(name.strip_suffix('.').unwrap_or(name)).map(|name| name.to_ascii_lowercase());
    let Some(name) = looked_up(name) else { return Vec::new() };
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse::<Address>().ok());
        let named = words.any(|word| looked_up(word).as_ref() == Some(&name));
        found.extend(address.filter(|address| named && !found.contains(address)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_name_among_others() {
        let text = "127.0.0.1 localhost\n\
                    192.168.1.7\tlanscan lanscan.local # the old one: nas.local\n\
                    #192.168.1.8 lanscan.local\n\
                    fd00::7 Lanscan.Local\n\
                    192.168.1.7 lanscan.local\n\
                    here lanscan.local\n";
        let found = |name| find(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("lanscan.local"), ["192.168.1.7", "fd00::7"]);
        assert_eq!(found("LANSCAN.local."), ["192.168.1.7", "fd00::7"]);
        assert_eq!(found("nas.local"), [""; 0]);
        let text = "192.168.1.9 münchen.local\n192.168.1.10 xn--mnchen-3ya.local\n";
        assert_eq!(find(text, "MÜNCHEN.local."), find(text, "xn--mnchen-3ya.local"));
        assert_eq!(find(text, "münchen.local").len(), 2);
    }
}
