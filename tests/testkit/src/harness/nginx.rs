//! Debian's nginx as a reverse proxy, behind which owners with a web server put the appliance.

use std::{fs, net::TcpStream, process::Stdio, time::Duration};

use tempfile::TempDir;

use super::{Reaped, eventually, missing, tool};
use crate::{lab::Lab, repository};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// In the lab's network, where any port is free.
const LISTEN: &str = "127.0.0.1:8888";

/// Where Home Assistant serves an add-on's page: a path with a secret of its own.
const INGRESS: &str = "/api/hassio_ingress/mXpZ0Q7u-3fJ_k";

/// Forwards requests as Home Assistant and its Supervisor do for an add-on, and serves a page that shows the add-on
/// in a frame, as theirs does. Host and Origin are the browser's.
fn ingress(appliance: &str) -> String {
    format!(
        "location {INGRESS}/ {{\nproxy_pass {appliance}/;\nproxy_http_version 1.1;\nproxy_buffering off;\n\
         proxy_set_header Host $http_host;\n\
         proxy_set_header X-Ingress-Path {INGRESS};\n\
         proxy_set_header X-Forwarded-For \"$remote_addr, 172.30.32.2\";\n\
         proxy_set_header X-Forwarded-Host $http_host;\n\
         proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Remote-User-Id 0123456789abcdef0123456789abcdef;\n\
         proxy_set_header X-Remote-User-Name owner;\n}}\n\
         location = /hassio {{\ndefault_type text/html;\nreturn 200 '<!doctype html><title>Home</title>\
         <iframe title=portscan src={INGRESS}/></iframe>';\n}}\n"
    )
}

/// As docs/page.md advises.
fn location(appliance: &str) -> String {
    let advice = fs::read_to_string(repository("docs/page.md")).expect("the document is there");
    let from = advice.find("location /lan/ports/ {").expect("it advises something");
    let (location, _) = advice[from..].split_once("\n}\n").expect("it has an end");
    location.replace("http://127.0.0.1:8080", appliance) + "\n}\n"
}

/// An nginx that only forwards requests.
pub struct Nginx {
    _child: Reaped,
    _home: TempDir,
    /// The path below which the appliance is.
    path: &'static str,
}

impl Nginx {
    /// Starts it, before the appliance at `http://ADDRESS:PORT`.
    pub fn before(within: &Lab, appliance: &str) -> Self {
        Self::start(within, "/lan/ports", &location(appliance))
    }

    /// Starts it as Home Assistant's ingress before the appliance at `http://ADDRESS:PORT`.
    pub fn as_ingress(within: &Lab, appliance: &str) -> Self {
        Self::start(within, INGRESS, &ingress(appliance))
    }

    fn start(_within: &Lab, path: &'static str, locations: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let child = serve(&home, &format!("server {{\nlisten {LISTEN};\n{locations}}}\n"), LISTEN);
        Self { _child: child, _home: home, path }
    }

    /// Where the appliance is found.
    pub fn url(&self) -> String {
        format!("http://{LISTEN}{}/", self.path)
    }

    /// The page that shows it in a frame ([`Self::as_ingress`]).
    pub fn frame_url(&self) -> String {
        format!("http://{LISTEN}/hassio")
    }
}

/// Starts it with these servers, and waits until it listens at this address.
pub(super) fn serve(home: &TempDir, servers: &str, listens: &str) -> Reaped {
    let config = home.path().join("nginx.conf");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", home.path().join(kind).display()))
        .concat();
    let text = format!(
        "daemon off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}}}\n",
        home.path().join("pid").display()
    );
    fs::write(&config, text).expect("writing its configuration");
    // One process: workers would be another user's, which a user namespace does not have.
    let child = tool("nginx")
        .args(["-e", "stderr", "-g", "master_process off;", "-c"])
        .arg(&config)
        .stdin(Stdio::null())
        .spawn();
    let child = Reaped(child.unwrap_or_else(|e| missing("nginx", &e)));
    eventually(READY, "nginx listens", || TcpStream::connect(listens).ok());
    child
}
