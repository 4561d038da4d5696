//! Columns as the types of `model`, and back. What does not read as its type is damage, never a panic.

use std::{str::FromStr, time::Duration};

use jiff::Timestamp;
use rusqlite::Row;

use super::error::{Result, StoreError};
use crate::model::{Address, Device, DeviceKey, Mac};

/// A device whose MAC, address and name are in three columns from this one on.
pub(super) fn device(row: &Row<'_>, first: usize) -> Result<Device> {
    Ok(Device { mac: mac(row, first)?, address: text(row, first + 1)?, name: row.get(first + 2)? })
}

/// The key of a device whose MAC and address are in two columns from this one on.
pub(super) fn key(row: &Row<'_>, first: usize) -> Result<DeviceKey> {
    match mac(row, first)? {
        Some(mac) => Ok(DeviceKey::Mac(mac)),
        None => Ok(DeviceKey::Address(text::<Address>(row, first + 1)?)),
    }
}

pub(super) fn mac(row: &Row<'_>, column: usize) -> Result<Option<Mac>> {
    row.get::<_, Option<String>>(column)?.map(parse).transpose()
}

/// A value that is stored as its text.
pub(super) fn text<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    parse(row.get::<_, String>(column)?)
}

/// A value from the text that is stored of it.
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

/// A duration as it is stored.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
