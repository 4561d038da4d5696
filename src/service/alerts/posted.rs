//! Who has a mail already.

use std::collections::{BTreeMap, BTreeSet};

/// Of each channel, which recipients have the mail that others have yet to get: a full mailbox is no reason to send it to
/// the others every hour. It is kept in memory alone: after a restart they get it once more, under the same id.
#[derive(Debug, Default)]
pub(super) struct Posted(BTreeMap<String, (String, BTreeSet<String>)>);

impl Posted {
    /// Returns whether a recipient has the mail with this key.
    pub(super) fn has(&self, channel: &str, key: &str, recipient: &str) -> bool {
        self.0.get(channel).is_some_and(|(known, has)| known == key && has.contains(recipient))
    }

    /// Notes that recipients have the mail with this key. What was noted of an earlier mail is forgotten.
    pub(super) fn note(&mut self, channel: &str, key: &str, recipients: impl Iterator<Item = String>) {
        let (known, has) = self.0.entry(channel.to_owned()).or_default();
        if known != key {
            key.clone_into(known);
            has.clear();
        }
        has.extend(recipients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_mail_is_forgotten_with_the_next() {
        let mut posted = Posted::default();
        posted.note("office", "a-1", ["a@b.org".to_owned()].into_iter());
        posted.note("office", "a-1", ["c@d.org".to_owned()].into_iter());
        assert!(posted.has("office", "a-1", "a@b.org") && posted.has("office", "a-1", "c@d.org"));
        assert!(!posted.has("office", "a-2", "a@b.org") && !posted.has("home", "a-1", "a@b.org"));
        posted.note("office", "a-2", std::iter::empty());
        assert!(!posted.has("office", "a-1", "a@b.org"));
    }
}
