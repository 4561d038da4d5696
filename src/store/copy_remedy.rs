//! What to do about a hub's copy of a site's database that cannot be used.

use std::path::Path;

/// The remedy for a hub's copy of a site's database that cannot be used. No backup is to be restored: the site has all.
pub fn copy_remedy(directory: &Path) -> String {
    format!(
        "Nothing is lost at the site: stop the hub, remove {}, and start the hub; the site sends all of its data again",
        directory.display()
    )
}
