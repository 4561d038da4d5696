//! `portscan setup`: writes a configuration file with the networks of this machine that are to be searched for devices.
//!
//! It reads the machine's interfaces and sends nothing on any network.

mod file;
mod networks;

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use nix::errno::Errno;

use self::networks::Offer;
use super::{CliError, DONE, Terminal};
use crate::{
    config::{DEFAULT_PATH, Overrides},
    data_dir::writable,
    doctor::UNITS,
    net::Lan,
};

/// How often a question is repeated.
const MOST_ATTEMPTS: u32 = 5;

/// Which networks, and how.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(
    after_help = "It sends nothing on the network. The file goes where --config says; --listen and --data-dir are \
                  written into it.\nExit: 0 written; 1 not; 2 wrong usage."
)]
pub struct SetupArgs {
    /// Interfaces to search for devices: eth0, or "eth0 10.0.0.0/16" for a part of its network [default: asked, or all
    /// that are up, with --yes]
    #[arg(value_name = "IFACE")]
    pub interfaces: Vec<String>,
    /// Ask nothing and take the defaults
    #[arg(short, long)]
    pub yes: bool,
    /// Replace a configuration that is there, and keep a copy of it
    #[arg(long)]
    pub force: bool,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error(
        "{} is there already and stays as it is. Write {discover} under [feed] in it, or replace it with --force, which \
         keeps a copy",
        .path.display()
    )]
    Exists { path: PathBuf, discover: String },
    #[error("nothing can be asked, for standard input is no terminal; add --yes to take the defaults")]
    NoTerminal,
    #[error(
        "this machine has no network that is searched without being named:\n{0}Name devices under [feed] hosts instead, as docs/configuration.md \
         says, or name an interface or a part of its network: portscan setup \"eth0 10.0.0.0/16\""
    )]
    NoNetwork(String),
    #[error("there is no interface {name}; there are {}", .there.join(", "))]
    UnknownInterface { name: String, there: Vec<String> },
    #[error("{name} cannot be searched: {why}")]
    Unusable { name: String, why: String },
    #[error("{0}")]
    Malformed(String),
    #[error("cannot write {}: {source}; run it with sudo, or name another file with --config", .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("nothing was written")]
    Declined,
}

/// Asks, shows the file, writes it, and says what to do next.
pub(super) fn setup(
    args: &SetupArgs,
    overrides: &Overrides,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let candidates = Lan::candidates().map_err(CliError::Links)?;
    let offers: Vec<Offer> = candidates.iter().map(Offer::of).collect();
    set_up(args, overrides, &offers, terminal)
}

fn set_up(
    args: &SetupArgs,
    overrides: &Overrides,
    offers: &[Offer],
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    if !args.yes && terminal.input.is_none() {
        return Err(SetupError::NoTerminal.into());
    }
    let path = match &overrides.config {
        Some(path) => path.clone(),
        None if args.yes => DEFAULT_PATH.into(),
        None => match ask(terminal, &format!("Write the configuration where? [{DEFAULT_PATH}] "))? {
            answer if answer.is_empty() => DEFAULT_PATH.into(),
            answer => answer.into(),
        },
    };
    // Before the questions, so that no answer is in vain.
    check_writable(&path)?;
    let mut named = Vec::new();
    for interface in &args.interfaces {
        named.extend(networks::named(interface, offers)?);
    }
    if !args.force && is_in_the_way(&path)? {
        let discover = if named.is_empty() { networks::defaults(offers) } else { named };
        return Err(SetupError::Exists { path, discover: format!("discover = {discover:?}") }.into());
    }
    let discover = match named {
        named if !named.is_empty() => named,
        _ if args.yes => networks::defaults(offers),
        _ => choose(offers, terminal)?,
    };
    if discover.is_empty() {
        return Err(SetupError::NoNetwork(networks::list(offers)).into());
    }
    let text = file::text(&path, overrides, &discover)?;
    if !args.yes {
        write!(terminal.err, "\n{text}\n")?;
        let answer = ask(terminal, &format!("Write this to {}? [Y/n] ", path.display()))?;
        if !matches!(answer.to_ascii_lowercase().as_str(), "" | "y" | "yes") {
            return Err(SetupError::Declined.into());
        }
    }
    let copy = file::write(&path, &text)?;
    if args.yes {
        writeln!(terminal.out, "{text}")?;
    }
    writeln!(terminal.out, "wrote {}", path.display())?;
    if let Some(copy) = copy {
        writeln!(terminal.out, "kept the previous one as {}", copy.display())?;
    }
    let has_unit = UNITS.iter().any(|unit| Path::new(unit).exists());
    writeln!(terminal.out, "next: {}", next_step(&path, has_unit))?;
    terminal.out.flush()?;
    Ok(DONE)
}

/// Fails if this user may not write to the file's directory, or not make it.
fn check_writable(path: &Path) -> Result<(), SetupError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |errno: Errno| SetupError::Unwritable { path: path.to_owned(), source: errno.into() };
    writable(folder).map_err(unwritable)
}

/// Whether a file is there that is the owner's to change.
fn is_in_the_way(path: &Path) -> Result<bool, SetupError> {
    file::is_owners(path).map_err(|source| SetupError::Unwritable { path: path.to_owned(), source })
}

/// Asks until the answer is understood.
fn choose(offers: &[Offer], terminal: &mut Terminal<'_>) -> Result<Vec<String>, CliError> {
    let defaults = networks::default_numbers(offers);
    write!(terminal.err, "\nThis machine's networks:\n{}\n", networks::list(offers))?;
    for _ in 0..MOST_ATTEMPTS {
        let question = format!("Search which of them for devices? Numbers or names [{defaults}] ");
        let answer = ask(terminal, &question)?;
        match networks::answered(&answer, offers) {
            Ok(chosen) if !chosen.is_empty() => return Ok(chosen),
            Ok(_) if !defaults.is_empty() => return Ok(networks::defaults(offers)),
            Ok(_) => {}
            Err(error) => terminal.warn(&error.to_string()),
        }
    }
    Err(SetupError::Declined.into())
}

/// Asks one question; the end of the input is a refusal.
fn ask(terminal: &mut Terminal<'_>, question: &str) -> Result<String, CliError> {
    write!(terminal.err, "{question}")?;
    terminal.err.flush()?;
    let mut answer = String::new();
    let input = terminal.input.as_mut().ok_or(SetupError::NoTerminal)?;
    if input.read_line(&mut answer).map_err(CliError::Unreadable)? == 0 {
        return Err(SetupError::Declined.into());
    }
    Ok(answer.trim().to_owned())
}

/// The command that makes the file count.
fn next_step(path: &Path, has_unit: bool) -> String {
    match path == Path::new(DEFAULT_PATH) {
        true if has_unit => "sudo systemctl restart portscan".to_owned(),
        true => "sudo portscan serve".to_owned(),
        false => format!("portscan serve --config {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{networks::tests::offers, *};

    /// What was printed, what was asked, and how it ended.
    fn ran(
        args: &SetupArgs,
        path: Option<&Path>,
        answers: Option<&str>,
    ) -> (String, String, Result<u8, String>) {
        let overrides = Overrides { config: path.map(Path::to_owned), ..Overrides::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = answers.map(str::as_bytes);
        let input = input.as_mut().map(|input| input as &mut dyn io::BufRead);
        let mut terminal = Terminal { out: &mut out, err: &mut err, input, width: None, progress: None };
        let ended = set_up(args, &overrides, &offers(), &mut terminal).map_err(|error| error.to_string());
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), ended)
    }

    fn yes() -> SetupArgs {
        SetupArgs { yes: true, ..SetupArgs::default() }
    }

    #[test]
    fn asks_on_a_terminal_and_shows_the_file_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portscan.toml");
        let answers = format!("{}\neth7\neth0, 5\ny\n", path.display());
        let (out, err, ended) = ran(&SetupArgs::default(), None, Some(&answers));
        assert_eq!(ended, Ok(DONE), "{err}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("discover = [\"eth0\", \"eth4\"]"), "{text}");
        assert!(err.contains("there is no interface eth7") && err.contains(&text), "{err}");
        let expected = format!("wrote {0}\nnext: portscan serve --config {0}\n", path.display());
        assert_eq!(out, expected);
    }

    #[test]
    fn an_empty_answer_takes_the_default_and_a_no_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portscan.toml");
        for answers in ["\nn\n", "\n", ""] {
            let (_, err, ended) = ran(&SetupArgs::default(), Some(&path), Some(answers));
            assert_eq!(ended, Err("nothing was written".to_owned()), "{err}");
            assert!(!path.exists());
        }
        assert_eq!(ran(&SetupArgs::default(), Some(&path), Some("\n\n")).2, Ok(DONE));
        let text = fs::read_to_string(&path).unwrap();
        let expected = "discover = [\"eth0\", \"eth2 10.0.0.0/22\", \"eth2 10.1.0.0/20\"]";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_script_is_asked_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portscan.toml");
        let (_, _, ended) = ran(&SetupArgs::default(), Some(&path), None);
        assert!(ended.unwrap_err().contains("--yes"));
        let named = SetupArgs { interfaces: vec!["eth3 10.9.1.0/24".to_owned()], ..yes() };
        let (out, err, ended) = ran(&named, Some(&path), None);
        assert_eq!((ended, err.as_str()), (Ok(DONE), ""));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("discover = [\"eth3 10.9.1.0/24\"]") && out.contains(&text), "{out}");
    }

    #[test]
    fn a_configuration_that_is_there_stays_unless_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portscan.toml");
        fs::write(&path, "log = \"debug\"\n").unwrap();
        let (out, _, ended) = ran(&yes(), Some(&path), None);
        let why = ended.unwrap_err();
        assert!(why.contains("--force") && why.contains("discover = [\"eth0\", "), "{why}");
        assert_eq!((out.as_str(), fs::read_to_string(&path).unwrap().as_str()), ("", "log = \"debug\"\n"));
        let (out, _, ended) = ran(&SetupArgs { force: true, ..yes() }, Some(&path), None);
        assert_eq!(ended, Ok(DONE));
        let copy = folder.path().join("portscan.toml.bak");
        assert!(out.contains(&format!("kept the previous one as {}", copy.display())), "{out}");
        assert_eq!(fs::read_to_string(copy).unwrap(), "log = \"debug\"\n");
    }

    #[test]
    fn asks_nothing_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/portscan.toml");
        let (_, err, ended) = ran(&SetupArgs::default(), Some(&path), Some("1\ny\n"));
        assert!(err.is_empty() && ended.unwrap_err().contains("--config"), "{err}");
    }

    #[test]
    fn names_the_next_step() {
        assert_eq!(next_step(Path::new(DEFAULT_PATH), true), "sudo systemctl restart portscan");
        assert_eq!(next_step(Path::new(DEFAULT_PATH), false), "sudo portscan serve");
    }
}
