//! `portscan hub enrol`: makes a certificate for a site.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::civil::Date;

use super::{
    HubDirArgs, HubError,
    authority::Authority,
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
    let authority = Authority::with_key(&dir.read(AUTHORITY_KEY)?)?;
    let earlier = users.of_site(site).len();

    let identity = Identity::generate(Holder::Site(site.clone())).map_err(HubError::from)?;
    let issued = authority.issue_client(&identity, today)?;
    let serial = identity.serial_text();
    users.add(identity);
    let folder = args.out.clone().unwrap_or_else(|| dir.file("sites")).join(site.as_str());
    let files = [
        (AUTHORITY_FILE, &certificate_of_authority),
        (CERTIFICATE_FILE, &issued.certificate),
        (KEY_FILE, &issued.key),
    ];
    check_folder(&folder)?;
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
    let shown = for_shell(&folder);
    writeln!(out, "next, at the appliance as root, with this folder in place of {DEFAULT_CREDENTIALS_DIR}:")?;
    writeln!(out, "  scp -r HUB:{shown} {DEFAULT_CREDENTIALS_DIR}")?;
    writeln!(out, "and in its configuration, unless it is there already:\n")?;
    writeln!(
        out,
        "[fleet]\nsite = \"{site}\"\nhub = \"{url}\"\ncredentials_dir = \"{DEFAULT_CREDENTIALS_DIR}\"\n"
    )?;
    writeln!(out, "Then delete the key here: rm {}", for_shell(&folder.join(KEY_FILE)))?;
    if earlier > 0 {
        writeln!(out, "Once {site} connects with it, end the older: portscan hub revoke {site} --older")?;
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
