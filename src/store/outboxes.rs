//! The position of each alert channel, and the results of its latest messages.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    change::{DatabaseChange, Urgency},
    error::{Result, StoreError},
    handle::Store,
    numbers,
    row::{duration, milliseconds, timestamp},
};
use crate::alerts::{SavedOutbox, SavedSummary, SavedTrouble};

/// The number of messages that are kept for each channel, and of further parked ones.
const HISTORY: i64 = 200;

/// The state of a message that is no longer retried automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// The receiver has it.
    Delivered,
    /// The receiver refused it.
    Parked,
    /// The owner has acknowledged it: its channel sends nothing more about the same changes.
    Acknowledged,
}

/// A message that was delivered or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedMessage {
    /// Its first and its last event.
    pub events: (i64, i64),
    /// The key of its device, if it is about only one.
    pub device: Option<String>,
    /// Its title.
    pub title: String,
    /// When it ended, by the wall clock of then.
    pub at: Timestamp,
    /// Why the receiver refused it; `None`: it was delivered.
    pub refusal: Option<String>,
}

/// A message that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Its number.
    pub id: i64,
    /// Its channel.
    pub channel: String,
    /// Its first and its last event.
    pub events: (i64, i64),
    /// The key of its device, if it is about only one.
    pub device: Option<String>,
    /// Its title.
    pub title: String,
    /// What became of it.
    pub state: MessageState,
    /// Since when.
    pub at: Timestamp,
    /// Why the receiver refused it.
    pub reason: Option<String>,
}

impl MessageState {
    const ALL: [Self; 3] = [Self::Delivered, Self::Parked, Self::Acknowledged];

    /// Its name in the database and in APIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::Acknowledged => "acknowledged",
        }
    }
}

impl Store {
    /// Returns the random name of this database, which stays the same for all its life.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn appliance_id(&self) -> Result<String> {
        self.read(|connection| Ok(connection.query_row("SELECT id FROM appliance", [], |row| row.get(0))?))
            .await
    }

    /// Returns the position of a channel. A new channel begins after the latest event, and does not send earlier
    /// ones.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn outbox(&self, channel: &str) -> Result<SavedOutbox> {
        let name = channel.to_owned();
        if let Some(known) = self.read(move |connection| outbox(connection, &name)).await? {
            return Ok(known);
        }
        let fresh = SavedOutbox {
            cursor: self.read(|connection| Ok(numbers::latest_event(connection)?)).await?,
            ..SavedOutbox::default()
        };
        self.save_outbox(channel, fresh.clone(), None).await?;
        Ok(fresh)
    }

    /// Saves the position of a channel and, in the same commit, the message that has ended.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn save_outbox(
        &self,
        channel: &str,
        outbox: SavedOutbox,
        ended: Option<EndedMessage>,
    ) -> Result<()> {
        let channel = channel.to_owned();
        self.write(move |_| SaveOutbox { channel, outbox, ended }).await
    }

    /// Returns what a channel has reported of the appliance's own trouble.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn told_trouble(&self, channel: &str) -> Result<SavedTrouble> {
        let name = channel.to_owned();
        let sql = "SELECT trouble, troubles FROM alert_channels WHERE name = ?1";
        let read = |row: &Row<'_>| Ok(SavedTrouble { told: row.get(0)?, number: row.get(1)? });
        self.read(move |connection| {
            Ok(connection.query_row(sql, [name], read).optional()?.unwrap_or_default())
        })
        .await
    }

    /// Saves what a channel has reported of the appliance's own trouble.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn save_told_trouble(&self, channel: &str, trouble: SavedTrouble) -> Result<()> {
        let channel = channel.to_owned();
        self.write(move |_| SaveTrouble { channel, trouble }).await
    }

    /// Returns the state of a channel's summaries. State that cannot be read is treated as new.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn summary_state(&self, channel: &str) -> Result<SavedSummary> {
        let name = channel.to_owned();
        self.read(move |connection| {
            let sql = "SELECT summary FROM alert_channels WHERE name = ?1";
            let stored: Option<Option<String>> =
                connection.query_row(sql, [name], |row| row.get(0)).optional()?;
            Ok(stored.flatten().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
        })
        .await
    }

    /// Saves the state of a channel's summaries; `None`: it has none.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn save_summary_state(&self, channel: &str, summary: Option<SavedSummary>) -> Result<()> {
        let channel = channel.to_owned();
        self.write(move |_| SaveSummary { channel, summary }).await
    }

    /// Deletes what is known of all channels but these.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn keep_outboxes(&self, channels: Vec<String>) -> Result<()> {
        let kept = serde_json::to_string(&channels).unwrap_or_default();
        let of_others = ["alert_channels WHERE name", "alert_messages WHERE channel"]
            .map(|table| format!("FROM {table} NOT IN (SELECT value FROM json_each(?1))"));
        let (names, tables) = (kept.clone(), of_others.clone());
        // With a full disk a write would wait, and so would all alerts, including the one that says that the disk is
        // full.
        let is_there = move |connection: &Connection| {
            tables.iter().try_fold(false, |found, table| {
                Ok(found || connection.prepare(&format!("SELECT 1 {table}"))?.exists([&names])?)
            })
        };
        if !self.read(is_there).await? {
            return Ok(());
        }
        self.run_exclusive(move |connection| {
            for table in of_others {
                connection.execute(&format!("DELETE {table}"), [&kept])?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the latest messages of all channels, the newest first.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn alert_messages(&self, most: u32) -> Result<Vec<MessageRecord>> {
        self.read(move |connection| messages(connection, None, most)).await
    }

    /// Returns the message with this number.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn alert_message(&self, id: i64) -> Result<Option<MessageRecord>> {
        self.read(move |connection| Ok(messages(connection, Some(id), 1)?.pop())).await
    }

    /// Changes the state of a message; returns whether it exists.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn mark_alert_message(
        &self,
        id: i64,
        state: MessageState,
        reason: Option<String>,
    ) -> Result<bool> {
        self.write(move |context| MarkMessage { id, state, reason, at: context.wall() }).await
    }

    /// Returns the first event of the channel's latest message that is only about this device and contains this
    /// event.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn message_with(&self, channel: &str, device: String, event: i64) -> Result<Option<i64>> {
        let channel = channel.to_owned();
        let sql = "SELECT first FROM alert_messages
                   WHERE channel = ?1 AND device = ?2 AND ?3 BETWEEN first AND last AND state <> 'parked'";
        self.read(move |connection| {
            Ok(connection.query_row(sql, params![channel, device, event], |row| row.get(0)).optional()?)
        })
        .await
    }
}

struct SaveOutbox {
    channel: String,
    outbox: SavedOutbox,
    ended: Option<EndedMessage>,
}

impl DatabaseChange for SaveOutbox {
    type Answer = ();

    /// Nothing is sent before this is stored.
    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let SavedOutbox { cursor, message, attempts, retry_in, failing } = &self.outbox;
        let sql = "INSERT INTO alert_channels (name, cursor, first, last, attempts, retry_in, failing)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                   ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, first = excluded.first,
                   last = excluded.last, attempts = excluded.attempts, retry_in = excluded.retry_in,
                   failing = excluded.failing";
        let (first, last) = message.unzip();
        let (retry_in, failing) = (milliseconds(*retry_in), milliseconds(*failing));
        let row = params![self.channel, cursor, first, last, attempts, retry_in, failing];
        connection.prepare_cached(sql)?.execute(row)?;
        self.ended.as_ref().map_or(Ok(()), |ended| insert_message(connection, &self.channel, ended))
    }
}

struct SaveTrouble {
    channel: String,
    trouble: SavedTrouble,
}

impl DatabaseChange for SaveTrouble {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let sql = "UPDATE alert_channels SET trouble = ?2, troubles = ?3 WHERE name = ?1";
        connection.prepare_cached(sql)?.execute(params![
            self.channel,
            self.trouble.told,
            self.trouble.number
        ])?;
        Ok(())
    }
}

struct SaveSummary {
    channel: String,
    summary: Option<SavedSummary>,
}

impl DatabaseChange for SaveSummary {
    type Answer = ();

    /// Nothing is sent before this is stored.
    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let json = self.summary.as_ref().and_then(|summary| serde_json::to_string(summary).ok());
        let sql = "UPDATE alert_channels SET summary = ?2 WHERE name = ?1";
        connection.prepare_cached(sql)?.execute(params![self.channel, json])?;
        Ok(())
    }
}

fn insert_message(connection: &Connection, channel: &str, ended: &EndedMessage) -> Result<()> {
    let EndedMessage { events: (first, last), device, title, at, refusal } = ended;
    let state = if refusal.is_some() { MessageState::Parked } else { MessageState::Delivered };
    let sql = "INSERT OR REPLACE INTO alert_messages (channel, first, last, device, title, state, at, reason)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let row = params![channel, first, last, device, title, state.as_str(), at.as_millisecond(), refusal];
    connection.prepare_cached(sql)?.execute(row)?;
    let old = "DELETE FROM alert_messages WHERE channel = ?1 AND (
                   id <= (SELECT id FROM alert_messages WHERE channel = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
                   AND state <> 'parked'
                   OR id <= (SELECT id FROM alert_messages WHERE channel = ?1 ORDER BY id DESC LIMIT 1 OFFSET 2 * ?2))";
    connection.prepare_cached(old)?.execute(params![channel, HISTORY])?;
    Ok(())
}

struct MarkMessage {
    id: i64,
    state: MessageState,
    reason: Option<String>,
    at: Timestamp,
}

impl DatabaseChange for MarkMessage {
    type Answer = bool;

    fn urgency(&self) -> Urgency {
        Urgency::Immediate
    }

    fn apply(&self, connection: &Connection) -> Result<bool> {
        let sql = "UPDATE alert_messages SET state = ?2, reason = ?3, at = ?4 WHERE id = ?1";
        let row = params![self.id, self.state.as_str(), self.reason, self.at.as_millisecond()];
        Ok(connection.prepare_cached(sql)?.execute(row)? > 0)
    }
}

fn outbox(connection: &Connection, channel: &str) -> Result<Option<SavedOutbox>> {
    let sql = "SELECT cursor, first, last, attempts, retry_in, failing FROM alert_channels WHERE name = ?1";
    let read = |row: &Row<'_>| {
        Ok(SavedOutbox {
            cursor: row.get(0)?,
            message: row.get::<_, Option<i64>>(1)?.zip(row.get(2)?),
            attempts: row.get(3)?,
            retry_in: duration(row.get(4)?),
            failing: duration(row.get(5)?),
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row([channel], read).optional()?)
}

fn messages(connection: &Connection, id: Option<i64>, most: u32) -> Result<Vec<MessageRecord>> {
    let sql = "SELECT id, channel, first, last, device, title, state, at, reason FROM alert_messages
               WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![id, most])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(6)?;
        let state = MessageState::ALL.into_iter().find(|state| state.as_str() == name);
        messages.push(MessageRecord {
            id: row.get(0)?,
            channel: row.get(1)?,
            events: (row.get(2)?, row.get(3)?),
            device: row.get(4)?,
            title: row.get(5)?,
            state: state
                .ok_or_else(|| StoreError::Damaged(format!("\"{name}\" is no state of a message")))?,
            at: timestamp(row.get(7)?)?,
            reason: row.get(8)?,
        });
    }
    Ok(messages)
}
