//! Findings about open ports, each reported once.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{
    change::{DatabaseChange, Urgency},
    error::Result,
    events::{NewEvent, record_event},
    expected::has_baseline,
    handle::Store,
};
use crate::model::{ChangeKind, Device, PortFindingKind, PortSet, Protocol};

/// Something that the owner should know of an open port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPortFinding {
    /// The device.
    pub device: Device,
    /// The port's protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// What it is about.
    pub kind: PortFindingKind,
    /// Distinguishes it from other findings of this port and kind.
    pub reason: String,
    /// The finding in words.
    pub text: String,
}

impl Store {
    /// Records the present findings. With a baseline, a new finding is an event and an alert; without one, and at the
    /// very first look, findings are only stored.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn record_findings(&self, findings: Vec<OpenPortFinding>) -> Result<()> {
        // Usually nothing is new, and nothing is written.
        let new = self.read(move |connection| unknown(connection, findings)).await?;
        match new {
            Some(findings) => {
                self.write(move |context| RecordFindings { findings, at: context.wall() }).await
            }
            None => Ok(()),
        }
    }
}

struct RecordFindings {
    findings: Vec<OpenPortFinding>,
    at: Timestamp,
}

impl DatabaseChange for RecordFindings {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Shared
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let is_first = !is_begun(connection)?;
        let insert = "INSERT OR IGNORE INTO told_findings (device, protocol, port, kind, reason)
                      VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = connection.prepare_cached(insert)?;
        if is_first {
            statement.execute(params!["", "", 0, "begun", ""])?;
        }
        let is_told = !is_first && has_baseline(connection)?;
        for OpenPortFinding { device, protocol, port, kind, reason, text } in &self.findings {
            let key = device.key().to_string();
            let row = params![key, protocol.as_str(), port, kind.as_str(), reason];
            if statement.execute(row)? > 0 && is_told {
                let (ports, text) = (PortSet::from_ranges([(*port, *port)]), text.clone());
                let kind = ChangeKind::Found { finding: *kind, protocol: *protocol, ports, text };
                record_event(connection, &NewEvent { at: self.at, scan: None, device, kind, alert: true })?;
            }
        }
        Ok(())
    }
}

fn is_begun(connection: &Connection) -> Result<bool> {
    Ok(connection.prepare_cached("SELECT 1 FROM told_findings WHERE device = ''")?.exists([])?)
}

/// The new findings; `None`: there is nothing to write.
fn unknown(
    connection: &Connection,
    mut findings: Vec<OpenPortFinding>,
) -> Result<Option<Vec<OpenPortFinding>>> {
    let sql = "SELECT 1 FROM told_findings
               WHERE device = ?1 AND protocol = ?2 AND port = ?3 AND kind = ?4 AND reason = ?5";
    let mut statement = connection.prepare_cached(sql)?;
    let mut error = None;
    findings.retain(|finding| {
        let OpenPortFinding { device, protocol, port, kind, reason, .. } = finding;
        let row = params![device.key().to_string(), protocol.as_str(), port, kind.as_str(), reason];
        !statement.exists(row).unwrap_or_else(|fault| {
            error.get_or_insert(fault);
            true
        })
    });
    match error {
        Some(error) => Err(error.into()),
        None if findings.is_empty() && is_begun(connection)? => Ok(None),
        None => Ok(Some(findings)),
    }
}
