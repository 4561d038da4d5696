//! Whether hub and site can exchange data although they are of two releases.
//!
//! One release apart they can, whichever of them is the newer one: so a fleet is upgraded in any order. What only the newer
//! one knows is not in the copy until both are of one release; then the site sends all of its data again.

use crate::{
    fleet::SiteGreeting,
    store::{CopyForm, Store},
};

/// The form in which the data of a site arrive that greets so.
///
/// # Errors
/// They are too far apart. The reason says where to upgrade.
pub(super) fn judge(greeting: &SiteGreeting, host: &str) -> Result<CopyForm, String> {
    let [own, own_since] =
        [Store::SCHEMA, Store::EXCHANGED_SINCE].map(|schema| u32::try_from(schema).unwrap_or(u32::MAX));
    let SiteGreeting { schema, understood_since, .. } = *greeting;
    if schema < own_since {
        return Err(format!(
            "portscan at {host} is more than one release older than at the hub (schema {schema} of its database, and the \
             hub takes {own_since} and newer); upgrade portscan at the site"
        ));
    }
    if own < understood_since.min(schema) {
        return Err(format!(
            "portscan at {host} is more than one release newer than at the hub (schema {schema} of its database, which \
             hubs with {understood_since} and newer take, and the hub has {own}); upgrade portscan at the hub"
        ));
    }
    CopyForm::of(greeting)
        .ok_or_else(|| format!("{host} announces more tables or columns than an appliance has; restart it"))
}

/// What a person should know of a site with this version of the program; `None`: it is the hub's.
pub(super) fn notice(version: Option<&str>) -> Option<String> {
    let (site, hub) = (version?, env!("CARGO_PKG_VERSION"));
    (site != hub).then(|| {
        format!(
            "the site has portscan {site}, and the hub {hub}: what only the newer one knows is not shown here; upgrade the \
             older one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(schema: usize, understood_since: usize) -> Result<bool, String> {
        let [schema, understood_since] = [schema, understood_since].map(|number| number.try_into().unwrap());
        let (epoch, pass, tables) = ([1; 16], None, Vec::new());
        let (version, host) = (String::new(), String::new());
        let greeting = SiteGreeting { epoch, schema, understood_since, tables, pass, version, host };
        judge(&greeting, "pi").map(|form| form.is_newer())
    }

    #[test]
    fn a_release_more_or_less_is_understood_and_two_are_refused_with_the_remedy() {
        let (own, since) = (Store::SCHEMA, Store::EXCHANGED_SINCE);
        assert_eq!(judged(own, since), Ok(false));
        assert_eq!(judged(since, since.saturating_sub(1)), Ok(false));
        assert_eq!(judged(own + 1, own), Ok(true));
        assert_eq!(judged(own + 9, own), Ok(true));
        let too_old = judged(since - 1, 1).unwrap_err();
        assert!(too_old.ends_with("upgrade portscan at the site"), "{too_old}");
        let too_new = judged(own + 2, own + 1).unwrap_err();
        assert!(too_new.ends_with("upgrade portscan at the hub"), "{too_new}");
        // Whatever a hostile site writes, its own schema is understood.
        assert_eq!(judged(own, own + 9), Ok(false));
    }
}
