//! `portscan doctor`: what this machine allows the appliance to do, and what it lacks.

use std::io::Write;

use clap::Args;

use super::{CliError, CommandEnv, DONE, FAILED, LONGEST_WARNING, Terminal};
use crate::{
    config::Overrides,
    doctor::{Judged, diagnose},
    http::DiagnosisBody,
    model::{Diagnosis, one_line},
};

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

/// Reads, judges, prints; returns 0 if nothing essential is lacking.
pub(super) fn doctor(
    args: &DoctorArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let findings = diagnose(overrides, Judged::Appliance, &*world.clock);
    let works = !findings.iter().any(Diagnosis::is_fatal);
    print(args, findings, terminal.out)?;
    Ok(if works { DONE } else { FAILED })
}

fn print(args: &DoctorArgs, findings: Vec<Diagnosis>, out: &mut dyn Write) -> Result<(), CliError> {
    if args.json {
        serde_json::to_writer(&mut *out, &DiagnosisBody::of(findings)).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        for finding in &findings {
            let Diagnosis { subject, state, detail, mend, .. } = finding;
            let state = state.as_str();
            let mark = if finding.is_fatal() { " (essential)" } else { "" };
            // Names of processes and interfaces come from outside.
            let detail = one_line(detail, LONGEST_WARNING);
            writeln!(out, "{state:<12} {subject}{mark}: {detail}")?;
            if let Some(mend) = mend {
                writeln!(out, "             mend: {}", one_line(mend, LONGEST_WARNING))?;
            }
        }
        match findings.iter().filter(|finding| finding.is_fatal()).count() {
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

    fn printed(findings: Vec<Diagnosis>, json: bool) -> String {
        let mut out = Vec::new();
        print(&DoctorArgs { json }, findings, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn findings() -> Vec<Diagnosis> {
        vec![
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
        let text = printed(findings(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok           clock: it says 2026-06-01 12:00 UTC");
        assert_eq!(lines[1], "not checked  mDNS: the configuration announces no name");
        assert_eq!(lines[2], "lacking      memory: little");
        assert_eq!(lines[3], "             mend: stop x");
        assert!(
            lines[4].starts_with("lacking      port (essential): 0.0.0.0:80") && !text.contains('\u{1b}')
        );
        assert_eq!(lines.last(), Some(&"1 essential thing is lacking"));
        assert!(printed(findings()[..3].to_vec(), false).ends_with("\nnothing essential is lacking\n"));
    }

    #[test]
    fn prints_the_same_as_json() {
        let document: serde_json::Value = serde_json::from_str(&printed(findings(), true)).unwrap();
        assert_eq!(document["works"], false);
        let expected = serde_json::json!({
            "subject": "mDNS", "state": "not_checked", "essential": false,
            "detail": "the configuration announces no name", "mend": null,
        });
        assert_eq!(document["findings"][1], expected);
        assert_eq!(document["findings"][3]["essential"], true);
    }
}
