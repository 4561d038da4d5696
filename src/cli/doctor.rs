//! `portscan doctor`: what this machine allows the appliance to do, and what it lacks.
//!
//! [`rules`] judge what [`reader`] has read. It differs from `check-config`, which compares one configuration with the
//! machine: this command judges the machine, and goes on when the configuration is faulty.

mod facts;
mod finding;
mod reader;
mod rules;

use std::io::Write;

use clap::Args;
use serde::Serialize;

use self::finding::{Diagnosis, DiagnosisState};
use super::{CliError, CommandEnv, DONE, FAILED, LONGEST_WARNING, Terminal, setup};
use crate::{config::Overrides, model::one_line};

/// How it is printed.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(
    after_help = "It sends nothing on any network. Where the appliance runs, its own privileges are judged, else this \
                  user's; with sudo it sees more.\nExit: 0 nothing essential is lacking; 1 something is; 2 wrong usage."
)]
pub struct DoctorArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct DoctorDocument<'a> {
    version: &'static str,
    /// Whether nothing essential is lacking.
    works: bool,
    findings: &'a [Diagnosis],
}

/// Reads, judges, prints; returns 0 if nothing essential is lacking.
pub(super) fn doctor(
    args: &DoctorArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let findings = rules::diagnose(&reader::read(overrides, &setup::UNITS, &*world.clock));
    print(args, &findings, terminal.out)?;
    Ok(if works(&findings) { DONE } else { FAILED })
}

fn is_lacking(finding: &Diagnosis) -> bool {
    finding.state == DiagnosisState::Lacking
}

fn works(findings: &[Diagnosis]) -> bool {
    !findings.iter().any(|finding| finding.essential && is_lacking(finding))
}

fn print(args: &DoctorArgs, findings: &[Diagnosis], out: &mut dyn Write) -> Result<(), CliError> {
    if args.json {
        let document =
            DoctorDocument { version: env!("CARGO_PKG_VERSION"), works: works(findings), findings };
        serde_json::to_writer(&mut *out, &document).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        for finding in findings {
            let Diagnosis { subject, state, essential, detail, mend } = finding;
            let state = state.as_str();
            let mark = if *essential && is_lacking(finding) { " (essential)" } else { "" };
            // Names of processes and interfaces come from outside.
            let detail = one_line(detail, LONGEST_WARNING);
            writeln!(out, "{state:<12} {subject}{mark}: {detail}")?;
            if let Some(mend) = mend {
                writeln!(out, "             mend: {}", one_line(mend, LONGEST_WARNING))?;
            }
        }
        let lacking = findings.iter().filter(|finding| finding.essential && is_lacking(finding)).count();
        match lacking {
            0 => writeln!(out, "nothing essential is lacking")?,
            1 => writeln!(out, "1 essential thing is lacking")?,
            more => writeln!(out, "{more} essential things are lacking")?,
        }
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(findings: &[Diagnosis], json: bool) -> String {
        let mut out = Vec::new();
        print(&DoctorArgs { json }, findings, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn findings() -> [Diagnosis; 4] {
        [
            Diagnosis::ok("clock", "it says 2026-06-01 12:00 UTC"),
            Diagnosis::not_checked("mDNS", "the configuration announces no name", None),
            Diagnosis::lacking("memory", "little", "stop x".to_owned()),
            Diagnosis::essential(
                "port",
                "0.0.0.0:80 is held by a\u{1b}[31m (process 7)",
                "stop it".to_owned(),
            ),
        ]
    }

    #[test]
    fn prints_a_line_for_each_finding_and_one_for_its_remedy() {
        let text = printed(&findings(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok           clock: it says 2026-06-01 12:00 UTC");
        assert_eq!(lines[1], "not checked  mDNS: the configuration announces no name");
        assert_eq!(lines[2], "lacking      memory: little");
        assert_eq!(lines[3], "             mend: stop x");
        assert!(
            lines[4].starts_with("lacking      port (essential): 0.0.0.0:80") && !text.contains('\u{1b}')
        );
        assert_eq!(lines.last(), Some(&"1 essential thing is lacking"));
        assert!(printed(&findings()[..3], false).ends_with("\nnothing essential is lacking\n"));
    }

    #[test]
    fn prints_the_same_as_json() {
        let document: serde_json::Value = serde_json::from_str(&printed(&findings(), true)).unwrap();
        assert_eq!(document["works"], false);
        let expected = serde_json::json!({
            "subject": "mDNS", "state": "not_checked", "essential": false,
            "detail": "the configuration announces no name", "mend": null,
        });
        assert_eq!(document["findings"][1], expected);
        assert_eq!(document["findings"][3]["essential"], true);
    }
}
