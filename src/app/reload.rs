//! Reloads the configuration on SIGHUP.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Config, Overrides};

/// Reads the configuration again. A faulty one changes nothing; changes that need a restart are logged.
pub(super) fn reload(flags: &Overrides, current: &watch::Sender<Arc<Config>>) {
    match Config::read(flags) {
        // A line for each fault.
        Err(error) => error.to_string().lines().for_each(|fault| {
            tracing::error!(%fault, "failed to reload the configuration; keeping the previous one");
        }),
        Ok(new) => {
            let old = Arc::clone(&current.borrow());
            for key in fixed_keys(&old, &new) {
                tracing::warn!(%key, "a changed setting takes effect after a restart");
            }
            tracing::info!("the configuration has been reloaded");
            current.send_replace(Arc::new(new));
        }
    }
}

/// The keys that differ although they are only read at start.
fn fixed_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = [
        ("listen", old.listen != new.listen),
        ("data_dir", old.data_dir != new.data_dir),
        ("base_url", old.base_url != new.base_url),
        ("log", old.log != new.log),
        ("fleet", old.fleet != new.fleet),
        ("worker", old.worker != new.worker),
        ("auth.token_file", old.auth_token_file != new.auth_token_file),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_faulty_file_changes_nothing_and_a_good_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("portscan.toml");
        let flags = Overrides { config: Some(path.clone()), ..Overrides::default() };
        fs::write(&path, "exclude = [\"10.0.0.1\"]\n").unwrap();
        let (current, seen) = watch::channel(Arc::new(Config::read(&flags).unwrap()));
        let before = Arc::clone(&seen.borrow());
        fs::write(&path, "exclude = [\"10.0.0.1\"\n").unwrap();
        reload(&flags, &current);
        assert!(Arc::ptr_eq(&before, &seen.borrow()));
        fs::write(&path, "exclude = [\"10.0.0.2\"]\nbase_url = \"ports\"\n").unwrap();
        reload(&flags, &current);
        assert_eq!(seen.borrow().exclude[0].to_string(), "10.0.0.2");
        assert_eq!(fixed_keys(&before, &seen.borrow()), ["base_url"]);
    }
}
