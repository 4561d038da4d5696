//! Records what ports and devices were identified as, and which devices fell silent after it.
//!
//! Only what is known gets a finding: an announcement of a device that never answered, or of a port that is closed, is
//! dropped. Both are announced again.

use std::collections::{HashMap, hash_map::Entry};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    change::{DatabaseChange, Urgency},
    contributors::{contributors_of, standings},
    endpoints::device_of,
    error::Result,
    events::{NewEvent, record_event},
    expected::has_baseline,
    handle::Store,
    identification_body::{encode_device, encode_port},
    identified::{self, IdentifiedPage, IdentifiedPort, PortPlace},
    row::{device, timestamp},
};
use crate::model::{
    Address, Certificate, ChangeKind, DeviceIdentification, DeviceKey, Evidence, IdentityPart,
    PortIdentification, PortSet, PortState, PortStatesByProtocol, Protocol,
};

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

    /// Returns what the ports of the devices with rows from `first` to `last` were identified as, for as many of these
    /// devices as fit a page.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn identified_ports(&self, first: i64, last: i64) -> Result<IdentifiedPage> {
        self.read(move |connection| identified::ports_of_page(connection, first, last)).await
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
            let row = PortPlace { endpoint, protocol: *protocol, port: *port };
            if is_closed(states, *protocol, *port) {
                continue;
            }
            if let Some(body) = encode_port(found) {
                let evidence = &found.evidence;
                report_changes(connection, row, found)?;
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

/// Removes the findings about ports that are closed according to the states of a device's endpoints.
pub(super) fn retain_open(found: &mut Vec<IdentifiedPort>, endpoints: &[(Address, PortStatesByProtocol)]) {
    found.retain(|found| {
        let states = endpoints.iter().find(|(address, _)| *address == found.address);
        states.is_none_or(|(_, states)| !is_closed(states, found.protocol, found.port))
    });
}

/// Reports which part of a port's identity differs from what the same method found before. A first finding is no
/// change, and neither is another version.
fn report_changes(connection: &Connection, row: PortPlace, found: &PortIdentification) -> Result<()> {
    let Some(before) = identified::port(connection, row, found.evidence.method)? else { return Ok(()) };
    let replaced = identity_changes(&before, found);
    if replaced.is_empty() {
        return Ok(());
    }
    let sql =
        "SELECT d.mac, e.address, d.name FROM endpoints e JOIN devices d ON d.id = e.device WHERE e.id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([row.endpoint])?;
    let Some(known) = rows.next()? else { return Ok(()) };
    let device = device(known, 0)?;
    let is_baseline = has_baseline(connection)?;
    for (part, from, to) in replaced {
        let ports = PortSet::from_ranges([(row.port, row.port)]);
        let kind = ChangeKind::Replaced { part, protocol: row.protocol, ports, from, to };
        // Owners renew certificates and replace software, but a host key lasts as long as the system.
        let alert = is_baseline && part == IdentityPart::HostKey;
        record_event(
            connection,
            &NewEvent { at: found.evidence.time, scan: None, device: &device, kind, alert },
        )?;
    }
    Ok(())
}

/// Returns each part that differs, with its old and its new value.
fn identity_changes(
    before: &PortIdentification,
    now: &PortIdentification,
) -> Vec<(IdentityPart, String, String)> {
    let mut changes = Vec::new();
    if let (Some(from), Some(to)) = (&before.host_key, &now.host_key)
        && from != to
    {
        changes.push((IdentityPart::HostKey, short(from), short(to)));
    }
    if let (Some(from), Some(to)) = (&before.certificate, &now.certificate)
        && from.fingerprint != to.fingerprint
    {
        changes.push((IdentityPart::Certificate, describe(from), describe(to)));
    }
    if let (Some(from), Some(to)) = (&before.product, &now.product)
        && !short(from).eq_ignore_ascii_case(&short(to))
    {
        changes.push((IdentityPart::Product, short(from), short(to)));
    }
    changes
}

/// The longest text of a change, in characters.
const CHANGE_MAX: usize = 100;

fn short(text: &str) -> String {
    text.chars().take(CHANGE_MAX).collect()
}

/// `CN=nas until 2027-01-01 (SHA-256 0a1b2c3d4e5f6071)`
fn describe(certificate: &Certificate) -> String {
    let Certificate { subject, not_after, fingerprint, .. } = certificate;
    let day = not_after.strftime("%Y-%m-%d");
    format!("{} until {day} (SHA-256 {})", short(subject), fingerprint.chars().take(16).collect::<String>())
}

fn silenced(connection: &Connection, device: &DeviceKey) -> Result<Option<Timestamp>> {
    let Some(row) = device_of(connection, device)? else { return Ok(None) };
    let sql = "SELECT silenced FROM devices WHERE id = ?1";
    let time: Option<i64> = connection.prepare_cached(sql)?.query_row([row], |row| row.get(0))?;
    time.map(timestamp).transpose()
}
