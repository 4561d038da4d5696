//! Reads devices one after the other, each in portions.

use std::collections::VecDeque;

use futures_util::{Stream, stream};

use super::portions::{ROWS, Spot};
use crate::store::{HostState, StoreError};

/// How far a reader is: all that is remembered of it between two portions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// All devices up to this one have been returned.
    pub(super) after: i64,
    /// The device of which only a part has been returned, and where the rest begins.
    within: Option<(i64, Spot)>,
}

/// Some rows, and where to continue; `None` at the end.
pub(super) type Portion<T> = (Vec<T>, Option<Walk>);

impl Walk {
    /// Continues in the middle of this device, or after it.
    pub(super) fn after(device: i64, spot: Option<Spot>) -> Self {
        match spot {
            Some(spot) => Self { after: device.saturating_sub(1), within: Some((device, spot)) },
            None => Self { after: device, within: None },
        }
    }

    /// Returns where to begin with this device.
    pub(super) fn spot_in(&self, device: i64) -> Spot {
        self.within.filter(|(row, _)| *row == device).map(|(_, spot)| spot).unwrap_or_default()
    }

    /// Returns the rows of these devices, at most one portion. `next` is the last device of the page, unless it is the
    /// last page.
    pub(super) fn through<'a, T>(
        self,
        devices: impl Iterator<Item = &'a [HostState]>,
        next: Option<i64>,
        rows_of: impl Fn(&'a [HostState], Spot) -> (Vec<T>, Option<Spot>),
    ) -> Portion<T> {
        let row = |endpoints: &[HostState]| endpoints.first().map_or(0, |host| host.device_row);
        self.through_rows(devices.map(|endpoints| (row(endpoints), endpoints)), next, rows_of)
    }

    /// As [`Walk::through`], for any data about devices, each with its row.
    pub(super) fn through_rows<D, T>(
        self,
        devices: impl Iterator<Item = (i64, D)>,
        next: Option<i64>,
        rows_of: impl Fn(D, Spot) -> (Vec<T>, Option<Spot>),
    ) -> Portion<T> {
        let mut found = Vec::new();
        for (row, device) in devices {
            let (rows, spot) = rows_of(device, self.spot_in(row));
            found.extend(rows);
            if spot.is_some() || found.len() >= ROWS {
                return (found, Some(Self::after(row, spot)));
            }
        }
        (found, next.map(|row| Self::after(row, None)))
    }
}

/// Streams all rows. A portion is read when it is needed, and nothing is remembered of what was read.
pub(super) fn walked<T, F>(read: impl Fn(Walk) -> F) -> impl Stream<Item = Result<Vec<T>, StoreError>>
where
    F: Future<Output = Result<Portion<T>, StoreError>>,
{
    let start = Walk { after: i64::MIN, within: None };
    stream::try_unfold((Some(start), read), async |(walk, read)| {
        let Some(walk) = walk else { return Ok(None) };
        let (rows, next) = read(walk).await?;
        Ok(Some((rows, (next, read))))
    })
}

/// Streams all rows of devices that are listed many at a time and read one by one. `list` returns the devices after a
/// given one, and the last of them if there may be more; `read` returns the next rows of one device.
pub(super) fn one_by_one<D, T, L, R>(
    list: impl Fn(i64) -> L,
    read: impl Fn(D, Spot) -> R,
) -> impl Stream<Item = Result<Vec<T>, StoreError>>
where
    D: Clone,
    L: Future<Output = Result<(Vec<D>, Option<i64>), StoreError>>,
    R: Future<Output = Result<(Vec<T>, Option<Spot>), StoreError>>,
{
    let start = (VecDeque::new(), Some(i64::MIN), Spot::default());
    stream::try_unfold((start, list, read), async |((mut devices, mut next, mut spot), list, read)| {
        let mut found = Vec::new();
        while found.len() < ROWS {
            let Some(device) = devices.front().cloned() else {
                let Some(after) = next else { break };
                let (listed, after) = list(after).await?;
                (devices, next) = (listed.into(), after);
                continue;
            };
            let (rows, after) = read(device, spot).await?;
            found.extend(rows);
            spot = after.unwrap_or_default();
            if after.is_none() {
                devices.pop_front();
            }
        }
        Ok((!found.is_empty()).then_some((found, ((devices, next, spot), list, read))))
    })
}
