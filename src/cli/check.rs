//! `portscan check-config`: is the configuration valid, and does it fit this machine?

use std::{io, net::SocketAddr, path::Path};

use nix::unistd::{AccessFlags, access};
use socket2::{Domain, Socket, Type};

use super::{CliError, DONE, FAILED, Terminal, World, status::is_appliance};
use crate::{
    client::Client,
    config::{Config, Machine, Overrides, Severity, check},
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
    let mut unbound = Vec::new();
    for &address in &config.listen {
        if let Err(error) = bind(address) {
            // The appliance itself, running: `check-config && systemctl reload` is how it is changed.
            let own = error.kind() == io::ErrorKind::AddrInUse && is_appliance(client, address).await;
            if !own {
                unbound.push((address, error.to_string()));
            }
        }
    }
    let interfaces = nix::net::if_::if_nameindex()?;
    let names = interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned());
    Ok(Machine {
        data_dir: writable(&config.data_dir).err().map(|error| error.to_string()),
        unbound,
        interfaces: names.collect(),
    })
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

/// As the server binds: IPv6 apart from IPv4.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_taken_port_is_noticed() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(bind(taken.local_addr().unwrap()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        bind("127.0.0.1:0".parse().unwrap()).unwrap();
        bind("[::1]:0".parse().unwrap()).unwrap();
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
