//! The part of a site's configuration that a hub gets: what its answers about the network depend on.

use std::path::Path;

use super::{Config, file};
use crate::model::replace_unseen;

impl Config {
    /// Returns this configuration without what is the appliance's own business: where it listens and keeps its data, whom
    /// it trusts, and its alert channels, which a hub must not use a second time.
    #[must_use]
    pub fn for_hub(&self) -> Self {
        let Self { listen, data_dir, log, spool, mdns, http_names, http_probe, .. } = Self::default();
        let Self { auth_trust, auth_token_file, channels, alerts, .. } = Self::default();
        Self {
            listen,
            data_dir,
            log,
            spool,
            mdns,
            http_names,
            http_probe,
            auth_trust,
            auth_token_file,
            channels,
            alerts,
            ..self.clone()
        }
    }

    /// Returns this site's configuration with the hub's rules for alerts: where they go, which, and by which address the page
    /// is reached.
    #[must_use]
    pub fn with_alerts_of(&self, hub: &Self) -> Self {
        let Self { listen, mdns, http_names, channels, alerts, .. } = hub.clone();
        Self { listen, mdns, http_names, channels, alerts, ..self.clone() }
    }

    /// Reads what a site has sent, from [`Config::for_hub`]. Settings that this version does not know are left out, so
    /// that a site of a later version is shown all the same.
    pub fn from_site(text: &str) -> Self {
        let mut config = Self::default();
        let faults = file::apply(Path::new("the site's configuration"), text, &mut config);
        for fault in faults {
            tracing::debug!(%fault, "a setting of a site is left out");
        }
        // The file may say by escapes what its text does not show.
        for name in config.devices.iter_mut().filter_map(|rule| rule.name.as_mut()) {
            replace_unseen(name, &[]);
        }
        config.for_hub()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_gets_what_its_answers_depend_on_and_no_channel() {
        let text = "data_dir = \"/elsewhere\"\n[[ignore]]\ndevice = \"*\"\nports = \"5353\"\n\
                    [[device]]\nmatch = \"10.0.0.1\"\nname = \"nas\"\n\
                    [[channel]]\nname = \"phone\"\ntype = \"ntfy\"\nurl = \"https://ntfy.example/secret\"\n";
        let mut config = Config::default();
        assert_eq!(file::apply(Path::new("test"), text, &mut config), []);
        let sent = config.for_hub().to_string();
        assert!(!sent.contains("secret") && !sent.contains("elsewhere"), "{sent}");
        let read = Config::from_site(&sent);
        assert_eq!(read, config.for_hub());
        assert_eq!((read.ignore.len(), read.devices.len()), (1, 1));
        let hostile = sent.replace("\"nas\"", "\"nas\\u202egpj\u{202e}\"");
        assert_ne!(hostile, sent);
        assert_eq!(Config::from_site(&hostile).devices[0].name.as_deref(), Some("nas\u{fffd}gpj\u{fffd}"));
    }

    #[test]
    fn a_text_that_is_no_configuration_is_as_if_it_were_empty() {
        assert_eq!(Config::from_site("[[["), Config::default().for_hub());
    }
}
