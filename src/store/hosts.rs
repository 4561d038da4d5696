//! Devices with everything known about them, a page at a time: eight statements for a page, however many devices are on
//! it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    contributors::{ContributorPage, contributors_of_page, standings},
    endpoints::device_of,
    error::Result,
    handle::Store,
    identifications::retain_open,
    identified::{self, IdentifiedPort},
    identity, names,
    page::Page,
    row::{device, parse, text, timestamp},
    unconfirmed,
};
use crate::model::{
    Address, Device, DeviceIdentification, DeviceKey, DeviceType, Evidence, Name, NameSource, PortSet,
    PortState, PortStates, PortStatesByProtocol, Protocol,
};

/// A device with everything known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Identifies the device as long as it is remembered; ascending from page to page. `None`: it has no row, because
    /// it has never answered and has no annotation.
    pub row: Option<i64>,
    /// Its MAC, its last known address, and its name from a feed.
    pub device: Device,
    /// The owner's annotation.
    pub words: Annotation,
    /// Its names: the owner's here and those of all other sources except the configuration.
    pub names: Vec<Name>,
    /// When it was seen for the first time, by the wall clock of then.
    pub first_seen: Timestamp,
    /// When it was last seen, at most an hour behind.
    pub last_seen: Timestamp,
    /// Every address that it has had, latest first.
    pub addresses: Vec<AddressRecord>,
    /// Its ports at each of its present addresses, the main one first.
    pub endpoints: Vec<(Address, PortStatesByProtocol)>,
    /// When its newest complete observation began, by the wall clock of then; `None` if there is none.
    pub scanned: Option<Timestamp>,
    /// Whether it is present, as far as is known.
    pub presence: Presence,
    /// The TCP ports that one observation has found open, and no second one yet.
    pub unconfirmed: PortSet,
    /// What its ports were identified as by all methods, without those that are closed now; those at the main address
    /// first.
    pub identified: Vec<IdentifiedPort>,
    /// What the device itself was identified as.
    pub identified_as: Vec<(DeviceIdentification, Evidence)>,
    /// When it fell silent after an identification; `None`: it did not, or its owner has said that it may be
    /// identified.
    pub silenced: Option<Timestamp>,
    /// Which ports were last found to have opened, and when; without those of the first observation.
    opened: Vec<Opened>,
}

/// Whether a device is present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// The last look found it up, at one of its addresses at least.
    Online,
    /// The last look at each of its addresses found it down, or it was not seen for long.
    Offline,
    /// This appliance has never looked.
    #[default]
    Unknown,
}

/// Ports that were found open, and when.
type Opened = (Timestamp, Protocol, PortSet);

/// The owner's notes about a device; `None` if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Its name, which precedes the names from feeds.
    pub name: Option<String>,
    /// Anything else.
    pub note: Option<String>,
    /// What kind of device it is.
    pub device_type: Option<DeviceType>,
    /// Its tags, each once; none contains a space.
    pub tags: Vec<String>,
}

/// A change of an annotation. `None` leaves the value as it is; `Some(None)` deletes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnotationPatch {
    /// See [`Annotation::name`].
    pub name: Option<Option<String>>,
    /// See [`Annotation::note`].
    pub note: Option<Option<String>>,
    /// See [`Annotation::device_type`].
    pub device_type: Option<Option<DeviceType>>,
    /// See [`Annotation::tags`].
    pub tags: Option<Vec<String>>,
    /// Whether the device may be identified again, although it fell silent after that.
    pub may_identify: bool,
}

/// An address that a device has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRecord {
    /// The address.
    pub address: Address,
    /// When the device was first seen there.
    pub first_seen: Timestamp,
    /// When the device was last seen there.
    pub last_seen: Timestamp,
    /// Whether the device has it now, as far as known.
    pub is_present: bool,
}

/// A port of a device, of one protocol, in the order in which ports are listed.
pub type PortKey = (Protocol, u16);

/// An open port of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPort {
    /// The protocol.
    pub protocol: Protocol,
    /// 0 to 65535.
    pub port: u16,
    /// The newest scan that found it open, at any address.
    pub scan: i64,
    /// At which of the device's addresses it is open.
    pub addresses: Vec<Address>,
}

impl Presence {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }

    /// Adds an address, which the last look of our own found up or down, if there was one.
    fn with(self, up: Option<bool>) -> Self {
        match (self, up) {
            (Self::Online, _) | (_, Some(true)) => Self::Online,
            (Self::Offline, _) | (_, Some(false)) => Self::Offline,
            (Self::Unknown, None) => Self::Unknown,
        }
    }
}

impl DeviceRecord {
    /// Returns the TCP ports that have a state at every present address, as far as any address has one.
    pub fn coverage(&self) -> PortSet {
        let tcp = |states: &PortStatesByProtocol| states.get(&Protocol::Tcp).map(PortStates::covered);
        let covered = self.endpoints.iter().filter_map(|(_, states)| tcp(states));
        covered.reduce(|all, one| all.intersection(&one)).unwrap_or_default()
    }

    /// A device without a row, at all of its reported addresses, the main one first.
    pub fn told<'a>(
        devices: impl Iterator<Item = &'a Device>,
        first_seen: Timestamp,
        last_seen: Timestamp,
    ) -> Option<Self> {
        let devices: Vec<&Device> = devices.collect();
        let name = devices.iter().find_map(|device| device.name.clone());
        let device = Device { name, ..(*devices.first()?).clone() };
        let record = |device: &&Device| {
            let address = device.address.clone();
            AddressRecord { address, first_seen, last_seen, is_present: true }
        };
        let named = device.name.clone();
        let names = named.map(|text| Name { text, source: NameSource::Feed, at: Some(first_seen) });
        Some(Self {
            row: None,
            words: Annotation::default(),
            names: names.into_iter().collect(),
            first_seen,
            last_seen,
            addresses: devices.iter().map(record).collect(),
            endpoints: Vec::new(),
            scanned: None,
            presence: Presence::Unknown,
            unconfirmed: PortSet::default(),
            identified: Vec::new(),
            identified_as: Vec::new(),
            silenced: None,
            opened: Vec::new(),
            device,
        })
    }

    /// Whether a port is open at any of the device's addresses.
    pub fn is_open(&self, protocol: Protocol, port: u16) -> bool {
        self.endpoints.iter().any(|(_, states)| {
            let range = states.get(&protocol).and_then(|states| states.at(port));
            range.is_some_and(|range| range.state == PortState::Open)
        })
    }

    /// Returns the first `most` or so open ports at any of the device's addresses, by protocol and port, beginning with
    /// `from`; and where the rest begins. A device may have 65,535, which are 20 MB if returned at once.
    pub fn open_ports_from(&self, from: PortKey, most: usize) -> (Vec<OpenPort>, Option<PortKey>) {
        let mut open: BTreeMap<PortKey, OpenPort> = BTreeMap::new();
        for (address, standings) in &self.endpoints {
            // From each address as many as are wanted in total, and one more to find where the rest begins.
            let mut left = most + 1;
            for (&protocol, standing) in standings.range(from.0..) {
                let first = if protocol == from.0 { from.1 } else { 0 };
                let found = standing.notable_from(first).filter(|(_, at)| at.state == PortState::Open);
                for (port, range) in found.take(left) {
                    left -= 1;
                    let scan = range.scan;
                    let first = OpenPort { protocol, port, scan, addresses: Vec::new() };
                    let known = open.entry((protocol, port)).or_insert(first);
                    known.scan = known.scan.max(scan);
                    known.addresses.push(address.clone());
                }
            }
        }
        let next = open.keys().nth(most).copied();
        (open.into_values().take(most).collect(), next)
    }

    /// All of them, for tests.
    #[cfg(test)]
    pub(super) fn open_ports(&self) -> Vec<OpenPort> {
        self.open_ports_from((Protocol::Ip, 0), usize::from(u16::MAX)).0
    }

    /// Returns since when a port is open: since it was last found opened, or since the device became known.
    pub fn open_since(&self, protocol: Protocol, port: u16) -> Timestamp {
        let of_it =
            |opened: &&(Timestamp, Protocol, PortSet)| opened.1 == protocol && opened.2.contains(port);
        self.opened.iter().find(of_it).map_or(self.first_seen, |(at, ..)| self.first_seen.max(*at))
    }
}

impl Store {
    /// Returns the devices after the one with this row: at most `most`, and fewer if their results are large. The first
    /// page is the one after [`i64::MIN`].
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn hosts(&self, after: i64, most: u32) -> Result<Page<DeviceRecord>> {
        self.read(move |connection| between(connection, after.saturating_add(1), i64::MAX, most)).await
    }

    /// Returns one device; an address means the device that has it now.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn host(&self, key: &DeviceKey) -> Result<Option<DeviceRecord>> {
        let key = key.clone();
        let read = move |connection: &Connection| {
            let Some(row) = device_of(connection, &key)? else { return Ok(None) };
            Ok(between(connection, row, row, 1)?.rows.pop())
        };
        self.read(read).await
    }

    /// Returns the row of a device; an address means the device that has it now.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn host_row(&self, key: &DeviceKey) -> Result<Option<i64>> {
        let key = key.clone();
        self.read(move |connection| device_of(connection, &key)).await
    }

    /// Gives a row to a device that is only known from feeds, so that its owner can annotate it.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn enter(&self, device: Device, at: Timestamp) -> Result<i64> {
        let enter = move |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            let credit = identity::record_sighting(&transaction, &device, at, None)?;
            transaction.commit()?;
            Ok(credit.device)
        };
        self.run_exclusive(enter).await
    }

    /// Changes the annotation of the device with this row; returns whether the device exists.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn annotate(&self, row: i64, patch: AnnotationPatch) -> Result<bool> {
        self.run_exclusive(move |connection| annotate(connection, row, &patch)).await
    }
}

/// The devices with rows from `first` to `last`, at most `most`.
fn between(connection: &Connection, first: i64, last: i64, most: u32) -> Result<Page<DeviceRecord>> {
    let sql = "SELECT i.device, i.mac, i.address, i.name, d.own_name, d.note, d.first_seen, i.last_seen,
                      d.presence = 'gone', d.own_type, d.tags, d.silenced
               FROM identities i JOIN devices d ON d.id = i.device
               WHERE i.device BETWEEN ?1 AND ?2 ORDER BY i.device LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![first, last, most])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        hosts.push((row.get(0)?, bare(row)?));
    }
    let is_full = hosts.len() >= most as usize;
    let Some(&(last, _)) = hosts.last() else { return Ok(Page::of(hosts, most)) };
    let ContributorPage { mut contributors, cut_after } = contributors_of_page(connection, first, last)?;
    let last = cut_after.unwrap_or(last);
    let mut identified = identified::ports_of_page(connection, first, last)?;
    let cut_after = identified.cut_after.or(cut_after);
    let last = cut_after.unwrap_or(last);
    hosts.retain(|&(row, _)| row <= last);
    // Read after the observations: in the other order, a port that is stored in between would look confirmed.
    let mut openings = unconfirmed::openings(connection, first, last)?;
    let mut opened = opened(connection, first, last)?;
    let mut addresses = addresses(connection, first, last)?;
    let mut names = names::between(connection, first, last)?;
    let mut identified_as = identified::devices_between(connection, first, last)?;
    for (row, host) in &mut hosts {
        let is_gone = host.presence == Presence::Offline;
        for (endpoint, up, record) in addresses.remove(row).unwrap_or_default() {
            if record.is_present {
                let newest_first = contributors.remove(&endpoint).unwrap_or_default();
                host.scanned = host.scanned.max(newest_first.first().map(|newest| newest.started));
                host.endpoints.push((record.address.clone(), standings(&newest_first)));
                host.presence = host.presence.with(up.filter(|_| !is_gone));
            }
            host.addresses.push(record);
        }
        host.unconfirmed = openings.remove(row).unwrap_or_default();
        host.opened = opened.remove(row).unwrap_or_default();
        host.names = names.remove(row).unwrap_or_default();
        host.identified = identified.ports.remove(row).unwrap_or_default();
        retain_open(&mut host.identified, &host.endpoints);
        host.identified_as = identified_as.remove(row).unwrap_or_default();
        host.addresses.sort_by_key(|record| std::cmp::Reverse(record.last_seen));
    }
    Ok(if is_full || cut_after.is_some() { Page::cut(hosts) } else { Page::of(hosts, most) })
}

/// A device without the data from other tables.
fn bare(row: &Row<'_>) -> Result<DeviceRecord> {
    Ok(DeviceRecord {
        row: Some(row.get(0)?),
        device: device(row, 1)?,
        words: Annotation {
            name: row.get(4)?,
            note: row.get(5)?,
            device_type: row.get::<_, Option<String>>(9)?.map(parse).transpose()?,
            tags: row
                .get::<_, Option<String>>(10)?
                .unwrap_or_default()
                .split(' ')
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
        },
        first_seen: timestamp(row.get(6)?)?,
        last_seen: timestamp(row.get(7)?)?,
        names: Vec::new(),
        addresses: Vec::new(),
        endpoints: Vec::new(),
        scanned: None,
        presence: if row.get(8)? { Presence::Offline } else { Presence::Unknown },
        unconfirmed: PortSet::default(),
        identified: Vec::new(),
        identified_as: Vec::new(),
        silenced: row.get::<_, Option<i64>>(11)?.map(timestamp).transpose()?,
        opened: Vec::new(),
    })
}

/// Each port with the last time it opened. The size is bounded by the number of ports, however often they open and
/// close.
fn opened(connection: &Connection, first: i64, last: i64) -> Result<HashMap<i64, Vec<Opened>>> {
    let sql = "SELECT i.device, c.at, c.protocol, c.ports
               FROM identities i JOIN changes c ON c.device = i.key
               WHERE i.device BETWEEN ?1 AND ?2 AND c.kind = 'opened' ORDER BY i.device, c.id DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut opened: HashMap<_, Vec<_>> = HashMap::new();
    let mut later: BTreeMap<(i64, Protocol), PortSet> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (device, protocol) = (row.get(0)?, text(row, 2)?);
        let ports: PortSet = text(row, 3)?;
        let later = later.entry((device, protocol)).or_default();
        let last_opened = ports.minus(later);
        if !last_opened.is_empty() {
            *later = later.union(&last_opened);
            opened.entry(device).or_default().push((timestamp(row.get(1)?)?, protocol, last_opened));
        }
    }
    Ok(opened)
}

/// The row of an endpoint, whether the last look of our own found it up, and its address.
type EndpointAddress = (i64, Option<bool>, AddressRecord);

/// Every address of the devices with rows from `first` to `last`.
fn addresses(connection: &Connection, first: i64, last: i64) -> Result<HashMap<i64, Vec<EndpointAddress>>> {
    let sql = "SELECT device, id, address, first_seen, last_seen, held = 'now', up FROM endpoints
               WHERE device BETWEEN ?1 AND ?2 ORDER BY device, instr(address, ':') > 0, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut addresses: HashMap<_, Vec<_>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let record = AddressRecord {
            address: text(row, 2)?,
            first_seen: timestamp(row.get(3)?)?,
            last_seen: timestamp(row.get(4)?)?,
            is_present: row.get(5)?,
        };
        addresses.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(6)?, record));
    }
    Ok(addresses)
}

fn annotate(connection: &Connection, row: i64, patch: &AnnotationPatch) -> Result<bool> {
    // Values that are not given stay as they are.
    let sql = "UPDATE devices SET own_name = iif(?2, ?3, own_name), note = iif(?4, ?5, note),
                   own_type = iif(?6, ?7, own_type), tags = iif(?8, ?9, tags), silenced = iif(?10, NULL, silenced)
               WHERE id = ?1";
    let AnnotationPatch { name, note, device_type, tags, may_identify } = patch;
    let changed = connection.execute(
        sql,
        params![
            row,
            name.is_some(),
            name.as_ref().and_then(Option::as_ref),
            note.is_some(),
            note.as_ref().and_then(Option::as_ref),
            device_type.is_some(),
            device_type.flatten().map(DeviceType::as_str),
            tags.is_some(),
            tags.as_ref().filter(|tags| !tags.is_empty()).map(|tags| tags.join(" ")),
            may_identify
        ],
    )?;
    Ok(changed > 0)
}
