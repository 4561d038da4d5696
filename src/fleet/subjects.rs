//! The subjects on which messages are published (NATS, "Subject-Based Messaging"). A site's credentials allow its own
//! alone.

use super::SiteName;

/// All that sites send to the hub.
pub const FROM_SITES: &str = "ps.up.*";

/// What a site sends to the hub: a [`SiteMessage`](super::SiteMessage), answered by a [`HubAnswer`](super::HubAnswer).
pub fn to_hub(site: &SiteName) -> String {
    format!("ps.up.{site}")
}

/// All that the hub sends to sites.
pub const TO_SITES: &str = "ps.down.*";

/// What the hub sends to a site: a [`ForwardedRequest`](super::ForwardedRequest), answered by a
/// [`ForwardedAnswer`](super::ForwardedAnswer).
pub fn to_site(site: &SiteName) -> String {
    format!("ps.down.{site}")
}

/// The prefix of the subjects on which a site gets answers.
pub fn inbox_of_site(site: &SiteName) -> String {
    format!("_INBOX.site.{site}")
}

/// All subjects on which sites get answers.
pub const INBOXES_OF_SITES: &str = "_INBOX.site.*.>";

/// Whether the hub may answer a message of a site's on this subject. The broker checks on which subject a site publishes,
/// but not where it wants the answer: a site could name another one's, and have the hub send what that one takes for the
/// hub's own message.
pub fn is_inbox_of_site(subject: &str, site: &SiteName) -> bool {
    let token = subject.strip_prefix(&inbox_of_site(site)).and_then(|rest| rest.strip_prefix('.'));
    token.is_some_and(|token| token.split('.').all(|part| !part.is_empty() && !matches!(part, "*" | ">")))
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

    #[test]
    fn a_site_is_answered_in_its_own_inbox_alone() {
        let site: SiteName = "house-3".parse().unwrap();
        for subject in ["_INBOX.site.house-3.a", "_INBOX.site.house-3.a.7"] {
            assert!(is_inbox_of_site(subject, &site), "{subject}");
        }
        for subject in [
            "_INBOX.site.house-3",
            "_INBOX.site.house-3.",
            "_INBOX.site.house-3..a",
            "_INBOX.site.house-3.>",
            "_INBOX.site.house-33.a",
            "_INBOX.site.house-4.a",
            "_INBOX.hub.a",
            "ps.down.house-3",
            "",
        ] {
            assert!(!is_inbox_of_site(subject, &site), "{subject}");
        }
    }
}
