//! `portscan check-config`: checks that the configuration is valid and fits this machine.

use std::{
    fs, io,
    path::{self, Path, PathBuf},
};

use clap::Args;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    CliError, CommandEnv, DONE, FAILED, LONGEST_WARNING, Terminal,
    service_user::{FileAccess, ServiceUser},
    status::is_appliance,
};
use crate::{
    client::HttpClient,
    config::{
        self, ChannelKind, Config, FleetConfig, HubAccess, Machine, Overrides, Severity, WorkerConfig, check,
    },
    data_dir::{Obstacle, obstacle, read_secret, strangers, writable},
    fleet::HUB_COPIES,
    http::{self, BindError, Token, TokenError},
    model::one_line,
    store,
    tls::{client_credentials, read_authorities},
};

/// The directory of the credentials that a unit loads (`LoadCredential=`), for as long as the unit runs.
const CREDENTIALS: &str = "/run/credentials";

/// How long before its end a site's certificate is reported: there is a journey to some sites.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The most reports in the spool that are checked.
const MOST_REPORTS: usize = 1024;

/// The user for whom the files are checked.
#[derive(Args, Debug, Clone, Default, PartialEq)]
pub struct CheckArgs {
    /// The user that the appliance runs as, by name or number [default: this one; root: the data directory's owner]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Check the configuration of a fleet's hub, rather than an appliance's
    #[arg(long)]
    pub hub: bool,
}

/// Loads the configuration, compares it with the machine and prints the findings; returns 0 if it is usable.
pub(super) async fn check_config(
    args: &CheckArgs,
    overrides: &Overrides,
    verbose: u8,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let config = Config::read(overrides)?;
    let client = HttpClient::new(world.resolver.clone());
    let service = ServiceUser::find(args.user.as_deref(), &config.data_dir)?;
    let mut machine = machine(&config, &client, world.clock.wall()).await?;
    // An appliance has no directory of that name.
    machine.is_hub = args.hub || config.data_dir.join(HUB_COPIES).is_dir();
    if let Some(service) = &service {
        let file = overrides.config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
        let closed = closed_to(service, &config, file);
        if service.is_guess { machine.maybe_closed = closed } else { machine.closed = closed }
    }
    let findings = check(&config, &machine);
    for finding in &findings {
        // Names of reports in the spool come from outside.
        writeln!(terminal.out, "{}", one_line(&finding.to_string(), LONGEST_WARNING))?;
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

/// Reads the state of the machine that the configuration is compared with.
async fn machine(config: &Config, client: &HttpClient, now: Timestamp) -> io::Result<Machine> {
    let is_missing = !config.data_dir.exists();
    let mut machine = Machine {
        data_dir: is_missing
            .then(|| writable(&config.data_dir).err())
            .flatten()
            .map(|error| error.to_string()),
        obstacle: obstacle(&config.data_dir, &[store::FILE_NAME, http::TOKEN_FILE], true)
            // The first start creates it.
            .filter(|found| !matches!(found, Obstacle::Missing(_)))
            .map(|found| found.to_string()),
        strangers: strangers(&config.data_dir),
        spool: config.spool.as_deref().and_then(|spool| writable(spool).err()).map(|error| error.to_string()),
        token: unusable_token(config).map(|error| error.to_string()),
        secrets: unusable_secrets(config),
        open_token: http::open_token(&config.data_dir, config.auth_token_file.as_deref()),
        ..Machine::default()
    };
    for member in members(config) {
        let told = |told: String| format!("{}.credentials_dir: {told}", member.section);
        let (unusable, ending) = unusable_credentials(&member, now);
        machine.credentials.extend(unusable.map(told));
        machine.ending_credentials.extend(ending.map(told));
    }
    // Binds all at once, as the server does: two addresses may conflict.
    let bound: Vec<_> = http::bind_each(&config.listen).collect();
    for (address, bound) in &bound {
        match bound {
            Ok(Some(_)) => {}
            Ok(None) => machine.left_out.push(*address),
            // The running appliance itself holds it: `check-config && systemctl reload` is the usual way to change it.
            Err(BindError::InUse(_)) if is_appliance(client, *address).await => {}
            Err(error) => machine.unbound.push(error.to_string()),
        }
    }
    let interfaces = nix::net::if_::if_nameindex()?;
    machine.interfaces =
        interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect();
    Ok(machine)
}

/// Returns why the owner's token cannot be used. Without a token file, the first start creates one.
fn unusable_token(config: &Config) -> Option<TokenError> {
    let given = config.auth_token_file.as_deref()?;
    // It exists only while the unit runs.
    if given.starts_with(CREDENTIALS) && !given.exists() {
        return None;
    }
    Token::load(&config.data_dir, Some(given)).err()
}

/// A section by which this machine is a member of a fleet.
struct MemberSection<'a> {
    section: &'static str,
    access: &'a HubAccess,
    /// What makes its credentials at the hub.
    enrol: String,
    /// The service that reads them.
    unit: &'static str,
}

fn members(config: &Config) -> impl Iterator<Item = MemberSection<'_>> {
    let site = config.fleet.as_ref().map(|FleetConfig { site, access }| MemberSection {
        section: "fleet",
        access,
        enrol: format!("portscan hub enrol {site}"),
        unit: "portscan",
    });
    let worker = config.worker.as_ref().map(|WorkerConfig { name, access, .. }| MemberSection {
        section: "worker",
        access,
        enrol: format!("portscan hub enrol --worker {name}"),
        unit: "portscan-worker",
    });
    site.into_iter().chain(worker)
}

/// Returns why the credentials for a hub cannot be used, or that they end, if so.
fn unusable_credentials(member: &MemberSection<'_>, now: Timestamp) -> (Option<String>, Option<String>) {
    // Those of a unit exist only while it runs.
    let is_to_come = |dir: &Path| dir.starts_with(CREDENTIALS) && !dir.exists();
    let MemberSection { access, enrol, .. } = member;
    if is_to_come(&access.credentials_dir) {
        return (None, None);
    }
    match client_credentials(&access.authority_file(), &access.certificate_file(), &access.key_file()) {
        Err(error) => (Some(format!("{error}; put what `{enrol}` has made there, or mend the path")), None),
        Ok(credentials)
            if credentials.not_after < now.saturating_add(ENDS_SOON).unwrap_or(Timestamp::MAX) =>
        {
            let end = credentials.not_after.to_zoned(TimeZone::UTC).date();
            let verb = if credentials.not_after < now { "has ended" } else { "ends" };
            (None, Some(format!("the certificate {verb} on {end}; make another: {enrol}, at the hub")))
        }
        Ok(_) => (None, None),
    }
}

/// Returns why the secrets of alert channels cannot be used, where that is so.
fn unusable_secrets(config: &Config) -> Vec<String> {
    let unusable = |(channel, key, file): (&str, &str, &Path)| {
        // It exists only while the unit runs.
        if file.starts_with(CREDENTIALS) && !file.exists() {
            return None;
        }
        let error = read_secret(file).err()?;
        let shown = file.display();
        Some(format!(
            "channel {channel}: {key} {shown}: {error}; put the secret there as one line, or mend the path"
        ))
    };
    secrets(config).filter_map(unusable).chain(unusable_authorities(config)).collect()
}

/// Returns why the authorities that channels trust cannot be used, where that is so.
fn unusable_authorities(config: &Config) -> impl Iterator<Item = String> {
    config.channels.iter().filter_map(|channel| {
        let file = channel.ca_file.as_deref()?;
        let error = read_authorities(file).err()?;
        let (name, shown) = (&channel.name, file.display());
        Some(format!(
            "channel {name}: ca_file {shown}: {error}; put the authority's certificate there as PEM, or mend the path"
        ))
    })
}

/// The files with the secrets of alert channels, with the channel's name and the key.
fn secrets(config: &Config) -> impl Iterator<Item = (&str, &'static str, &Path)> {
    config.channels.iter().flat_map(|channel| {
        let password_file = match &channel.kind {
            ChannelKind::Email(mail) => mail.password_file.as_deref(),
            ChannelKind::Mqtt(broker) => broker.password_file.as_deref(),
            _ => None,
        };
        let files = [
            ("token_file", channel.token_file.as_deref()),
            ("sign_file", channel.sign_file.as_deref()),
            ("password_file", password_file),
        ];
        files.into_iter().filter_map(|(key, file)| Some((channel.name.as_str(), key, file?)))
    })
}

/// Returns which of the configured files are closed to this user, and how to open them.
fn closed_to(service: &ServiceUser, config: &Config, file: &Path) -> Vec<String> {
    let mut closed = Vec::new();
    let mut look = |key: &str, path: &Path, access: FileAccess, mend: &dyn Fn(&str) -> String| {
        let path = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if path.exists() && !service.may(&path, access) {
            let verb = if access == FileAccess::Read { "read" } else { "written to" };
            let shown = path.display();
            let mend = mend(&shown.to_string());
            closed.push(format!(
                "{key} {shown} cannot be {verb} by {service}; that root can proves nothing. {mend}"
            ));
        }
    };
    let name_user = if service.is_guess { ", or name that user with --user if it can" } else { "" };
    look("the configuration", file, FileAccess::Read, &|path| {
        format!("Open it to all, for it holds no secret: chmod a+r {path}{name_user}")
    });
    if let Some(token) = config.auth_token_file.as_deref().filter(|path| !path.starts_with(CREDENTIALS)) {
        look("auth.token_file", token, FileAccess::Read, &|path| {
            format!(
                "Under systemd, write LoadCredential=token:{path} in the unit and token_file = \
                 \"{CREDENTIALS}/portscan.service/token\" here{name_user}"
            )
        });
    }
    for channel in &config.channels {
        if let Some(file) = channel.ca_file.as_deref() {
            look("ca_file", file, FileAccess::Read, &|path| {
                format!("Open it to all, for it holds no secret: chmod a+r {path}{name_user}")
            });
        }
    }
    for (_, key, file) in secrets(config).filter(|(.., file)| !file.starts_with(CREDENTIALS)) {
        look(key, file, FileAccess::Read, &|path| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            format!(
                "Under systemd, write LoadCredential={name}:{path} in the unit and {key} = \
                 \"{CREDENTIALS}/portscan.service/{name}\" here{name_user}"
            )
        });
    }
    let of_dirs = members(config).filter(|member| !member.access.credentials_dir.starts_with(CREDENTIALS));
    for MemberSection { section, access, unit, .. } in of_dirs {
        for file in [access.authority_file(), access.certificate_file(), access.key_file()] {
            look(&format!("{section}.credentials_dir:"), file.as_path(), FileAccess::Read, &|path| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                format!(
                    "Under systemd, write LoadCredential={name}:{path} in the unit, for all three files, and \
                     credentials_dir = \"{CREDENTIALS}/{unit}.service\" here{name_user}"
                )
            });
        }
    }
    let owner = service.as_owner();
    let give = |path: &str| format!("Give it to that user: sudo chown {owner} {path}{name_user}");
    look("data_dir", &config.data_dir, FileAccess::Write, &give);
    if let Some(spool) = &config.spool {
        // A missing directory is created if its parent permits it.
        let there = spool.ancestors().find(|folder| folder.exists()).unwrap_or(spool);
        match there == spool {
            true => look("spool", spool, FileAccess::Write, &give),
            false => look("the directory around spool,", there, FileAccess::Write, &|_| {
                format!("Make the spool: sudo install -d -o {owner} {}{name_user}", spool.display())
            }),
        }
        for report in reports(spool) {
            look("the report", &report, FileAccess::Read, &|path| format!("chmod a+r {path}{name_user}"));
        }
    }
    closed
}

/// Returns some of the reports in the spool.
fn reports(spool: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(spool).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).take(MOST_REPORTS).collect()
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
        fs::write(&token, "short").unwrap();
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let mut config = Config {
            listen: vec![taken, "127.0.0.1:0".parse().unwrap(), "[::]:0".parse().unwrap()],
            data_dir: folder.path().to_owned(),
            auth_token_file: Some(token.clone()),
            ..Config::default()
        };
        let client = HttpClient::new(Arc::new(SystemResolver::default()));
        let found = machine(&config, &client, Timestamp::UNIX_EPOCH).await.unwrap();
        assert!(matches!(&found.unbound[..], [reason] if reason.contains(&taken.to_string())), "{found:?}");
        assert!(found.token.is_some_and(|reason| reason.contains("holds no token")));

        config.listen.remove(0);
        fs::write(&token, "long-enough-to-be-a-token").unwrap();
        let found = machine(&config, &client, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!((found.unbound.len(), found.token, found.data_dir), (0, None, None));
    }
}
