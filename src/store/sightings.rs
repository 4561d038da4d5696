//! Records sightings: feeds report which devices are there, each at all of its addresses.

use jiff::Timestamp;
use rusqlite::Connection;

use super::{change::DatabaseChange, error::Result, handle::Store, identity};
use crate::model::Device;

impl Store {
    /// Records that devices are there now: those that were `seen`, and those that were only reported (`reported`), if
    /// they have answered before. A sighting of an unchanged device is written at most hourly, and the changes of a
    /// device that keeps changing are limited in rate.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn record_sightings(&self, seen: Vec<Device>, reported: Vec<Device>) -> Result<()> {
        self.write_if(move |context| {
            // A device that cannot be looked up now is reported again in a minute.
            let is_known = |device: &Device| {
                context.connection.is_some_and(|it| identity::is_known(it, device).unwrap_or(false))
            };
            let seen = seen.into_iter().chain(reported.into_iter().filter(is_known)).collect();
            let now = context.now();
            let devices = context.state.sightings.due(seen, now);
            (!devices.is_empty()).then(|| RecordSightings { devices, at: context.wall() })
        })
        .await
    }
}

pub(super) struct RecordSightings {
    /// Each at all of its addresses.
    pub(super) devices: Vec<Vec<Device>>,
    pub(super) at: Timestamp,
}

impl DatabaseChange for RecordSightings {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        self.devices.iter().try_for_each(|device| identity::record_all_addresses(connection, device, self.at))
    }
}
