//! Reads what decides, besides the events themselves, whether a channel sends them: everything for a page of events
//! in one query.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{error::Result, handle::Store, row::text};
use crate::model::{ChangeEvent, ChangeKind, PortSet};

/// How many earlier events of a device are searched for the one that a later event undoes.
const EARLIER: i64 = 64;

/// The facts, besides the events themselves, that decide whether a channel sends them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertContext {
    undone: HashMap<i64, UndoneEvent>,
    snoozes: Vec<SnoozedSpan>,
    /// The extents of the messages that the channel's owner has acknowledged.
    acknowledged: Vec<(i64, i64)>,
}

/// An alert that a later event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndoneEvent {
    /// Its id.
    pub id: i64,
    /// The event that began the message about this alert: itself, or the end of the snooze in which it happened.
    pub told_by: i64,
    /// Whether the alert is over completely: false if some of its ports have not changed back.
    pub is_whole: bool,
    /// Whether the change differed from the expected state; another change may have been sent because a rule asked
    /// for it.
    pub was_alert: bool,
}

/// The events that a snooze holds, or held: those between the two ids.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SnoozedSpan {
    /// `None`: of all devices.
    device: Option<String>,
    after: i64,
    /// `None`: it has not ended.
    end: Option<i64>,
}

impl AlertContext {
    /// The alert that this event ends.
    pub fn undone_by(&self, event: i64) -> Option<UndoneEvent> {
        self.undone.get(&event).copied()
    }

    /// Whether the event is, or was, held by a snooze.
    pub fn is_snoozed(&self, event: &ChangeEvent) -> bool {
        self.snoozes.iter().any(|span| {
            span.after < event.id
                && span.end.is_none_or(|end| event.id < end)
                && span.device.as_ref().is_none_or(|device| *device == event.device.to_string())
        })
    }

    /// Whether the message with this event was acknowledged on the channel.
    pub fn is_acknowledged(&self, event: i64) -> bool {
        self.acknowledged.iter().any(|(first, last)| (*first..=*last).contains(&event))
    }
}

impl Store {
    /// Reads the facts that decide about these events on a channel.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn alert_context(&self, channel: &str, events: &[ChangeEvent]) -> Result<AlertContext> {
        let (channel, events) = (channel.to_owned(), events.to_vec());
        self.read(move |connection| context(connection, &channel, &events)).await
    }
}

fn context(connection: &Connection, channel: &str, events: &[ChangeEvent]) -> Result<AlertContext> {
    let Some(first) = events.iter().map(|event| event.id).min() else { return Ok(AlertContext::default()) };
    let mut undone = HashMap::new();
    for event in events.iter().filter(|event| !event.alert) {
        if let Some(found) = undone_by(connection, event)? {
            undone.insert(event.id, found);
        }
    }
    let acknowledged = if undone.is_empty() { Vec::new() } else { acknowledged(connection, channel)? };
    Ok(AlertContext { undone, snoozes: spans(connection, first)?, acknowledged })
}

/// The snoozes that hold this event or a later one.
fn spans(connection: &Connection, first: i64) -> Result<Vec<SnoozedSpan>> {
    let sql = "SELECT nullif(device, ''), after, NULL FROM alert_snoozes
               UNION ALL SELECT device, CAST(was AS INTEGER), id FROM changes WHERE kind = 'snooze-ended' AND id > ?1";
    let span = |row: &Row<'_>| Ok(SnoozedSpan { device: row.get(0)?, after: row.get(1)?, end: row.get(2)? });
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([first], span)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn acknowledged(connection: &Connection, channel: &str) -> Result<Vec<(i64, i64)>> {
    let sql = "SELECT first, last FROM alert_messages WHERE channel = ?1 AND state = 'acknowledged'";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([channel], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Returns the alert that this event undoes: an unexpected port has closed, a missing port has opened, or a device is
/// back.
fn undone_by(connection: &Connection, event: &ChangeEvent) -> Result<Option<UndoneEvent>> {
    let opposite = match &event.kind {
        ChangeKind::Opened(..) => "closed",
        ChangeKind::Closed(..) => "opened",
        ChangeKind::Back => "gone",
        ChangeKind::New
        | ChangeKind::Gone
        | ChangeKind::Moved { .. }
        | ChangeKind::Replaced { .. }
        | ChangeKind::Found { .. }
        | ChangeKind::SnoozeEnded { .. } => return Ok(None),
    };
    let sql = "SELECT id, ports, alert FROM changes
               WHERE device = ?1 AND id < ?2 AND kind = ?3 AND (protocol IS ?4) ORDER BY id DESC LIMIT ?5";
    let protocol = event.kind.ports().map(|(protocol, _)| protocol.as_str());
    let device = event.device.to_string();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![device, event.id, opposite, protocol, EARLIER])?;
    while let Some(row) = rows.next()? {
        let (is_same, is_whole) = match event.kind.ports() {
            None => (true, true),
            Some((_, ports)) => {
                let earlier: PortSet = text(row, 1)?;
                (!ports.intersection(&earlier).is_empty(), earlier.is_subset(ports))
            }
        };
        if is_same {
            let (id, was_alert): (i64, bool) = (row.get(0)?, row.get(2)?);
            if !was_alert && event.kind != ChangeKind::Back {
                return Ok(None);
            }
            return Ok(Some(UndoneEvent {
                id,
                told_by: told_by(connection, &device, id)?,
                is_whole,
                was_alert,
            }));
        }
    }
    Ok(None)
}

/// Returns the event that began the message about this event: itself, or the end of the last snooze that held it.
fn told_by(connection: &Connection, device: &str, event: i64) -> Result<i64> {
    let sql = "SELECT max(id) FROM changes
               WHERE kind = 'snooze-ended' AND id > ?1 AND device = ?2 AND CAST(was AS INTEGER) < ?1";
    let end =
        connection.prepare_cached(sql)?.query_row(params![event, device], |row| row.get(0)).optional()?;
    Ok(end.flatten().unwrap_or(event))
}
