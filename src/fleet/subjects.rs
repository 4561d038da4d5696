//! The subjects on which messages are published (NATS, "Subject-Based Messaging"). A site's credentials allow its own
//! alone.

use super::SiteName;

/// All that sites send to the hub.
pub const FROM_SITES: &str = "ps.up.*";

/// What a site sends to the hub: a [`SiteMessage`](super::SiteMessage), answered by a [`HubAnswer`](super::HubAnswer).
pub fn to_hub(site: &SiteName) -> String {
    format!("ps.up.{site}")
}

/// What the hub sends to a site: a [`ForwardedRequest`](super::ForwardedRequest), answered by a
/// [`ForwardedAnswer`](super::ForwardedAnswer).
pub fn to_site(site: &SiteName) -> String {
    format!("ps.down.{site}")
}

/// The prefix of the subjects on which a site gets answers.
pub fn inbox_of_site(site: &SiteName) -> String {
    format!("_INBOX.site.{site}")
}

/// The prefix of the subjects on which the hub gets answers.
pub const INBOX_OF_HUB: &str = "_INBOX.hub";

/// The site that has sent a message on this subject.
pub fn sender(subject: &str) -> Option<SiteName> {
    subject.strip_prefix("ps.up.")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_the_one_that_the_broker_lets_publish() {
        let site: SiteName = "house-3".parse().unwrap();
        assert_eq!(sender(&to_hub(&site)), Some(site));
        assert_eq!(sender("ps.up.house-3.more"), None);
        assert_eq!(sender("ps.down.house-3"), None);
    }
}
