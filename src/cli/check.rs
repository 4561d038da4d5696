//! `portscan check-config`: is the configuration valid, and does it fit this machine?

use std::{io, path::Path};

use nix::unistd::{AccessFlags, access};

use super::{CliError, DONE, FAILED, Terminal, World, status::is_appliance};
use crate::{
    client::Client,
    config::{Config, Machine, Overrides, Severity, check},
    data_dir::{Obstacle, obstacle, strangers},
    http::{self, BindError, Token, TokenError},
    store,
};

/// Loads, compares with the machine, prints; returns 0 if it will work.
pub(super) async fn check_config(
    overrides: &Overrides,
    verbose: u8,
    world: &World,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let config = Config::read(overrides)?;
    let client = Client::new(world.resolver.clone());
    let findings = check(&config, &machine(&config, &client).await?);
    for finding in &findings {
        writeln!(terminal.out, "{finding}")?;
    }
    let works = findings.iter().all(|finding| finding.severity < Severity::Error);
    writeln!(
        terminal.out,
        "configuration is {}",
        if works { "valid" } else { "valid, but does not fit this machine" }
    )?;
    if verbose > 0 {
        write!(terminal.out, "\n{config}")?;
    }
    terminal.out.flush()?;
    Ok(if works { DONE } else { FAILED })
}

/// What the configuration is compared with.
async fn machine(config: &Config, client: &Client) -> io::Result<Machine> {
    let is_missing = !config.data_dir.exists();
    let mut machine = Machine {
        data_dir: is_missing
            .then(|| writable(&config.data_dir).err())
            .flatten()
            .map(|error| error.to_string()),
        obstacle: obstacle(&config.data_dir, &[store::FILE_NAME, http::TOKEN_FILE], true)
            // The first start makes it.
            .filter(|found| !matches!(found, Obstacle::Missing(_)))
            .map(|found| found.to_string()),
        strangers: strangers(&config.data_dir),
        spool: config.spool.as_deref().and_then(|spool| writable(spool).err()).map(|error| error.to_string()),
        token: unusable_token(config).map(|error| error.to_string()),
        ..Machine::default()
    };
    // As the server binds, and all at once, as it does: two addresses may be in each other's way.
    let bound: Vec<_> = http::bind_each(&config.listen).collect();
    for (address, bound) in &bound {
        match bound {
            Ok(Some(_)) => {}
            Ok(None) => machine.left_out.push(*address),
            // The appliance itself, running: `check-config && systemctl reload` is how it is changed.
            Err(BindError::InUse(_)) if is_appliance(client, *address).await => {}
            Err(error) => machine.unbound.push(error.to_string()),
        }
    }
    let interfaces = nix::net::if_::if_nameindex()?;
    machine.interfaces =
        interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect();
    Ok(machine)
}

/// Why the token that the owner gave cannot be used. Without one, the first start makes it.
fn unusable_token(config: &Config) -> Option<TokenError> {
    let given = config.auth_token_file.as_deref()?;
    Token::load(&config.data_dir, Some(given)).err()
}

/// Whether files could be made there; where it is missing: whether it could be made.
fn writable(folder: &Path) -> nix::Result<()> {
    match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(nix::errno::Errno::ENOENT) => match folder.parent() {
            Some(parent) if parent != Path::new("") => writable(parent),
            _ => access(".", AccessFlags::W_OK),
        },
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, sync::Arc};

    use super::*;
    use crate::net::SystemResolver;

    #[tokio::test]
    async fn a_taken_port_and_a_bad_token_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "short").unwrap();
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let mut config = Config {
            listen: vec![taken, "127.0.0.1:0".parse().unwrap(), "[::]:0".parse().unwrap()],
            data_dir: folder.path().to_owned(),
            auth_token_file: Some(token.clone()),
            ..Config::default()
        };
        let client = Client::new(Arc::new(SystemResolver::default()));
        let found = machine(&config, &client).await.unwrap();
        assert!(matches!(&found.unbound[..], [reason] if reason.contains(&taken.to_string())), "{found:?}");
        assert!(found.token.is_some_and(|reason| reason.contains("holds no token")));

        config.listen.remove(0);
        std::fs::write(&token, "long-enough-to-be-a-token").unwrap();
        let found = machine(&config, &client).await.unwrap();
        assert_eq!((found.unbound.len(), found.token, found.data_dir), (0, None, None));
    }

    #[test]
    fn a_missing_folder_is_judged_by_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        writable(&folder.path().join("not/there/yet")).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(writable(&file.join("below")).is_err());
    }
}
