//! Records what ports and devices were identified as, and which devices fell silent after it.
//!
//! Only what is known gets a finding: an announcement of a device that never answered, or of a port that is closed, is
//! dropped. Both are announced again.

use std::collections::{HashMap, hash_map::Entry};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    change::{DatabaseChange, Urgency},
    contributors::{contributors_between, contributors_of, standings},
    endpoints::device_of,
    error::Result,
    handle::Store,
    identification_body::{encode_device, encode_port},
    identified::{self, FoundPort, PortRow},
    row::{key, text, timestamp},
};
use crate::model::{
    Address, DeviceIdentification, DeviceKey, Evidence, PortIdentification, PortState, PortStatesByProtocol,
    Protocol,
};

/// What one port of a device was identified as by one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedPort {
    /// The device.
    pub device: DeviceKey,
    /// The address of the device at which the port is.
    pub address: Address,
    /// The transport.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// What was found; the method is that of its evidence.
    pub found: PortIdentification,
}

impl Store {
    /// Records what ports were identified as. Each replaces what the same method said of the same port; the same
    /// content is stored once, and its date moves at most once a day. Texts are cut so that a port takes at most 2 KB.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn record_identifications(&self, found: Vec<IdentifiedPort>) -> Result<()> {
        self.write(move |_| RecordIdentifications { found }).await
    }

    /// Records what devices were identified as. Each replaces what the same method said of the same device.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn record_device_identifications(
        &self,
        found: Vec<(DeviceKey, DeviceIdentification, Evidence)>,
    ) -> Result<()> {
        self.write(move |_| RecordDeviceIdentifications { found }).await
    }

    /// Returns what the ports of a device were identified as by all methods, without the ports that are closed now.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn identifications(&self, device: &DeviceKey) -> Result<Vec<IdentifiedPort>> {
        let device = device.clone();
        self.read(move |connection| identifications(connection, &device)).await
    }

    /// Records that a device fell silent within 30 s of an identification, at this wall time.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn record_silence(&self, device: &DeviceKey, time: Timestamp) -> Result<()> {
        let device = device.clone();
        self.write(move |_| RecordSilence { device, time }).await
    }

    /// Returns when a device fell silent after an identification; `None`: it did not, or its owner has said since that
    /// it may be identified.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn silenced(&self, device: &DeviceKey) -> Result<Option<Timestamp>> {
        let device = device.clone();
        self.read(move |connection| silenced(connection, &device)).await
    }
}

struct RecordIdentifications {
    found: Vec<IdentifiedPort>,
}

impl DatabaseChange for RecordIdentifications {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Paced
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        let mut states: HashMap<i64, PortStatesByProtocol> = HashMap::new();
        for IdentifiedPort { device, address, protocol, port, found } in &self.found {
            let Some(endpoint) = endpoint_of(connection, device, address)? else { continue };
            let states = match states.entry(endpoint) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unread) => unread.insert(standings(&contributors_of(connection, endpoint)?)),
            };
            let row = PortRow { endpoint, protocol: *protocol, port: *port };
            if is_closed(states, *protocol, *port) {
                continue;
            }
            if let Some(body) = encode_port(found) {
                let evidence = &found.evidence;
                identified::keep_port(connection, row, (evidence.method, &body, evidence.time))?;
            }
        }
        Ok(())
    }
}

struct RecordDeviceIdentifications {
    found: Vec<(DeviceKey, DeviceIdentification, Evidence)>,
}

impl DatabaseChange for RecordDeviceIdentifications {
    type Answer = ();

    fn urgency(&self) -> Urgency {
        Urgency::Paced
    }

    fn apply(&self, connection: &Connection) -> Result<()> {
        for (device, found, evidence) in &self.found {
            let Some(row) = device_of(connection, device)? else { continue };
            if let Some(body) = encode_device(found, evidence) {
                identified::keep_device(connection, row, (evidence.method, &body, evidence.time))?;
            }
        }
        Ok(())
    }
}

struct RecordSilence {
    device: DeviceKey,
    time: Timestamp,
}

impl DatabaseChange for RecordSilence {
    type Answer = ();

    fn apply(&self, connection: &Connection) -> Result<()> {
        let Some(row) = device_of(connection, &self.device)? else { return Ok(()) };
        let sql = "UPDATE devices SET silenced = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![row, self.time.as_millisecond()])?;
        Ok(())
    }
}

/// The endpoint of a device at an address that it has.
fn endpoint_of(connection: &Connection, device: &DeviceKey, address: &Address) -> Result<Option<i64>> {
    let Some(device) = device_of(connection, device)? else { return Ok(None) };
    let sql = "SELECT id FROM endpoints WHERE device = ?1 AND address = ?2 AND held = 'now'";
    let found =
        connection.prepare_cached(sql)?.query_row(params![device, address.to_string()], |row| row.get(0));
    Ok(found.optional()?)
}

/// Whether a port is known not to be open. A port that no scan has covered may be.
fn is_closed(states: &PortStatesByProtocol, protocol: Protocol, port: u16) -> bool {
    let range = states.get(&protocol).and_then(|states| states.at(port));
    range.is_some_and(|range| !matches!(range.state, PortState::Open | PortState::OpenFiltered))
}

/// Removes the findings about ports that are closed according to the states of their endpoint.
pub(super) fn retain_open(found: &mut Vec<FoundPort>, states: &HashMap<i64, PortStatesByProtocol>) {
    found.retain(|found| {
        states.get(&found.endpoint).is_none_or(|states| !is_closed(states, found.protocol, found.port))
    });
}

fn identifications(connection: &Connection, device: &DeviceKey) -> Result<Vec<IdentifiedPort>> {
    let Some(row) = device_of(connection, device)? else { return Ok(Vec::new()) };
    let mut found = identified::ports_of_page(connection, row, row)?.ports.remove(&row).unwrap_or_default();
    let states = contributors_between(connection, row, row)?;
    let states = states.into_iter().map(|(endpoint, known)| (endpoint, standings(&known))).collect();
    retain_open(&mut found, &states);
    let sql =
        "SELECT e.id, d.mac, e.address FROM endpoints e JOIN devices d ON d.id = e.device WHERE d.id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([row])?;
    let mut endpoints: HashMap<i64, (DeviceKey, Address)> = HashMap::new();
    while let Some(row) = rows.next()? {
        endpoints.insert(row.get(0)?, (key(row, 1)?, text(row, 2)?));
    }
    let identified = found.into_iter().filter_map(|FoundPort { endpoint, protocol, port, found }| {
        let (device, address) = endpoints.get(&endpoint)?.clone();
        Some(IdentifiedPort { device, address, protocol, port, found })
    });
    Ok(identified.collect())
}

fn silenced(connection: &Connection, device: &DeviceKey) -> Result<Option<Timestamp>> {
    let Some(row) = device_of(connection, device)? else { return Ok(None) };
    let sql = "SELECT silenced FROM devices WHERE id = ?1";
    let time: Option<i64> = connection.prepare_cached(sql)?.query_row([row], |row| row.get(0))?;
    time.map(timestamp).transpose()
}
