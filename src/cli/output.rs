//! Reports in nmap's formats: `-oX`, `-oN`, `-oG`, `-oA`.
//!
//! Each is written as the scan ends, to a file beside its own that takes its name once it is whole: who reads
//! it never sees half of one, and a scan that fails leaves the report before it alone.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use jiff::tz::TimeZone;

use super::{
    CliError, ScanArgs,
    found::{Found, Scan, harmless},
};
use crate::{
    model::{HostStatus, Protocol, ScanStatus},
    nmap::{self, Format, Run, Scanned},
    services,
};

/// The reports to write, with room for each.
pub(super) struct Outputs(Vec<(Format, Output)>);

/// Where a report goes.
enum Output {
    Stdout,
    /// A pipe or a device: it has no other name to be written under.
    Direct(PathBuf, File),
    /// A file that is not there yet.
    File(Draft),
}

/// A file that takes its name when it is whole, and is gone if it never is.
struct Draft {
    path: PathBuf,
    beside: PathBuf,
    file: File,
}

impl Outputs {
    /// Makes sure that each can be written.
    pub(super) fn open(wanted: Vec<(Format, PathBuf)>) -> Result<Self, CliError> {
        let open = |(format, path): (Format, PathBuf)| {
            let output = Output::open(&path).map_err(|source| CliError::File { path, source })?;
            Ok((format, output))
        };
        wanted.into_iter().map(open).collect::<Result<_, CliError>>().map(Self)
    }

    /// Writes all of them; `stdout` is where `-` goes.
    pub(super) fn write(
        self,
        stdout: &mut dyn Write,
        args: &ScanArgs,
        verbose: u8,
        scan: &Scan,
        found: &[Found],
    ) -> Result<(), CliError> {
        let names: Vec<Option<String>> =
            found.iter().map(|host| host.name.as_deref().map(harmless)).collect();
        let asked = [(Protocol::Tcp, args.port_set())].into();
        let run = Run {
            args: &args.line,
            started: scan.started,
            elapsed: scan.elapsed,
            asked: &asked,
            targets: scan.targets,
            unfinished: unfinished(scan),
            service: services::name,
            zone: TimeZone::system(),
            verbose,
            open_only: args.open,
            reasons: args.reason || verbose > 0,
        };
        // Nobody is told twice of hosts that are down, and never by who asks for open ports.
        let told = found.iter().zip(&names).filter(|(host, _)| host.is_told(args.open));
        let hosts = told.map(|(host, name)| Scanned {
            reports: std::slice::from_ref(&host.report),
            mac: host.mac,
            name: name.as_deref(),
            started: host.times.0,
            finished: host.times.1,
        });
        let up = found.iter().filter(|host| host.report.status != HostStatus::Down).count();
        for (format, output) in self.0 {
            match output {
                Output::Stdout => nmap::write(stdout, format, &run, up, hosts.clone())?,
                Output::Direct(path, mut file) => nmap::write(&mut file, format, &run, up, hosts.clone())
                    .map_err(|source| CliError::File { path, source })?,
                Output::File(draft) => {
                    let path = draft.path.clone();
                    draft
                        .finish(|out| nmap::write(out, format, &run, up, hosts.clone()))
                        .map_err(|source| CliError::File { path, source })?;
                }
            }
        }
        Ok(())
    }
}

/// What a reader of the report has to know of what it does not tell.
fn unfinished(scan: &Scan) -> Option<&'static str> {
    match scan.status {
        _ if scan.interrupted => Some("interrupted: only what was known by then is told"),
        ScanStatus::Failed => Some("failed: no probe could leave this machine"),
        // Hosts that were left unfinished say so themselves.
        _ => None,
    }
}

impl Output {
    fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        // A link is followed: to replace it would leave the file that it stands for as it was.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                Ok(Self::Direct(path.clone(), File::options().write(true).open(path)?))
            }
            _ => Draft::beside(path).map(Self::File),
        }
    }
}

impl Draft {
    fn beside(path: PathBuf) -> io::Result<Self> {
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{}.partial", std::process::id()));
        let beside = PathBuf::from(beside);
        Ok(Self { file: File::create_new(&beside)?, path, beside })
    }

    fn finish(self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut out = BufWriter::new(&self.file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&self.beside, &self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once renamed it is no longer there.
        _ = fs::remove_file(&self.beside);
    }
}
