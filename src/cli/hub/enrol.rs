//! `portscan hub enrol`: makes a certificate for a site.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::civil::Date;

use super::{
    HubDirArgs, HubError,
    authority::FleetAuthority,
    broker, directory,
    directory::{AUTHORITY, AUTHORITY_KEY, URL, USERS, make_private_dir, write_private},
    for_shell,
    identity::{Holder, Identity},
    users::Users,
};
use crate::{
    cli::{CliError, DONE, Terminal},
    config::{AUTHORITY_FILE, CERTIFICATE_FILE, DEFAULT_CREDENTIALS_DIR, HubUrl, KEY_FILE, Overrides},
    fleet::SiteName,
};

/// What gives the service's user, which exists only while it runs, the files that root alone may read.
const DROP_IN: &str = "/usr/share/portscan/fleet.conf";

/// Where it gives them.
const UNIT_CREDENTIALS: &str = "/run/credentials/portscan.service";

/// Which site.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "A site that is enrolled already gets a second certificate, and both may connect until `portscan hub \
                  revoke SITE --older`.\nExit: 0 made; 1 not; 2 wrong usage."
)]
pub struct EnrolArgs {
    /// What the site is called: 1 to 32 of a-z, 0-9 and hyphen
    #[arg(value_name = "SITE")]
    pub site: SiteName,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub dir: HubDirArgs,
    /// Put the folder with the site's files here [default: sites in the hub's directory]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

pub(super) fn enrol(
    args: &EnrolArgs,
    overrides: &Overrides,
    today: Date,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let site = &args.site;
    let dir = directory(&args.dir, overrides)?;
    let _lock = dir.lock()?;
    let malformed = |name: &str, why| HubError::Malformed { path: dir.file(name), why };
    let mut users = Users::parse(&dir.read(USERS)?).map_err(|why| malformed(USERS, why))?;
    let url: HubUrl = dir.read(URL)?.trim().parse().map_err(|why| malformed(URL, why))?;
    let certificate_of_authority = dir.read(AUTHORITY)?;
    let authority = FleetAuthority::with_key(&dir.read(AUTHORITY_KEY)?)?;
    let earlier = users.of_site(site).len();

    let identity = Identity::generate(Holder::Site(site.clone())).map_err(HubError::from)?;
    let issued = authority.issue_client(&identity, today)?;
    let serial = identity.serial_text();
    users.add(identity);
    let around = args.out.clone().unwrap_or_else(|| dir.file("sites"));
    let folder = around.join(site.as_str());
    let files = [
        (AUTHORITY_FILE, &certificate_of_authority),
        (CERTIFICATE_FILE, &issued.certificate),
        (KEY_FILE, &issued.key),
    ];
    check_folder(&folder)?;
    make_private_dir(&around)?;
    make_private_dir(&folder)?;
    for (name, text) in files {
        write_private(&folder.join(name), text, dir.path())?;
    }
    // Last: until then the certificate opens nothing.
    dir.write(USERS, &users.text())?;
    let reload = broker::reload(&dir);

    let out = &mut terminal.out;
    writeln!(out, "enrolled {site}: certificate {serial}, in {}", folder.display())?;
    writeln!(out, "{}", reload.told())?;
    writeln!(
        out,
        "next:\n  copy this folder to the appliance as {DEFAULT_CREDENTIALS_DIR}, for root alone, and delete its key here: \
         rm {}",
        for_shell(&folder.join(KEY_FILE))
    )?;
    if earlier > 0 {
        writeln!(
            out,
            "  restart the appliance; once {site} is connected again: portscan hub revoke {site} --older"
        )?;
    } else {
        writeln!(
            out,
            "  let the service read it: install -D -m 644 -t /etc/systemd/system/portscan.service.d {DROP_IN}; systemctl \
             daemon-reload\n  write this into the appliance's configuration (without systemd, credentials_dir is the \
             folder), and restart it:\n"
        )?;
        write!(
            out,
            "[fleet]\nsite = \"{site}\"\nhub = \"{url}\"\ncredentials_dir = \"{UNIT_CREDENTIALS}\"\n"
        )?;
    }
    out.flush()?;
    Ok(DONE)
}

/// Refuses a folder with other files than an earlier certificate's, which this one replaces: `--out /etc` and a site
/// called `ssh` would write into another program's.
fn check_folder(folder: &Path) -> Result<(), HubError> {
    let unreadable = |source| HubError::Unreadable { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_str().unwrap_or_default();
        // An interrupted attempt leaves a draft.
        if ![AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE].contains(&name.strip_suffix(".new").unwrap_or(name))
        {
            return Err(HubError::OtherFiles(folder.to_owned()));
        }
    }
    Ok(())
}
