//! Decides which device a report of a feed, a scan or an import belongs to.
//!
//! A device is its MAC if known, else its one address. **One device on the network is one row**, in whatever order
//! addresses, MACs, scans, imports and feeds report it: a report of an address without a MAC belongs to the device with
//! a MAC that has the address; and a row that is known only by its address becomes the row of the MAC that is found
//! there (`merge`). Only a sighting makes a row: an address that did not answer is no device, and a device that is only
//! announced gets a row when it answers.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    endpoints::{self, Credit},
    error::Result,
    events::{NewEvent, record_event},
    expected::has_baseline,
    merge,
    placement::{AddressStep, Claim, moved_to, place},
    presence::{GONE, THERE},
    row::mac,
};
use crate::model::{Address, ChangeKind, Device, Mac, ScanId};

/// The present row of a device.
struct Known {
    id: i64,
    mac: Option<Mac>,
    name: Option<String>,
    presence: String,
}

impl Known {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self { id: row.get(0)?, mac: mac(row, 1)?, name: row.get(2)?, presence: row.get(3)? })
    }
}

/// Records that a device was seen at all of these addresses and at no others. All of `seen` is one device.
pub(super) fn record_all_addresses(connection: &Connection, seen: &[Device], at: Timestamp) -> Result<()> {
    record(connection, seen, Claim::AllAddresses, at, None)
}

/// Records that a device was seen at an address, without information about its other addresses.
pub(super) fn record_sighting(
    connection: &Connection,
    device: &Device,
    at: Timestamp,
    scan: Option<ScanId>,
) -> Result<Credit> {
    record(connection, std::slice::from_ref(device), Claim::SomeAddresses, at, scan)?;
    let known = find(connection, device)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    credit(connection, &known, &device.address)
}

/// Credits an imported observation or sighting of this time. Without a MAC it belongs to the device that had the
/// address then. A report older than what is known moves no device and is no change.
pub(super) fn credit_import(
    connection: &Connection,
    device: &Device,
    at: Timestamp,
    scan: ScanId,
) -> Result<Credit> {
    let holder = match device.mac {
        None => holder_at(connection, &device.address, at)?,
        Some(mac) => match find(connection, device)? {
            None => learn(connection, mac, std::slice::from_ref(device))?,
            known => known,
        },
    };
    let known = match holder {
        None if device.mac.is_none() => find(connection, device)?,
        holder => holder,
    };
    let Some(known) = known else { return credit_stranger(connection, device, at, scan) };
    if at.as_millisecond() <= endpoints::last_seen(connection, known.id)? {
        let then = (at.as_millisecond(), at.as_millisecond());
        endpoints::note_past(connection, known.id, &device.address, then, endpoints::ONCE)?;
        absorb_from_past(connection, &known, &device.address, at)?;
        return credit(connection, &known, &device.address);
    }
    // A feed's name is preferred to one that another scanner looked up.
    let device = Device { name: known.name.or_else(|| device.name.clone()), ..device.clone() };
    record_sighting(connection, &device, at, Some(scan))
}

/// Records another address of a device that the same import has already named at an address: unless the device is known
/// to have left it, it has both. Without this, the later address would count as a move, and the ports open at one
/// address as found at the other.
pub(super) fn record_alias(connection: &Connection, device: &Device, at: Timestamp) -> Result<()> {
    let Some(known) = find(connection, device)? else { return Ok(()) };
    if endpoints::is_held(connection, known.id, &device.address, endpoints::LEFT)? {
        return Ok(());
    }
    endpoints::enter(connection, known.id, &device.address, at)?;
    merge::absorb_at(connection, (known.id, known.mac), &device.address)
}

/// Credits an imported observation of an unknown device.
fn credit_stranger(connection: &Connection, device: &Device, at: Timestamp, scan: ScanId) -> Result<Credit> {
    if is_newest(connection, scan)? {
        return record_sighting(connection, device, at, Some(scan));
    }
    // The device was there once; that it was not seen since is no change either.
    let id = insert(connection, device, at, GONE)?;
    let known = Known { id, mac: device.mac, name: None, presence: GONE.to_owned() };
    credit(connection, &known, &device.address)
}

/// Handles an old import that names a device at an address where a row is now known only by the address: both are the
/// same device, unless it is known to have left.
fn absorb_from_past(connection: &Connection, known: &Known, address: &Address, at: Timestamp) -> Result<()> {
    let is_past = endpoints::is_held(connection, known.id, address, endpoints::LEFT)?;
    if known.mac.is_none() || is_past || merge::nameless_at(connection, address)?.is_none() {
        return Ok(());
    }
    endpoints::enter(connection, known.id, address, at)?;
    merge::absorb_at(connection, (known.id, known.mac), address)
}

/// Credits an observation of a host that was down; `None` if nothing is known at the address. If the device has begun
/// to answer at another address since it was last seen here, it has moved.
pub(super) fn credit_absence(
    connection: &Connection,
    device: &Device,
    at: Timestamp,
    scan: ScanId,
) -> Result<Option<Credit>> {
    let Some(known) = find(connection, device)? else { return Ok(None) };
    let present = endpoints::held_by(connection, known.id)?;
    let Some(absent) = present.iter().find(|here| here.address == device.address) else { return Ok(None) };
    if let Some(successor) = moved_to(&present, absent) {
        endpoints::leave(connection, absent.endpoint)?;
        let here = Device { address: successor.address.clone(), mac: known.mac, name: None };
        let kind = ChangeKind::Moved { from: absent.address.clone() };
        record_event(connection, &NewEvent { at, scan: Some(scan), device: &here, kind, alert: false })?;
        return Ok(None);
    }
    Ok(Some(Credit { device: known.id, endpoint: absent.endpoint, mac: known.mac }))
}

fn record(
    connection: &Connection,
    seen: &[Device],
    claim: Claim,
    at: Timestamp,
    scan: Option<ScanId>,
) -> Result<()> {
    let Some(first) = seen.first() else { return Ok(()) };
    let name = seen.iter().find_map(|device| device.name.clone());
    let named = Device { name, ..first.clone() };
    let mut found = find(connection, first)?;
    if let Some(mac) = first.mac.filter(|_| found.is_none()) {
        found = learn(connection, mac, seen)?;
    }
    let known = match found {
        Some(known) => known,
        None => {
            let id = insert(connection, &named, at, THERE)?;
            let alert = has_baseline(connection)?;
            record_event(connection, &NewEvent { at, scan, device: &named, kind: ChangeKind::New, alert })?;
            let (mac, name) = (first.mac, named.name.clone());
            Known { id, mac, name, presence: THERE.to_owned() }
        }
    };
    // Reported without a MAC, a device may have addresses that the source does not know to be the same device's.
    let claim = if first.mac.is_some() { claim } else { Claim::SomeAddresses };
    let addresses: Vec<Address> = seen.iter().map(|device| device.address.clone()).collect();
    settle(connection, &known, &addresses, claim, (at, scan))?;
    if first.mac.is_some() {
        for address in &addresses {
            merge::absorb_at(connection, (known.id, known.mac), address)?;
            endpoints::evict_others(connection, known.id, address)?;
        }
    }
    if known.presence != THERE {
        let sql = "UPDATE devices SET presence = ?2 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![known.id, THERE])?;
        let device = Device { mac: known.mac, ..named.clone() };
        record_event(
            connection,
            &NewEvent { at, scan, device: &device, kind: ChangeKind::Back, alert: false },
        )?;
    }
    // A feed without the name does not delete the name.
    if named.name.is_some() && named.name != known.name {
        let sql = "UPDATE devices SET name = ?2, name_at = ?3 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![known.id, named.name, at.as_millisecond()])?;
    }
    Ok(())
}

/// Applies the steps of [`place`] to the endpoints of a device.
fn settle(
    connection: &Connection,
    known: &Known,
    seen: &[Address],
    claim: Claim,
    (at, scan): (Timestamp, Option<ScanId>),
) -> Result<()> {
    let present = endpoints::held_by(connection, known.id)?;
    let mut left = Vec::new();
    for step in place(&present, seen, claim, at.as_millisecond()) {
        match step {
            AddressStep::Keep(endpoint) => endpoints::touch(connection, endpoint, at)?,
            AddressStep::Add(address) => {
                endpoints::enter(connection, known.id, &address, at)?;
            }
            AddressStep::Leave(endpoint) => {
                endpoints::leave(connection, endpoint)?;
                left.push((endpoint, seen.first().cloned()));
            }
            AddressStep::Move { from, to } => {
                let entered = endpoints::enter(connection, known.id, &to, at)?;
                endpoints::carry_state(connection, from, entered)?;
                endpoints::leave(connection, from)?;
                left.push((from, Some(to)));
            }
        }
    }
    for (endpoint, to) in left {
        let from = present.iter().find(|here| here.endpoint == endpoint).map(|here| here.address.clone());
        if let Some((from, address)) = from.zip(to) {
            let device = Device { address, mac: known.mac, name: None };
            let kind = ChangeKind::Moved { from };
            record_event(connection, &NewEvent { at, scan, device: &device, kind, alert: false })?;
        }
    }
    Ok(())
}

/// Finds the device by its MAC; without a MAC, the one that has the address, or had it last.
fn find(connection: &Connection, device: &Device) -> Result<Option<Known>> {
    let by_mac = "SELECT id, mac, name, presence FROM devices WHERE mac = ?1";
    let by_address =
        "SELECT d.id, d.mac, d.name, d.presence FROM endpoints e JOIN devices d ON d.id = e.device
                      WHERE e.address = ?1 AND e.held <> 'left'
                      ORDER BY e.held <> 'now', d.mac IS NULL, e.last_seen DESC, e.id DESC LIMIT 1";
    let (sql, key) = match device.mac {
        Some(mac) => (by_mac, mac.to_string()),
        None => (by_address, device.address.to_string()),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(Known::read).transpose()
}

/// Whether a device has a row, including a row that is so far known only by the address.
pub(super) fn is_known(connection: &Connection, device: &Device) -> Result<bool> {
    let is_nameless = || Ok(merge::nameless_at(connection, &device.address)?.is_some());
    if find(connection, device)?.is_some() { Ok(true) } else { is_nameless() }
}

/// Finds the device with a MAC that had an address at a time: of those that were seen there before and after, or still
/// have it, the last that came; for a time before any sighting, the first that was seen there.
fn holder_at(connection: &Connection, address: &Address, at: Timestamp) -> Result<Option<Known>> {
    let sql = "SELECT d.id, d.mac, d.name, d.presence FROM endpoints e JOIN devices d ON d.id = e.device
               WHERE e.address = ?1 AND d.mac IS NOT NULL AND (?2 <= e.last_seen OR e.held = 'now')
               ORDER BY e.first_seen > ?2, abs(e.first_seen - ?2) LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![address.to_string(), at.as_millisecond()])?;
    rows.next()?.map(Known::read).transpose()
}

/// Gives a new MAC to the row that is known only by one of these addresses: it was this device all along.
fn learn(connection: &Connection, mac: Mac, seen: &[Device]) -> Result<Option<Known>> {
    for device in seen {
        if let Some(row) = merge::nameless_at(connection, &device.address)? {
            merge::learn_mac(connection, row, mac, &device.address)?;
            return find(connection, device);
        }
    }
    Ok(None)
}

fn credit(connection: &Connection, known: &Known, address: &Address) -> Result<Credit> {
    let endpoint = endpoints::of(connection, known.id, address)?;
    Ok(Credit { device: known.id, endpoint, mac: known.mac })
}

/// Whether an import was the newest scan of all when it began.
fn is_newest(connection: &Connection, scan: ScanId) -> Result<bool> {
    let sql = "SELECT coalesce(is_newest, id = (SELECT max(id) FROM scans)) FROM scans WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([scan.0], |row| row.get(0))?)
}

fn insert(connection: &Connection, device: &Device, at: Timestamp, presence: &str) -> Result<i64> {
    let sql = "INSERT INTO devices (mac, name, name_at, first_seen, presence)
               VALUES (?1, ?2, iif(?2 IS NULL, NULL, ?3), ?3, ?4)";
    let mac = device.mac.map(|mac| mac.to_string());
    connection.prepare_cached(sql)?.execute(params![mac, device.name, at.as_millisecond(), presence])?;
    let id = connection.last_insert_rowid();
    endpoints::enter(connection, id, &device.address, at)?;
    Ok(id)
}
