//! Reports in nmap's formats: `-oX`, `-oN`, `-oG`, `-oA`.
//!
//! Each is written as the scan ends, to a temporary file beside its own that is renamed once it is complete: a reader
//! never sees half a report, and a scan that fails leaves the previous report untouched.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use jiff::{Zoned, tz::TimeZone};

use super::{
    CliError, ScanArgs,
    found::{HostResult, ScanResult, sanitize_for_terminal},
};
use crate::{
    model::{HostStatus, PortIdentification, ScanStatus},
    nmap::{self, Format, ReportInfo, ScannedHost},
    services,
};

/// What is known of the ports of a host that were not identified.
static NOTHING: BTreeMap<u16, PortIdentification> = BTreeMap::new();

/// The reports to write, each with its opened output.
pub(super) struct Outputs(Vec<(Format, Output)>);

/// Where a report goes.
enum Output {
    Stdout,
    /// A pipe or a device, which cannot be replaced by a renamed file.
    Direct(PathBuf, File),
    /// A file that does not exist under its name yet.
    File(Draft),
}

/// A temporary file that is renamed when it is complete, and removed otherwise.
struct Draft {
    path: PathBuf,
    beside: PathBuf,
    file: File,
}

impl Outputs {
    /// Opens each output, with the file name of this time.
    pub(super) fn open(wanted: Vec<(Format, PathBuf)>, at: &Zoned) -> Result<Self, CliError> {
        let open = |(format, path): (Format, PathBuf)| {
            let output = Output::open(&path, at).map_err(|source| CliError::File { path, source })?;
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
        scan: &ScanResult,
        found: &[HostResult],
    ) -> Result<(), CliError> {
        let names: Vec<Option<String>> =
            found.iter().map(|host| host.name.as_deref().map(sanitize_for_terminal)).collect();
        let requested = [(args.protocol(), args.port_set())].into();
        let run = ReportInfo {
            args: &args.line,
            started: scan.started,
            elapsed: scan.elapsed,
            requested: &requested,
            targets: scan.targets,
            unfinished: unfinished(scan),
            service: services::usual,
            zone: TimeZone::system(),
            verbose,
            open_only: args.open,
            reasons: args.reason || verbose > 0,
            versions: args.identify,
        };
        // Lists hosts that are down once at most, and never with `--open`.
        let listed = found.iter().zip(&names).filter(|(host, _)| host.is_listed(args.open));
        let hosts = listed.map(|(host, name)| ScannedHost {
            reports: std::slice::from_ref(&host.report),
            mac: host.mac,
            name: name.as_deref(),
            identified: host.identified.as_ref().map_or(&NOTHING, |identified| &identified.ports),
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

/// Returns the remarks on what the report omits.
fn unfinished(scan: &ScanResult) -> Option<&'static str> {
    match scan.status {
        _ if scan.interrupted => Some("interrupted: only results until then are listed"),
        ScanStatus::Failed => Some("failed: no probe could leave this machine"),
        // Unfinished hosts carry a remark of their own.
        _ => None,
    }
}

/// A file's name with the time in it where nmap would put it: `%H`, `%M`, `%S`, `%m`, `%d`, `%y` and `%Y` as C's
/// strftime has them, `%T` for `%H%M%S`, `%R` for `%H%M`, `%D` for `%m%d%y`; any other character behind a `%`
/// is kept (nmap(1), "Output").
fn dated(path: &Path, at: &Zoned) -> PathBuf {
    let mut name = Vec::new();
    let mut bytes = path.as_os_str().as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let behind = if byte == b'%' { bytes.next() } else { None };
        let time = match behind {
            Some(b'T') => "%H%M%S",
            Some(b'R') => "%H%M",
            Some(b'D') => "%m%d%y",
            Some(b'H') => "%H",
            Some(b'M') => "%M",
            Some(b'S') => "%S",
            Some(b'm') => "%m",
            Some(b'd') => "%d",
            Some(b'y') => "%y",
            Some(b'Y') => "%Y",
            other => {
                name.push(*other.unwrap_or(&byte));
                continue;
            }
        };
        name.extend(at.strftime(time).to_string().bytes());
    }
    PathBuf::from(OsString::from_vec(name))
}

impl Output {
    fn open(path: &Path, at: &Zoned) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let path = dated(path, at);
        // A link is followed: replacing it would leave its target unchanged.
        let path = fs::canonicalize(&path).unwrap_or(path);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_the_time_in_it() {
        let at: Zoned = "2007-12-13T14:48:40+01:00[+01:00]".parse().unwrap();
        for (typed, named) in [
            ("scan-%T-%D.xml", "scan-144840-121307.xml"),
            ("%Y/%m/%d %H:%M:%S", "2007/12/13 14:48:40"),
            ("%R%y", "144807"),
            ("100%%", "100%"),
            ("%x%é", "xé"),
            ("100%", "100%"),
            ("-", "-"),
        ] {
            assert_eq!(dated(Path::new(typed), &at), Path::new(named), "{typed}");
        }
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"\xff%H"));
        assert_eq!(dated(odd, &at).as_os_str().as_bytes(), b"\xff14");
    }
}
