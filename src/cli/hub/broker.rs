//! The broker's configuration (`nats-server.conf`), and its reload.

use std::{fs, net::SocketAddr, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    HubError,
    directory::{AUTHORITY, BROKER, BROKER_CONFIG, BROKER_KEY, HubDir, PID, USERS},
};

/// The broker's program, as the kernel names its process.
const PROGRAM: &str = "nats-server";

/// What has become of the request to read the users again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// The broker, the process of this number, was asked.
    Asked(i32),
    /// It does not run: it reads the users when it starts.
    NotRunning,
    /// This user may not ask it.
    NotAllowed(i32),
}

/// Returns the configuration. Paths in it are absolute, because the broker takes others from where it was started.
///
/// # Errors
/// The directory's path has characters that mean something else in the file.
pub(super) fn config(dir: &HubDir, listen: SocketAddr) -> Result<String, HubError> {
    let path = dir
        .path()
        .to_str()
        .filter(|path| !path.contains(['"', '\\', '$']) && !path.contains(char::is_control));
    let path = path.ok_or_else(|| HubError::Path(dir.path().to_owned()))?;
    Ok(format!(
        "\
# The broker between a portscan hub and its sites: nats-server 2.9 or newer. Written by `portscan hub init`, and yours from
# then on. To start it: {PROGRAM} -c {path}/{BROKER_CONFIG}

listen: \"{listen}\"
server_name: \"portscan-hub\"
pid_file: \"{path}/{PID}\"

# A client needs a certificate of this fleet's authority, and that certificate's name says which user it is. There are
# no passwords, and no connection without TLS.
tls {{
  cert_file: \"{path}/{BROKER}\"
  key_file: \"{path}/{BROKER_KEY}\"
  ca_file: \"{path}/{AUTHORITY}\"
  verify_and_map: true
  # Seconds. The default of 2 is short for a Raspberry Pi behind a slow line.
  timeout: 10
}}

# Which certificates may connect, and what each may publish and receive.
authorization {{
  timeout: 20
  include \"{USERS}\"
}}

# No message has more than 1 MiB.
max_payload: 1048576
# A hundred sites and workers, twice where a connection was cut and the broker does not know yet, and room for the hub.
max_connections: 512
# Of one connection: a site has two, a worker one for each of its networks and some more.
max_subscriptions: 256
max_control_line: 4096
# Bytes that wait for one client. A site waits for the hub's answer before it sends more, so this is more than a hundred
# sites can have waiting for the hub; a client with more is cut off.
max_pending: 67108864
# A client that has not taken a message within this time is cut off; so is one that has not answered two pings.
write_deadline: \"30s\"
ping_interval: \"30s\"
ping_max: 2

# Nothing is served for monitoring, so there is no http_port: it would show all connections without a certificate.

# The queues of `portscan scan --fleet`, which hand its parts to the workers. Of sites and hub the broker stores nothing: a
# site keeps a change until the hub has committed it.
jetstream {{
  store_dir: \"{path}/jetstream\"
  max_file_store: 536870912
  # From 2.10 on, which is newer than Debian 12's, this has each message written to the disk before it is acknowledged; by
  # default that happens every two minutes, and a power cut loses what was acknowledged since. A scan puts the parts that
  # are lost into their queues again. Take the # away if you store messages of your own here.
  #sync_interval: always
}}
"
    ))
}

/// Where the broker listens, by its configuration; `None`: its owner has written that in another way than [`config`].
pub(super) fn listening(config: &str) -> Option<SocketAddr> {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("listen:"))?;
    line.trim().trim_matches('"').parse().ok()
}

/// Asks the broker to read its users again.
///
/// The file with its number may be left over, and the number be another process's by now, which SIGHUP would end. So the
/// process's name is checked. What remains is the moment between the two calls.
pub(super) fn reload(dir: &HubDir) -> Reload {
    let Some(pid) = running(&dir.file(PID)) else { return Reload::NotRunning };
    match kill(Pid::from_raw(pid), Signal::SIGHUP) {
        Ok(()) => Reload::Asked(pid),
        Err(nix::errno::Errno::EPERM) => Reload::NotAllowed(pid),
        Err(_) => Reload::NotRunning,
    }
}

/// The broker's process, if it runs.
fn running(pid_file: &Path) -> Option<i32> {
    let pid = fs::read_to_string(pid_file).ok()?.trim().parse().ok().filter(|pid: &i32| *pid > 1)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim_end() == PROGRAM).then_some(pid)
}

impl Reload {
    /// What is left to do, as a line for the user.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Asked(pid) => format!(
                "the broker (process {pid}) was asked to read its users again; its log says \"Reloaded: authorization users\""
            ),
            Self::NotRunning => {
                "the broker does not run on this machine; if it runs elsewhere, have it read its users again there: \
                 nats-server --signal reload"
                    .to_owned()
            }
            Self::NotAllowed(pid) => {
                format!("this user may not have the broker read its users again; until then nothing has changed: sudo kill -HUP {pid}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_absolute_paths_that_mean_themselves() {
        let config = |path: &str| config(&HubDir::new(path.into()), "[::]:4222".parse().unwrap());
        let text = config("/srv/a hub").unwrap();
        assert!(text.contains("cert_file: \"/srv/a hub/broker.crt\"\n"), "{text}");
        assert!(text.contains("\nlisten: \"[::]:4222\"\n"), "{text}");
        assert_eq!(listening(&text), "[::]:4222".parse().ok());
        for text in ["", "listen: 4222", "# listen: \"[::]:4222\"", "listen: \"hub:4222\""] {
            assert_eq!(listening(text), None, "{text}");
        }
        for path in ["/srv/\"", "/srv/a\\b", "/srv/$HOME", "/srv/a\nb"] {
            assert!(config(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn another_process_is_not_taken_for_the_broker() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(PID);
        assert_eq!(running(&file), None);
        // This test's own process would end, if it were asked.
        for text in [&std::process::id().to_string(), "-1", "0", "1", "", "x", "99999999999"] {
            fs::write(&file, text).unwrap();
            assert_eq!(reload(&HubDir::new(dir.path().to_owned())), Reload::NotRunning, "{text}");
        }
    }
}
