//! The messages from a site to the hub, and the hub's answers.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::ChangedRow;

/// The most bytes of a message that is read: a broker's usual limit.
pub const MESSAGE_MAX: usize = 1 << 20;

/// The bytes of rows from which on a batch is full. One row may exceed it: the largest result has some 300 KB.
pub const BATCH_BYTES: usize = 256 * 1024;

/// The version of this protocol. A message begins with it, so that a later one is recognised before it is parsed. A
/// release that raises it must still read and answer the version before: hub and sites are not upgraded at one time.
const PROTOCOL: u8 = 2;

/// What a site holds to show that it continues a known history: random, given by the hub with each batch that it
/// commits. A copy of the card holds an old one as soon as either of the two has sent another batch.
pub type Pass = [u8; 16];

/// What a site sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SiteMessage {
    /// The first message after each connection.
    Greeting(SiteGreeting),
    /// Changes of the database.
    Batch(Batch),
    /// What is not in the database, whenever it has changed.
    Context(SiteContext),
    /// Sent while there is nothing else to send.
    Alive,
}

/// A site begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteGreeting {
    /// The database: random, made with it.
    pub epoch: Pass,
    /// The version of its schema.
    pub schema: u32,
    /// The oldest schema whose programs understand its rows, with less in them.
    pub understood_since: u32,
    /// The tables that it sends, each at the position of its number.
    pub tables: Vec<SentTable>,
    /// The pass of the last batch that it knows to be committed; `None`: it knows of none.
    pub pass: Option<Pass>,
    /// The program's version.
    pub version: String,
    /// The machine's host name, by which a person finds a second appliance with the same database.
    pub host: String,
}

/// A table as a site sends it. Hub and site may be of two releases, so the hub finds the columns by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentTable {
    /// Its name.
    pub name: String,
    /// The columns of its key, in the order of [`ChangedRow::key`].
    pub key: Vec<String>,
    /// The other columns, in the order of [`ChangedRow::rest`].
    pub rest: Vec<String>,
}

/// Changes of the database, committed by the hub as one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The database.
    pub epoch: Pass,
    /// The pass of the batch before; `None`: this is the first one.
    pub pass: Option<Pass>,
    /// Whether all that the hub has of the site is dropped first: the batch begins a whole copy.
    pub replaces_all: bool,
    /// Whether the copy is complete with this batch, as of the moment at which the site read it.
    pub is_last: bool,
    /// The rows, parents first.
    pub rows: Vec<ChangedRow>,
}

/// What a hub needs beside the database to give the site's own answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteContext {
    /// The configuration as a file, without channels and secrets.
    pub config: String,
    /// The present problems of the appliance, as sentences.
    pub problems: Vec<String>,
    /// The present notices, as sentences.
    pub notices: Vec<String>,
}

/// The answer to a [`SiteMessage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubAnswer {
    /// Understood; goes on.
    Accepted,
    /// The hub knows the site's database, and this pass is the one to continue with.
    Continue(Pass),
    /// The hub has no data of this database: send all of it.
    SendAll,
    /// The batch is committed, and the next one shows this pass.
    Committed(Pass),
    /// Not now: the hub's disk is full, or it stops. The same again later.
    Later(String),
    /// The hub does not take data from this appliance, and this is why and what mends it.
    Refused(String),
}

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Another version of the program has sent it.
    #[error(
        "it is of version {0} of the protocol, and this program knows version {PROTOCOL}; upgrade portscan where it is older"
    )]
    Version(u8),
    /// It is empty, too long, or damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Writes a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Writing to a vector cannot fail, and no type here has a sequence of unknown length.
    postcard::to_extend(message, vec![PROTOCOL]).unwrap_or_default()
}

/// Reads a message, all of it.
///
/// # Errors
/// It is of another version of the protocol, longer than [`MESSAGE_MAX`], or damaged.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    let damaged = |text: &str| MessageError::Damaged(text.to_owned());
    if bytes.len() > MESSAGE_MAX {
        return Err(damaged("it is longer than 1 MiB"));
    }
    match bytes.split_first() {
        None => Err(damaged("it is empty")),
        Some((&PROTOCOL, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err(damaged("bytes follow its end")),
            Err(error) => Err(MessageError::Damaged(error.to_string())),
        },
        Some((version, _)) => Err(MessageError::Version(*version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::RowValue;

    fn batch() -> SiteMessage {
        let key = vec![RowValue::Integer(1_796_074_882), RowValue::Text("B8:27:EB:AC:14:3E".to_owned())];
        let rest = Some(vec![RowValue::Null, RowValue::Blob(vec![0, 255])]);
        let rows = vec![ChangedRow { table: 3, key, rest }];
        SiteMessage::Batch(Batch { epoch: [7; 16], pass: None, replaces_all: true, is_last: false, rows })
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        assert_eq!(decode(&encode(&batch())), Ok(batch()));
    }

    #[test]
    fn what_is_not_exactly_a_message_is_an_error() {
        let whole = encode(&batch());
        for end in 0..whole.len() {
            assert!(decode::<SiteMessage>(&whole[..end]).is_err(), "the first {end} bytes");
        }
        assert!(decode::<SiteMessage>(&[&whole[..], &[0]].concat()).is_err());
        let later = [&[9], &whole[1..]].concat();
        assert_eq!(decode::<SiteMessage>(&later), Err(MessageError::Version(9)));
    }
}
