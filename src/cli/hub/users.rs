//! The broker's users (`users.conf`): one for each certificate that may connect, in the order in which they were made.
//!
//! The file is the only record of which certificates count, so it cannot disagree with another. It is written whole each
//! time, with the permissions that this version of the program knows.

use std::{collections::BTreeSet, fmt::Write as _};

use super::identity::{Holder, Identity};
use crate::fleet::subjects;

/// What the file begins with.
const HEAD: &str = "\
# Which certificates may connect, and to which subjects. `portscan hub enrol` and `portscan hub revoke` write this file
# whole; what else is added here stops them. After each change the broker reads it again (SIGHUP).
users = [
";

/// What it ends with.
const TAIL: &str = "]\n";

/// The users, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Users(Vec<Identity>);

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// A line is not one that [`Users::text`] writes, with the line's number.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut users = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if matches!(line, "users = [" | "]") || line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.strip_prefix("  { user: \"").and_then(|rest| rest.split_once('"'));
            let identity = name.and_then(|(name, _)| Identity::parse(name)).ok_or_else(|| {
                format!("line {number} was not written by this program; take it out, and what belongs to it")
            })?;
            users.push(identity);
        }
        Ok(Self(users))
    }

    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for identity in &self.0 {
            // Writing to a text cannot fail.
            _ = writeln!(
                text,
                "  {{ user: \"{identity}\", permissions: {{ {} }} }}",
                permissions(&identity.holder)
            );
        }
        text + TAIL
    }

    /// Adds a user, as the newest.
    pub(super) fn add(&mut self, identity: Identity) {
        self.0.push(identity);
    }

    /// The certificates of a holder, oldest first.
    pub(super) fn of(&self, holder: &Holder) -> Vec<&Identity> {
        self.0.iter().filter(|identity| identity.holder == *holder).collect()
    }

    /// Removes a holder's users, or all but its newest; returns the removed ones.
    pub(super) fn remove(&mut self, holder: &Holder, keeps_newest: bool) -> Vec<Identity> {
        let newest = self.0.iter().rposition(|identity| identity.holder == *holder).filter(|_| keeps_newest);
        let all = std::mem::take(&mut self.0);
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (index, identity) in all.into_iter().enumerate() {
            let is_removed = identity.holder == *holder && Some(index) != newest;
            if is_removed { removed.push(identity) } else { kept.push(identity) }
        }
        self.0 = kept;
        removed
    }

    /// The names of the holders of this one's kind that have a certificate, each once.
    pub(super) fn like(&self, holder: &Holder) -> Vec<String> {
        let is_like = |other: &Holder| std::mem::discriminant(other) == std::mem::discriminant(holder);
        let like = self.0.iter().filter(|identity| is_like(&identity.holder));
        let names: BTreeSet<&str> = like.map(|identity| identity.holder.name()).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}

/// What a holder may do; all else is refused. A site may answer a request of the hub's once, within the time that the hub
/// waits for it at most. The hub's certificate is that of `portscan scan --fleet`, too. The subjects that begin with $JS
/// are JetStream's: a worker takes from any queue, and no other part of JetStream is open to it.
fn permissions(holder: &Holder) -> String {
    match holder {
        Holder::Hub => format!(
            "publish: {{ allow: {} }}, subscribe: {{ allow: {} }}",
            list(&[
                subjects::TO_SITES,
                subjects::INBOXES_OF_SITES,
                subjects::CALL,
                subjects::BUSY,
                subjects::ALL_SHARDS,
                subjects::INBOXES_OF_WORKERS,
                // Whatever another command of the hub's asks.
                &format!("{}.>", subjects::INBOX_OF_HUB),
                "$JS.API.>",
            ]),
            list(&[
                subjects::FROM_SITES,
                subjects::ANNOUNCEMENTS,
                subjects::REPORTS,
                subjects::BUSY,
                &format!("{}.>", subjects::INBOX_OF_HUB),
            ]),
        ),
        Holder::Worker(worker) => format!(
            "publish: {{ allow: {} }}, subscribe: {{ allow: {} }}",
            list(&[
                &subjects::announcement(worker),
                &subjects::reports_by(worker),
                &format!("$JS.API.CONSUMER.INFO.{}.*", subjects::QUEUES),
                &format!("$JS.API.CONSUMER.MSG.NEXT.{}.*", subjects::QUEUES),
                &format!("$JS.ACK.{}.>", subjects::QUEUES),
            ]),
            list(&[subjects::CALL, &format!("{}.>", subjects::inbox_of_worker(worker))]),
        ),
        Holder::Site(site) => format!(
            "publish: {{ allow: [\"{}\"] }}, subscribe: {{ allow: [\"{}\", \"{}.>\"] }}, \
             allow_responses: {{ max: 1, expires: \"2m\" }}",
            subjects::to_hub(site),
            subjects::to_site(site),
            subjects::inbox_of_site(site),
        ),
    }
}

/// A list of subjects in the broker's form.
fn list(subjects: &[&str]) -> String {
    format!("[\"{}\"]", subjects.join("\", \""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(serial: u8, holder: &str) -> Identity {
        let holder = if holder.is_empty() { Holder::Hub } else { Holder::Site(holder.parse().unwrap()) };
        Identity { serial: [0x40, 0, 0, 0, 0, 0, 0, serial], holder }
    }

    fn users() -> Users {
        Users(
            [(1, ""), (2, "a"), (3, "b"), (4, "a"), (5, "a")]
                .map(|(serial, holder)| identity(serial, holder))
                .into(),
        )
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let worker = Identity { holder: Holder::Worker("w-1".parse().unwrap()), ..identity(3, "") };
        insta::assert_snapshot!(Users(vec![identity(1, ""), identity(2, "house-3"), worker]).text(), @r#"
        # Which certificates may connect, and to which subjects. `portscan hub enrol` and `portscan hub revoke` write this file
        # whole; what else is added here stops them. After each change the broker reads it again (SIGHUP).
        users = [
          { user: "4000000000000001.hub.portscan", permissions: { publish: { allow: ["ps.down.*", "_INBOX.site.*.>", "ps.call", "ps.busy", "ps.work.>", "_INBOX.worker.*.>", "_INBOX.hub.>", "$JS.API.>"] }, subscribe: { allow: ["ps.up.*", "ps.worker.*", "ps.job.*.*", "ps.busy", "_INBOX.hub.>"] } } }
          { user: "4000000000000002.house-3.site.portscan", permissions: { publish: { allow: ["ps.up.house-3"] }, subscribe: { allow: ["ps.down.house-3", "_INBOX.site.house-3.>"] }, allow_responses: { max: 1, expires: "2m" } } }
          { user: "4000000000000003.w-1.worker.portscan", permissions: { publish: { allow: ["ps.worker.w-1", "ps.job.*.w-1", "$JS.API.CONSUMER.INFO.PS_WORK.*", "$JS.API.CONSUMER.MSG.NEXT.PS_WORK.*", "$JS.ACK.PS_WORK.>"] }, subscribe: { allow: ["ps.call", "_INBOX.worker.w-1.>"] } } }
        ]
        "#);
        assert_eq!(Users::parse(&users().text()), Ok(users()));
        assert_eq!(Users::parse(&users().text().replace("publish", "subscribe")), Ok(users()));
    }

    #[test]
    fn a_foreign_line_stops_it() {
        for line in
            ["  { user: \"me\", password: \"s3cret\" }", "  { user: \"4000.a.site.portscan\" }", "x = 1"]
        {
            let text = users().text().replace("users = [", &format!("users = [\n{line}"));
            assert!(Users::parse(&text).unwrap_err().starts_with("line 4 "), "{line}");
        }
    }

    #[test]
    fn removes_all_of_a_site_or_all_but_the_newest() {
        let (mut older, mut all) = (users(), users());
        let site = Holder::Site("a".parse().unwrap());
        assert_eq!(older.remove(&site, true), [identity(2, "a"), identity(4, "a")]);
        assert_eq!(older.of(&site), [&identity(5, "a")]);
        assert_eq!(older.remove(&site, true), []);
        assert_eq!(all.remove(&site, false).len(), 3);
        assert_eq!((all.of(&site).len(), all.0.len(), all.like(&site)), (0, 2, vec!["b".to_owned()]));
    }
}
