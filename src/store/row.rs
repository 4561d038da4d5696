//! Converts columns to the types of `model` and back. A value that does not parse is damage, never a panic.

use std::{str::FromStr, time::Duration};

use jiff::Timestamp;
use rusqlite::Row;

use super::error::{Result, StoreError};
use crate::model::{Address, Device, DeviceKey, Mac};

/// Reads a device from the three columns MAC, address and name, beginning with this one.
pub(super) fn device(row: &Row<'_>, first: usize) -> Result<Device> {
    Ok(Device { mac: mac(row, first)?, address: text(row, first + 1)?, name: row.get(first + 2)? })
}

/// Reads the key of a device from the two columns MAC and address, beginning with this one.
pub(super) fn key(row: &Row<'_>, first: usize) -> Result<DeviceKey> {
    match mac(row, first)? {
        Some(mac) => Ok(DeviceKey::Mac(mac)),
        None => Ok(DeviceKey::Address(text::<Address>(row, first + 1)?)),
    }
}

pub(super) fn mac(row: &Row<'_>, column: usize) -> Result<Option<Mac>> {
    row.get::<_, Option<String>>(column)?.map(parse).transpose()
}

/// Reads a value that is stored as text.
pub(super) fn text<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    parse(row.get::<_, String>(column)?)
}

/// Parses a value from its stored text.
pub(super) fn parse<T>(text: impl AsRef<str>) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.as_ref().parse().map_err(|error: T::Err| StoreError::Damaged(error.to_string()))
}

pub(super) fn timestamp(milliseconds: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(super) fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

/// The stored form of a duration.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
