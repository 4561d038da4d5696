//! The present state of devices: the looks that supply it, and what they say together.
//!
//! A port is what the newest look says that covered it. So a device needs its newest look, and of the others only
//! those that cover a port which nothing newer does: usually none. How many scans there were makes no
//! difference to any of this.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{
    Page, ScanId, Store,
    error::Result,
    expected,
    news::{self},
    reader::{mac, parsed, timestamp},
    verdicts::Verdicts,
};
use crate::{
    clock::EARLIEST_SANE,
    model::{
        Device, DeviceKey, Expectation, Expected, PortSet, Protocol, Standing, Standings, unconfirmed::Told,
    },
};

/// Devices of a page.
const PAGE: u32 = 128;

/// Where a look stands among a device's looks; the newest is the greatest. Ours are in the order of their
/// sequence numbers, whatever the clock said; an import follows the last of ours that was not begun after it,
/// whichever of the two came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The sequence number of ours.
    after: i64,
    /// Ours comes first, then by time.
    import: Option<Timestamp>,
    seq: i64,
}

/// A look that supplies a device's state, or is about to.
pub(super) struct Look {
    pub(super) scan: ScanId,
    pub(super) seq: i64,
    pub(super) protocol: Protocol,
    pub(super) started: Timestamp,
    /// `None`: what is stored is damaged. It says nothing, and must not keep later looks from being stored.
    pub(super) verdicts: Option<Verdicts>,
    pub(super) place: Place,
}

/// What is known of a device, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Names the device as long as it is remembered; ascending from page to page.
    pub row: i64,
    /// Who, and where it was last seen.
    pub device: Device,
    /// Whether it answered our newest look at it; `None`: we have not looked yet.
    pub up: Option<bool>,
    /// Whether nobody else has come to that address since.
    pub is_holder: bool,
    /// Its ports.
    pub standings: Standings,
    /// What they should be.
    pub expected: Expected,
}

impl Store {
    /// What is known and expected of every device, a page at a time. What was once imported under an address
    /// alone is left out as soon as a device with a MAC has that address.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn host_states(&self, after: i64) -> Result<Page<HostState>> {
        self.read(move |connection| host_states(connection, after)).await
    }
}

impl Place {
    /// That of a look of our own.
    pub(super) const fn own(seq: i64) -> Self {
        Self { after: seq, import: None, seq }
    }

    /// That of an import among the looks that supply a device's state. A look whose date cannot be right says
    /// nothing of what was before or after it.
    pub(super) fn of_import(started: Timestamp, seq: i64, newest_first: &[Look]) -> Self {
        let before = |look: &&Look| (EARLIEST_SANE..=started).contains(&look.started);
        let after = newest_first.iter().find(before).map_or(0, |look| look.place.after);
        Self { after, import: Some(started), seq }
    }

    /// As it is stored: nothing for a look of our own.
    pub(super) fn stored(self) -> Option<i64> {
        self.import.map(|_| self.after)
    }

    fn read(stored: Option<i64>, started: Timestamp, seq: i64) -> Self {
        stored.map_or(Self::own(seq), |after| Self { after, import: Some(started), seq })
    }
}

impl Look {
    fn coverage(&self) -> PortSet {
        self.verdicts.as_ref().map_or_else(PortSet::default, |verdicts| verdicts.coverage().clone())
    }
}

/// The looks that supply a device's state, newest first.
pub(super) fn looks(connection: &Connection, device: i64) -> Result<Vec<Look>> {
    Ok(looks_between(connection, device, device)?.remove(&device).unwrap_or_default())
}

/// The looks that supply the states of the devices with these rows, each device's newest first.
pub(super) fn looks_between(
    connection: &Connection,
    first: i64,
    last: i64,
) -> Result<HashMap<i64, Vec<Look>>> {
    let sql = "SELECT o.scan, o.seq, o.protocol, o.started, o.place, r.body, c.device
               FROM current c
               JOIN observations o ON o.scan = c.scan AND o.seq = c.seq
               JOIN results r ON r.id = o.result
               WHERE c.device BETWEEN ?1 AND ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([first, last])?;
    let mut looks: HashMap<i64, Vec<Look>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (seq, started) = (row.get(1)?, timestamp(row.get(3)?)?);
        looks.entry(row.get(6)?).or_default().push(Look {
            scan: ScanId(row.get(0)?),
            seq,
            protocol: parsed(row.get::<_, String>(2)?)?,
            started,
            verdicts: Verdicts::decode(row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?).ok(),
            place: Place::read(row.get(4)?, started, seq),
        });
    }
    for looks in looks.values_mut() {
        looks.sort_unstable_by_key(|look| std::cmp::Reverse(look.place));
    }
    Ok(looks)
}

/// What looks together say, newest first.
pub(super) fn standings<'a>(newest_first: impl IntoIterator<Item = &'a Look>) -> Standings {
    let mut standings = Standings::new();
    for look in newest_first {
        let standing = standings.entry(look.protocol).or_default();
        standing.add_older(look.verdicts.iter().flat_map(|verdicts| verdicts.stretches(look.scan)));
    }
    standings
}

/// Puts a look, whose row is written, among those that supply its device's state, tells what it has changed, and
/// drops those that supply nothing any more. Writes nothing to the list where there is nothing to change, as
/// after two looks at the same ports.
pub(super) fn take_in(
    connection: &Connection,
    (id, device): (i64, &Device),
    before: Vec<Look>,
    look: Look,
    ended: Timestamp,
) -> Result<()> {
    let latest = before.first().map(|look| look.seq);
    let known: Vec<i64> = before.iter().skip(1).map(|look| look.seq).collect();
    let mut all = before;
    lift_imports(connection, &mut all, &look)?;
    let index = all.partition_point(|known| known.place > look.place);
    tell_changes(connection, (id, device), all.split_at(index), &look, ended)?;
    all.insert(index, look);
    let mut covered = BTreeMap::<Protocol, PortSet>::new();
    let mut spent = Vec::new();
    for (index, look) in all.iter().enumerate() {
        let covered = covered.entry(look.protocol).or_default();
        let coverage = look.coverage();
        // The newest always counts: it says when the device was looked at last.
        let counts = index == 0 || !coverage.is_subset(covered);
        *covered = covered.union(&coverage);
        let is_listed = known.contains(&look.seq);
        if counts && index > 0 && !is_listed {
            let sql = "INSERT INTO earlier (device, scan, seq) VALUES (?1, ?2, ?3)";
            connection.prepare_cached(sql)?.execute([id, look.scan.0, look.seq])?;
        } else if !counts && is_listed {
            spent.push(look.seq);
        }
    }
    for seq in spent {
        let sql = "DELETE FROM earlier WHERE device = ?1 AND seq = ?2";
        connection.prepare_cached(sql)?.execute([id, seq])?;
    }
    if let Some(newest) = all.first().filter(|newest| Some(newest.seq) != latest) {
        let sql = "UPDATE devices SET latest_scan = ?2, latest_seq = ?3 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute([id, newest.scan.0, newest.seq])?;
    }
    Ok(())
}

/// Keeps imports newer than a look of our own that was begun before them and is stored after them, unless they are
/// older than another of ours: then it is our clock that was set back.
fn lift_imports(connection: &Connection, newest_first: &mut [Look], look: &Look) -> Result<()> {
    if look.place.import.is_some() || look.started < EARLIEST_SANE {
        return Ok(());
    }
    let imports = newest_first.iter_mut().take_while(|known| known.place.import.is_some());
    for import in imports.filter(|import| import.started >= look.started) {
        import.place.after = look.seq;
        let sql = "UPDATE observations SET place = ?3 WHERE scan = ?1 AND seq = ?2";
        connection.prepare_cached(sql)?.execute([import.scan.0, import.seq, look.seq])?;
    }
    newest_first.sort_unstable_by_key(|look| std::cmp::Reverse(look.place));
    Ok(())
}

/// Tells what a look has changed of what was known, for the ports that nothing newer covers. An import tells
/// nothing unless it is the newest of all. The first look at a device's ports of a protocol changes nothing: that
/// the device is new has been told.
fn tell_changes(
    connection: &Connection,
    (id, device): (i64, &Device),
    (newer, older): (&[Look], &[Look]),
    look: &Look,
    ended: Timestamp,
) -> Result<()> {
    let is_import = look.place.import.is_some();
    let same = |looks: &&Look| looks.protocol == look.protocol;
    let known = || newer.iter().chain(older).filter(same);
    if known().next().is_none() || is_import && !newer.is_empty() {
        return Ok(());
    }
    let open = |looks: Standings| looks.get(&look.protocol).map_or_else(PortSet::default, Standing::open);
    let hidden = newer.iter().filter(same).fold(PortSet::default(), |all, look| all.union(&look.coverage()));
    let open_before = open(standings(known()));
    let told = Told {
        covered: look.coverage().minus(&hidden),
        open: open(standings([look])).minus(&hidden),
        at: ended,
        // Whoever made it looked as often as he wanted, and need not be there to be asked again.
        is_final: is_import,
    };
    news::settle(connection, (id, device, look.scan), look.protocol, &open_before, &told)
}

/// Of all devices at an address the one that came last has it; one with a MAC before one without.
const HOSTS: &str = "
    SELECT d.id, d.mac, d.address, d.name, d.up, NOT EXISTS (
        SELECT 1 FROM devices o WHERE o.address = d.address AND o.id <> d.id
            AND (o.mac IS NOT NULL, o.last_seen, o.id) > (d.mac IS NOT NULL, d.last_seen, d.id))
    FROM devices d WHERE d.id > ?1 ORDER BY d.id LIMIT ?2";

/// Three statements for a page, however many devices there are on it.
fn host_states(connection: &Connection, after: i64) -> Result<Page<HostState>> {
    let mut statement = connection.prepare_cached(HOSTS)?;
    let mut rows = statement.query(params![after, PAGE])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        let host = bare(row)?;
        hosts.push((host.row, host));
    }
    if let (Some(&(first, _)), Some(&(last, _))) = (hosts.first(), hosts.last()) {
        let mut looks = looks_between(connection, first, last)?;
        let mut expected = expected::between(connection, first, last)?;
        for (row, host) in &mut hosts {
            host.standings = standings(&looks.remove(row).unwrap_or_default());
            let expected = expected.remove(row).unwrap_or_default().into_iter();
            // What is expected of an address holds for whoever has it now.
            let holds = |it: &Expectation| host.is_holder || matches!(it.device, DeviceKey::Mac(_));
            host.expected = expected.filter(holds).collect();
        }
    }
    let mut page = Page::of(hosts, PAGE);
    page.rows.retain(|host| host.is_holder || host.device.mac.is_some());
    Ok(page)
}

/// A device without what stands in other tables.
fn bare(row: &Row<'_>) -> Result<HostState> {
    Ok(HostState {
        row: row.get(0)?,
        device: Device { address: parsed(row.get::<_, String>(2)?)?, mac: mac(row, 1)?, name: row.get(3)? },
        up: row.get(4)?,
        is_holder: row.get(5)?,
        standings: Standings::new(),
        expected: Expected::default(),
    })
}
