//! The recipients that have a mail already.

use std::collections::{BTreeMap, BTreeSet};

/// For each channel, the recipients that have a mail which others still lack, so that a full mailbox does not repeat
/// the mail to the others every hour. Only in memory: after a restart they get the mail once more, under the same
/// Message-ID.
#[derive(Debug, Default)]
pub(super) struct Posted(BTreeMap<String, (String, BTreeSet<String>)>);

impl Posted {
    /// Returns whether a recipient has the mail with this key.
    pub(super) fn has(&self, channel: &str, key: &str, recipient: &str) -> bool {
        self.0.get(channel).is_some_and(|(known, has)| known == key && has.contains(recipient))
    }

    /// Records that recipients have the mail with this key, and forgets those of an earlier mail.
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
