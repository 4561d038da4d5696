//! Debian's postfix as the owner's mail server, with dovecot, which checks passwords and quotas, and serves the mail
//! by IMAP.

use std::{
    fs::{self, Permissions},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Group, Pid, User},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Reaped, certificates, eventually, missing, tool,
    users::{Users, users},
};
use crate::{lab::Lab, repository};

/// From start to its first answer, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// In the lab's network, where any port is free: without encryption, with STARTTLS, with TLS from the start.
pub const CLEAR: u16 = 2525;
pub const STARTTLS: u16 = 2587;
pub const TLS: u16 = 2465;
/// TLS with a certificate that has expired, and that of another name.
pub const EXPIRED: u16 = 2466;
pub const MISNAMED: u16 = 2467;
/// The quotas of the mailboxes.
const QUOTA: u16 = 12_340;

/// The password of every user.
pub const PASSWORD: &str = "s3cret mail";

/// Users of every Debian: postfix wants one for its queue and another for the mailboxes, and a group for neither.
const QUEUE_OWNER: &str = "nobody";
const MAIL_OWNER: &str = "daemon";
const DROP_GROUP: &str = "uucp";

const SERVICES: &str = "cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
    rewrite unix - - n - - trivial-rewrite\nvirtual unix - n n - - virtual\nbounce unix - - n - 0 bounce\n\
    defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nerror unix - - n - - error\n\
    tlsmgr unix - - n 1000? 1 tlsmgr\nproxymap unix - - n - - proxymap\nanvil unix - - n - 1 anvil\n\
    postlog unix-dgram n - n - 1 postlogd\n";

/// A mail server for `me@example.test`, `you@example.test` and `full@example.test`, each with a mailbox.
pub struct Postfix {
    server: Option<Daemons>,
    _accounts: Daemons,
    home: TempDir,
}

/// A process and its children, which end with it.
struct Daemons(Reaped);

impl Daemons {
    fn spawn(mut command: Command, name: &str) -> Self {
        let child = command.process_group(0).stdin(Stdio::null()).spawn();
        Self(Reaped(child.unwrap_or_else(|e| missing(name, &e))))
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.0.0.id().try_into().expect("a process's number"))
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        // The process ends its own children, which may have left the group; an error means that it has ended already.
        let _ = kill(self.id(), Signal::SIGTERM);
        let _ = self.0.0.wait();
        let _ = killpg(self.id(), Signal::SIGKILL);
    }
}

impl Postfix {
    /// Starts it; `None` where there is no user but root: postfix works as several.
    pub fn start(_within: &Lab) -> Option<Self> {
        if users() == Users::RootAlone {
            eprintln!("this user namespace has no user but root: no mail server can run here");
            return None;
        }
        let home = TempDir::new().expect("a temporary directory");
        // Its processes are of several users.
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("own directory");
        certificates::make(home.path());
        make_directories(home.path());
        write_accounts(home.path(), 100_000_000);
        fs::write(home.path().join("dovecot.conf"), dovecot_config(home.path())).expect("writing a file");
        fs::write(home.path().join("main.cf"), main_config(home.path())).expect("writing a file");
        fs::write(home.path().join("master.cf"), master_config(home.path())).expect("writing a file");
        let mut accounts = dovecot(home.path(), "master", &folder("usr/sbin/dovecot"));
        accounts.arg("-F").arg("-c").arg(home.path().join("dovecot.conf"));
        accounts.stdout(Stdio::null()).stderr(Stdio::null());
        let accounts = Daemons::spawn(accounts, "dovecot");
        eventually(READY, "dovecot listens", || TcpStream::connect(("127.0.0.1", QUOTA)).ok());
        let mut server = Self { server: None, _accounts: accounts, home };
        server.start_again();
        Some(server)
    }

    /// Starts it after it was killed.
    pub fn start_again(&mut self) {
        let library = folder("usr/lib/postfix");
        let mut master = Command::new(library.join("sbin/master"));
        master.arg("-c").arg(self.home.path()).arg("-d").env("LD_LIBRARY_PATH", &library);
        master.stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(Daemons::spawn(master, "postfix"));
        eventually(READY, "postfix listens", || TcpStream::connect(("127.0.0.1", CLEAR)).ok());
    }

    /// Kills it, with all connections.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = killpg(server.id(), Signal::SIGKILL);
        }
    }

    /// The authority that its certificates are of (PEM).
    pub fn ca_file(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// How many bytes the mailbox of `full@example.test` may hold.
    pub fn limit_full(&self, bytes: u64) {
        write_accounts(self.home.path(), bytes);
    }

    /// The mails that Dovecot's IMAP server gives a user, in their order, as Python's parser understands them:
    /// `{"headers", "bodies": {"plain", "html"}}`.
    pub fn mails(&self, user: &str) -> Vec<Value> {
        let imap = dovecot(self.home.path(), "imap", &folder("usr/lib/dovecot/imap"));
        let mut command = Command::new("python3");
        command.arg(repository("tests/delivery/read_mailbox.py"));
        // dovecot refuses to run this as root.
        let (owner, group) = ids(MAIL_OWNER);
        command.args(["setpriv", &format!("--reuid={owner}"), &format!("--regid={group}"), "--clear-groups"]);
        command.arg(imap.get_program()).args(imap.get_args());
        command.envs(imap.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command
            .env("USER", user)
            .env("HOME", self.home.path().join("mail").join(user))
            .output()
            .unwrap_or_else(|e| missing("python3", &e));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The Message-IDs of the mails in the order in which it took them, also of those that it took twice.
    pub fn taken(&self) -> Vec<String> {
        let log = self.log();
        let is_queued = |queue: &str| log.contains(&format!("]: {queue}: from=<"));
        let taken = log.lines().filter_map(|line| {
            let (head, id) = line.split_once(": message-id=<")?;
            let queue = head.rsplit_once(' ')?.1;
            is_queued(queue).then(|| id.trim_end_matches('>').to_owned())
        });
        taken.collect()
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

/// A folder of its programs: unpacked by `make setup`, or installed.
fn folder(path: &str) -> PathBuf {
    let unpacked = repository("target/tools").join(path);
    if unpacked.exists() { unpacked } else { Path::new("/").join(path) }
}

/// One of its programs.
fn dovecot(home: &Path, service: &str, program: &Path) -> Command {
    let library = folder("usr/lib/dovecot");
    // dovecot looks for doveconf at its installed path, unless doveconf has started it.
    let mut command = tool("doveconf");
    let paths = [library.clone(), library.join("modules/old-stats")].map(|path| path.display().to_string());
    command.args(["-f", &format!("service={service}"), "-m", service, "-c"]).arg(home.join("dovecot.conf"));
    command.arg("-e").arg(program).env("LD_LIBRARY_PATH", paths.join(":"));
    command
}

fn ids(user: &str) -> (u32, u32) {
    let user = User::from_name(user).expect("the users can be read").expect("a user of every Debian");
    (user.uid.as_raw(), user.gid.as_raw())
}

fn make_directories(home: &Path) {
    let own = |path: &Path, user: Option<u32>, group: Option<u32>| {
        std::os::unix::fs::chown(path, user, group).expect("giving a directory");
    };
    let make = |path: &str| {
        let path = home.join(path);
        fs::create_dir_all(&path).expect("making a directory");
        path
    };
    let queue_owner = ids(QUEUE_OWNER).0;
    for name in
        ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "trace"]
    {
        own(&make(&format!("queue/{name}")), Some(queue_owner), None);
    }
    make("queue/pid");
    own(&make("data"), Some(queue_owner), None);
    let group =
        Group::from_name(DROP_GROUP).expect("the groups can be read").expect("a group of every Debian");
    for (name, mode) in [("maildrop", 0o730), ("public", 0o710)] {
        let path = make(&format!("queue/{name}"));
        own(&path, Some(queue_owner), Some(group.gid.as_raw()));
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own directory");
    }
    let (user, group) = ids(MAIL_OWNER);
    own(&make("mail"), Some(user), Some(group));
    for name in ["me", "you", "full"] {
        for part in ["", "/new", "/cur", "/tmp"] {
            own(&make(&format!("mail/{name}{part}")), Some(user), Some(group));
        }
    }
}

/// The accounts; dovecot reads them again when they change.
fn write_accounts(home: &Path, full: u64) {
    let (user, group) = ids(MAIL_OWNER);
    let account = |name: &str, bytes: u64| {
        let mail = home.join("mail").join(name);
        format!(
            "{name}:{{PLAIN}}{PASSWORD}:{user}:{group}::{}::userdb_quota_rule=*:bytes={bytes}\n",
            mail.display()
        )
    };
    let text = account("me", 100_000_000) + &account("you", 100_000_000) + &account("full", full);
    let written = home.join("users.new");
    fs::write(&written, text).expect("writing a file");
    fs::rename(written, home.join("users")).expect("moving a file");
}

fn dovecot_config(home: &Path) -> String {
    let (home, library) = (home.display(), folder("usr/lib/dovecot"));
    let library = library.display();
    let database = format!("{{\n  driver = passwd-file\n  args = username_format=%n {home}/users\n}}\n");
    format!(
        "base_dir = {home}/run\nstate_dir = {home}/state\nlibexec_dir = {library}\n\
         mail_plugin_dir = {library}/modules\nimport_environment = LD_LIBRARY_PATH TZ\nlog_path = {home}/dovecot.log\n\
         default_internal_user = {QUEUE_OWNER}\ndefault_internal_group = nogroup\n\
         default_login_user = {MAIL_OWNER}\nprotocols =\nlisten = 127.0.0.1\nssl = no\ndisable_plaintext_auth = no\n\
         auth_mechanisms = plain login\nmail_location = maildir:~\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
         mail_plugins = quota\npassdb {database}userdb {database}\
         plugin {{\n  quota = maildir:all\n  quota_grace = 0\n  quota_status_success = DUNNO\n  \
         quota_status_nouser = DUNNO\n  quota_status_overquota = \"552 5.2.2 Mailbox is full\"\n}}\n\
         service auth {{\n  unix_listener {home}/auth {{\n    mode = 0666\n  }}\n}}\n\
         service quota-status {{\n  executable = quota-status -p postfix\n  client_limit = 1\n  \
         inet_listener {{\n    port = {QUOTA}\n  }}\n}}\nservice anvil {{\n  chroot =\n}}\n"
    )
}

fn main_config(home: &Path) -> String {
    let (home, library, commands) = (home.display(), folder("usr/lib/postfix"), folder("usr/sbin"));
    let (library, commands, (user, group)) = (library.display(), commands.display(), ids(MAIL_OWNER));
    format!(
        "compatibility_level = 3.6\nqueue_directory = {home}/queue\ndata_directory = {home}/data\n\
         daemon_directory = {library}/sbin\ncommand_directory = {commands}\nshlib_directory = {library}\n\
         meta_directory = {home}\nmail_owner = {QUEUE_OWNER}\ndefault_privs = {MAIL_OWNER}\n\
         setgid_group = {DROP_GROUP}\nimport_environment = LD_LIBRARY_PATH MAIL_CONFIG TZ LANG=C\n\
         maillog_file = {home}/log\nmaillog_file_prefixes = {home}\nmyhostname = localhost\nmydestination =\n\
         local_transport = error:none\nvirtual_mailbox_domains = example.test\nvirtual_mailbox_base = {home}/mail\n\
         virtual_mailbox_maps = inline:{{ me@example.test=me/ you@example.test=you/ full@example.test=full/ }}\n\
         virtual_uid_maps = static:{user}\nvirtual_gid_maps = static:{group}\nvirtual_minimum_uid = 1\n\
         smtpd_tls_cert_file = {home}/server.pem\nsmtpd_tls_key_file = {home}/server.key\n\
         smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n\
         smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{QUOTA}\n\
         smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {home}/auth\nsmtpd_client_connection_rate_limit = 0\n\
         inet_protocols = ipv4\nalias_maps =\nalias_database =\n"
    )
}

fn master_config(home: &Path) -> String {
    let home = home.display();
    let submission = "-o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes -o \
        smtpd_client_restrictions=permit_sasl_authenticated,reject";
    let listen = |port: u16, options: &str| format!("127.0.0.1:{port} inet n - n - - smtpd {options}\n");
    let certificate = |name: &str| {
        format!(
            "-o smtpd_tls_wrappermode=yes -o smtpd_tls_cert_file={home}/{name}.pem -o smtpd_tls_key_file={home}/{name}.key"
        )
    };
    listen(CLEAR, "-o smtpd_tls_security_level=none")
        + &listen(STARTTLS, &format!("-o smtpd_tls_security_level=encrypt {submission}"))
        + &listen(TLS, &format!("-o smtpd_tls_wrappermode=yes {submission}"))
        + &listen(EXPIRED, &certificate("expired"))
        + &listen(MISNAMED, &certificate("misnamed"))
        + SERVICES
}
