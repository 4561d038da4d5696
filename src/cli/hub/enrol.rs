//! `portscan hub enrol`: makes a certificate for a site or a worker.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::civil::Date;

use super::{
    HubDirArgs, HubError, MemberArgs,
    authority::FleetAuthority,
    broker, directory,
    directory::{AUTHORITY, AUTHORITY_KEY, URL, USERS, make_private_dir, write_private},
    for_shell,
    identity::Identity,
    users::Users,
};
use crate::{
    cli::{CliError, DONE, Terminal},
    config::{AUTHORITY_FILE, CredentialFiles, HubUrl, Overrides, SITE_CREDENTIALS, WORKER_CREDENTIALS},
};

/// What differs between a site and a worker.
struct MemberForm {
    files: CredentialFiles,
    /// The folder, in the hub's directory, for the files of all of its kind.
    folder: &'static str,
    /// What a person calls the machine that gets the files.
    machine: &'static str,
    /// The option that says that it is one.
    option: &'static str,
    /// The service, to which systemd hands the files, since its user exists only while it runs.
    unit: &'static str,
    /// The steps before its section is written.
    steps: &'static str,
    /// The beginning of its section.
    section: &'static str,
}

const SITE: MemberForm = MemberForm {
    files: SITE_CREDENTIALS,
    folder: "sites",
    machine: "appliance",
    option: "",
    unit: "portscan",
    steps: "  let the service read it: install -D -m 644 -t /etc/systemd/system/portscan.service.d \
            /usr/share/portscan/fleet.conf; systemctl daemon-reload\n  write this into the appliance's configuration, \
            and restart it",
    section: "[fleet]\nsite",
};

const WORKER: MemberForm = MemberForm {
    files: WORKER_CREDENTIALS,
    folder: "workers",
    machine: "worker",
    option: "--worker ",
    unit: "portscan-worker",
    steps: "  write this into /etc/portscan/worker.toml there, with networks = [\"192.0.2.0/24\"] if it is to scan others \
            than its own, and start it: systemctl enable --now portscan-worker",
    section: "[worker]\nname",
};

/// Which site or worker.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(
    after_help = "A site that is enrolled already gets a second certificate, and both may connect until `portscan hub \
                  revoke SITE --older`.\nExit: 0 made; 1 not; 2 wrong usage."
)]
pub struct EnrolArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub member: MemberArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub dir: HubDirArgs,
    /// Put the folder with its files here [default: sites or workers, in the hub's directory]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

pub(super) fn enrol(
    args: &EnrolArgs,
    overrides: &Overrides,
    today: Date,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let holder = args.member.holder();
    let name = holder.name();
    let form = if args.member.worker { WORKER } else { SITE };
    let dir = directory(&args.dir, overrides)?;
    let _lock = dir.lock()?;
    let malformed = |name: &str, why| HubError::Malformed { path: dir.file(name), why };
    let mut users = Users::parse(&dir.read(USERS)?).map_err(|why| malformed(USERS, why))?;
    let url: HubUrl = dir.read(URL)?.trim().parse().map_err(|why| malformed(URL, why))?;
    let certificate_of_authority = dir.read(AUTHORITY)?;
    let authority = FleetAuthority::with_key(&dir.read(AUTHORITY_KEY)?)?;
    let earlier = users.of(&holder).len();

    let identity = Identity::generate(holder.clone()).map_err(HubError::from)?;
    let issued = authority.issue_client(&identity, today)?;
    let serial = identity.serial_text();
    users.add(identity);
    let around = args.out.clone().unwrap_or_else(|| dir.file(form.folder));
    let folder = around.join(name);
    let files = [
        (AUTHORITY_FILE, &certificate_of_authority),
        (form.files.certificate, &issued.certificate),
        (form.files.key, &issued.key),
    ];
    check_folder(&folder, form.files)?;
    make_private_dir(&around)?;
    make_private_dir(&folder)?;
    for (name, text) in files {
        write_private(&folder.join(name), text, dir.path())?;
    }
    // Last: until then the certificate opens nothing.
    dir.write(USERS, &users.text())?;
    let reload = broker::reload(&dir);

    let out = &mut terminal.out;
    writeln!(out, "enrolled {name}: certificate {serial}, in {}", folder.display())?;
    writeln!(out, "{}", reload.told())?;
    writeln!(
        out,
        "next:\n  copy this folder to the {} as {}, for root alone, and delete its key here: rm {}",
        form.machine,
        form.files.default_dir,
        for_shell(&folder.join(form.files.key))
    )?;
    if earlier > 0 {
        let option = form.option;
        writeln!(
            out,
            "  restart the {}; once {name} is connected again: portscan hub revoke {option}{name} --older",
            form.machine
        )?;
    } else {
        writeln!(
            out,
            "{}\n  (without systemd, credentials_dir is the folder):\n\n{} = \"{name}\"\nhub = \"{url}\"\n\
             credentials_dir = \"/run/credentials/{}.service\"",
            form.steps, form.section, form.unit
        )?;
    }
    out.flush()?;
    Ok(DONE)
}

/// Refuses a folder with other files than an earlier certificate's, which this one replaces: `--out /etc` and a site
/// called `ssh` would write into another program's.
fn check_folder(folder: &Path, files: CredentialFiles) -> Result<(), HubError> {
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
        if ![AUTHORITY_FILE, files.certificate, files.key]
            .contains(&name.strip_suffix(".new").unwrap_or(name))
        {
            return Err(HubError::OtherFiles(folder.to_owned()));
        }
    }
    Ok(())
}
