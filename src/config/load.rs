//! The order of the layers, and the one place that reads the file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{Config, ConfigError, Fault, Place, env::Environment, file, json, parse};
use crate::model::without_mark;

/// The file that is read when no flag names one; it may be missing.
pub const DEFAULT_PATH: &str = "/etc/portscan/portscan.toml";

/// The largest file that is read, in bytes: thousands of rules.
const MAX_FILE: u64 = 1 << 20;

/// What the command line says over everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the file, which then must be there.
    pub config: Option<PathBuf>,
    /// `--listen`, repeatable, in the file's spelling; empty: not given.
    pub listen: Vec<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

impl Config {
    /// Flags over environment over file over defaults. Pure: the file's text comes with its path, which only
    /// names it in faults.
    ///
    /// # Errors
    /// Every fault of every layer.
    pub fn load(
        flags: &Overrides,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut faults = Vec::new();
        if let Some((path, text)) = file {
            faults.extend(file::apply(path, without_mark(text), &mut config));
        }
        let mut environment = Environment { lookup: env, faults: Vec::new() };
        environment.apply(&mut config);
        faults.append(&mut environment.faults);
        faults.extend(flags.apply(&mut config));
        if faults.is_empty() { Ok(config) } else { Err(ConfigError { faults }) }
    }

    /// The configuration of this process: its environment, and the file on the disk.
    ///
    /// # Errors
    /// As [`Config::load`], or a file that cannot be read. Only the default file may be missing.
    pub fn read(flags: &Overrides) -> Result<Self, ConfigError> {
        let env = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let path = flags.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        match read_file(path) {
            Ok(text) => Self::load(flags, &env, Some((path, &text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && flags.config.is_none() => {
                Self::load(flags, &env, None)
            }
            Err(error) => {
                let text = format!("cannot be read: {error}; mend that, or name another file with --config");
                Err(ConfigError { faults: vec![Fault { place: Place::File(path.to_owned()), text }] })
            }
        }
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MB"));
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        text = json::to_toml(without_mark(&text)).map_err(io::Error::other)?;
    }
    Ok(text)
}

impl Overrides {
    fn apply(&self, config: &mut Config) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |flag, text| faults.push(Fault { place: Place::Flag(flag), text });
        let mut listen = Vec::new();
        for text in &self.listen {
            match parse::listen(text) {
                Ok(address) if listen.contains(&address) => {
                    fault("--listen", format!("{address} is given twice; drop one"));
                }
                Ok(address) => listen.push(address),
                Err(text) => fault("--listen", text),
            }
        }
        if let Some(conflict) = parse::listen_conflict(&listen) {
            fault("--listen", conflict);
        }
        if !self.listen.is_empty() {
            config.listen = listen;
        }
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        faults
    }
}
