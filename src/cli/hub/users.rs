//! The broker's users (`users.conf`): one for each certificate that may connect, in the order in which they were made.
//!
//! The file is the only record of which certificates count, so it cannot disagree with another. It is written whole each
//! time, with the permissions that this version of the program knows.

use std::fmt::Write as _;

use super::identity::{Holder, Identity};
use crate::fleet::{SiteName, subjects};

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

    /// The certificates of a site, oldest first.
    pub(super) fn of_site(&self, site: &SiteName) -> Vec<&Identity> {
        self.0.iter().filter(|identity| identity.site() == Some(site)).collect()
    }

    /// Removes a site's users, or all but its newest; returns the removed ones.
    pub(super) fn remove(&mut self, site: &SiteName, keeps_newest: bool) -> Vec<Identity> {
        let newest =
            self.0.iter().rposition(|identity| identity.site() == Some(site)).filter(|_| keeps_newest);
        let all = std::mem::take(&mut self.0);
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (index, identity) in all.into_iter().enumerate() {
            let is_removed = identity.site() == Some(site) && Some(index) != newest;
            if is_removed { removed.push(identity) } else { kept.push(identity) }
        }
        self.0 = kept;
        removed
    }

    /// The sites that have a certificate, each once.
    pub(super) fn sites(&self) -> Vec<SiteName> {
        let mut sites: Vec<SiteName> =
            self.0.iter().filter_map(|identity| identity.site().cloned()).collect();
        sites.sort();
        sites.dedup();
        sites
    }
}

/// What a holder may do; all else is refused. A site may answer a request of the hub's once, within the time that the hub
/// waits for it at most.
fn permissions(holder: &Holder) -> String {
    match holder {
        Holder::Hub => format!(
            "publish: {{ allow: [\"{}\", \"{}\"] }}, subscribe: {{ allow: [\"{}\", \"{}.>\"] }}",
            subjects::TO_SITES,
            subjects::INBOXES_OF_SITES,
            subjects::FROM_SITES,
            subjects::INBOX_OF_HUB,
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
        insta::assert_snapshot!(Users(vec![identity(1, ""), identity(2, "house-3")]).text(), @r#"
        # Which certificates may connect, and to which subjects. `portscan hub enrol` and `portscan hub revoke` write this file
        # whole; what else is added here stops them. After each change the broker reads it again (SIGHUP).
        users = [
          { user: "4000000000000001.hub.portscan", permissions: { publish: { allow: ["ps.down.*", "_INBOX.site.*.>"] }, subscribe: { allow: ["ps.up.*", "_INBOX.hub.>"] } } }
          { user: "4000000000000002.house-3.site.portscan", permissions: { publish: { allow: ["ps.up.house-3"] }, subscribe: { allow: ["ps.down.house-3", "_INBOX.site.house-3.>"] }, allow_responses: { max: 1, expires: "2m" } } }
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
        let site: SiteName = "a".parse().unwrap();
        assert_eq!(older.remove(&site, true), [identity(2, "a"), identity(4, "a")]);
        assert_eq!(older.of_site(&site), [&identity(5, "a")]);
        assert_eq!(older.remove(&site, true), []);
        assert_eq!(all.remove(&site, false).len(), 3);
        assert_eq!((all.of_site(&site).len(), all.0.len(), all.sites().len()), (0, 2, 1));
    }
}
