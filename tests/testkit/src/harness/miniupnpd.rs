//! Debian's miniupnpd: the UPnP side of many routers.

use std::{fs, net::TcpStream, process::Stdio, time::Duration};

use tempfile::TempDir;

use super::{Reaped, eventually, missing, tool};
use crate::lab::{Node, PORT};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// Where it describes itself.
const HTTP: u16 = 5555;

/// A miniupnpd on a machine.
pub struct Miniupnpd {
    _child: Reaped,
    _home: TempDir,
}

impl Miniupnpd {
    /// Starts it as this model, and waits until it describes itself. Its internet side is an interface that leads
    /// nowhere.
    pub fn start(machine: &Node, model: &str) -> Self {
        machine.ip(&["link", "add", "internet", "type", "veth", "peer", "name", "nowhere"]);
        machine.ip(&["addr", "add", "10.98.0.3/24", "dev", "internet"]);
        for end in ["internet", "nowhere"] {
            machine.ip(&["link", "set", end, "up"]);
        }
        let home = TempDir::new().expect("a temporary directory");
        let config = home.path().join("miniupnpd.conf");
        let text = format!(
            "ext_ifname=internet\nlistening_ip={PORT}\nport={HTTP}\nenable_natpmp=no\nenable_upnp=yes\n\
             uuid=00000000-0000-0000-0000-000000000001\nfriendly_name=Lab router\nmodel_name={model}\n"
        );
        fs::write(&config, text).expect("writing its configuration");
        let child = machine.within(|| {
            let mut command = tool("miniupnpd");
            command.args(["-d", "-f"]).arg(&config).arg("-P").arg(home.path().join("pid"));
            command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null()).spawn()
        });
        let router = Self { _child: Reaped(child.unwrap_or_else(|e| missing("miniupnpd", &e))), _home: home };
        let address = machine.address();
        eventually(READY, "miniupnpd serves", || {
            machine.within(|| TcpStream::connect((address, HTTP)).ok().map(drop))
        });
        router
    }
}
