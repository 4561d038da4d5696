//! Debian's nginx, as who already has a web server puts the appliance behind it.

use std::{fs, net::TcpStream, process::Stdio, time::Duration};

use tempfile::TempDir;

use super::{Reaped, eventually, missing, tool};
use crate::{lab::Lab, repository};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// In the lab's network, where any port is free.
const LISTEN: &str = "127.0.0.1:8888";

/// As docs/page.md advises.
fn location(appliance: &str) -> String {
    let advice = fs::read_to_string(repository("docs/page.md")).expect("the document is there");
    let from = advice.find("location /lan/ports/ {").expect("it advises something");
    let (location, _) = advice[from..].split_once("\n}\n").expect("it has an end");
    location.replace("http://127.0.0.1:8080", appliance) + "\n}\n"
}

/// An nginx that serves nothing but what it is told to hand on.
pub struct Nginx {
    _child: Reaped,
    _home: TempDir,
}

impl Nginx {
    /// Starts it, before the appliance at `http://ADDRESS:PORT`.
    pub fn before(_within: &Lab, appliance: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let config = home.path().join("nginx.conf");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", home.path().join(kind).display()))
            .concat();
        let text = format!(
            "daemon off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
             server {{\nlisten {LISTEN};\n{}}}\n}}\n",
            home.path().join("pid").display(),
            location(appliance)
        );
        fs::write(&config, text).expect("writing its configuration");
        // One process: workers would be another user's, whom a user namespace does not have.
        let child = tool("nginx")
            .args(["-e", "stderr", "-g", "master_process off;", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn();
        let nginx = Self { _child: Reaped(child.unwrap_or_else(|e| missing("nginx", &e))), _home: home };
        eventually(READY, "nginx listens", || TcpStream::connect(LISTEN).ok());
        nginx
    }

    /// Where the appliance is found.
    pub fn url(&self) -> String {
        format!("http://{LISTEN}/lan/ports/")
    }
}
