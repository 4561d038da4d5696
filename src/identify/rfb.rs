//! VNC: `RFB xxx.yyy`, the version of the protocol (RFC 6143 7.1.1). It names a product only where one vendor alone
//! sends the version.

use super::claims::Claims;

pub(super) fn parse(text: &str) -> Claims {
    match text.trim().strip_prefix("RFB ") {
        // Apple's own number for its screen sharing.
        Some("003.889") => Claims::software("Apple", "Screen Sharing", ""),
        Some("004.000" | "004.001" | "005.000" | "006.000") => {
            Claims::software("RealVNC", "RealVNC Server", "")
        }
        _ => Claims::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_vendor_only_where_the_version_is_its_own() {
        assert_eq!(parse("RFB 003.889\n").vendor.as_deref(), Some("Apple"));
        assert_eq!(parse("RFB 005.000\n").vendor.as_deref(), Some("RealVNC"));
        assert!(parse("RFB 003.008\n").is_empty() && parse("RFB").is_empty() && parse("").is_empty());
    }
}
