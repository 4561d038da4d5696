//! The present state of endpoints: the looks that supply it, and what they say together.
//!
//! A port is what the newest look says that covered it. So an endpoint needs its newest look, and of the others only
//! those that cover a port which nothing newer does: usually none. How many scans there were makes no
//! difference to any of this.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    Page, Store,
    error::Result,
    expected,
    identity::Credit,
    news,
    row::{device, text, timestamp},
    verdicts::Verdicts,
};
use crate::{
    clock::EARLIEST_SANE,
    model::{
        Device, DeviceKey, Expectation, Expected, PortSet, Protocol, ScanId, Standing, Standings,
        unconfirmed::Told,
    },
};

/// How much of what looks found is decoded for one page, beyond its first device, in bytes as stored: some 100 KB
/// in memory. A result of usual size has 40, that of a device with every other port open 100,000.
const PAGE_BYTES: usize = 16 * 1024;

/// Where a look stands among an endpoint's looks; the newest is the greatest. Ours are in the order of their
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

/// A look that supplies an endpoint's state, or is about to.
pub(super) struct Look {
    pub(super) scan: ScanId,
    pub(super) seq: i64,
    pub(super) protocol: Protocol,
    pub(super) started: Timestamp,
    /// `None`: what is stored is damaged. It says nothing, and must not keep later looks from being stored.
    pub(super) verdicts: Option<Verdicts>,
    pub(super) place: Place,
}

/// What is known of a device at one of its addresses, and what is expected of it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// The endpoint's row.
    pub row: i64,
    /// Names the device as long as it is remembered; ascending from page to page, and all of a device's endpoints are
    /// on one page, the main one first.
    pub device_row: i64,
    /// The device at this address.
    pub device: Device,
    /// Whether it answered our newest look there; `None`: we have not looked yet.
    pub up: Option<bool>,
    /// Whether no other device has been seen at that address since.
    pub is_holder: bool,
    /// Its ports.
    pub standings: Standings,
    /// What they should be.
    pub expected: Expected,
}

impl Store {
    /// What is known and expected of the endpoints of the devices after this one, device by device: of at most so
    /// many devices, and of fewer where there is much to say of each.
    ///
    /// # Errors
    /// The database fails, or the store is closed.
    pub async fn host_states(&self, after: i64, most: u32) -> Result<Page<HostState>> {
        self.read(move |connection| host_states(connection, after, most)).await
    }
}

impl Place {
    /// That of a look of our own.
    pub(super) const fn own(seq: i64) -> Self {
        Self { after: seq, import: None, seq }
    }

    /// That of an import among the looks that supply an endpoint's state. A look whose date cannot be right says
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

/// The looks that supply an endpoint's state, newest first.
pub(super) fn looks(connection: &Connection, endpoint: i64) -> Result<Vec<Look>> {
    let found = looks_where(connection, "e.id = ?1 AND ?2 = ?1", (endpoint, endpoint), usize::MAX)?;
    Ok(found.looks.into_values().next().unwrap_or_default())
}

/// The looks that supply the states of the endpoints of the devices with these rows, by endpoint, the newest first.
pub(super) fn looks_between(
    connection: &Connection,
    first: i64,
    last: i64,
) -> Result<HashMap<i64, Vec<Look>>> {
    Ok(looks_where(connection, BETWEEN, (first, last), usize::MAX)?.looks)
}

/// The same of as many of these devices as fit a page.
pub(super) fn looks_of_page(connection: &Connection, first: i64, last: i64) -> Result<PageOfLooks> {
    looks_where(connection, BETWEEN, (first, last), PAGE_BYTES)
}

const BETWEEN: &str = "e.device BETWEEN ?1 AND ?2";

/// Looks by endpoint, the newest first.
#[derive(Default)]
pub(super) struct PageOfLooks {
    pub(super) looks: HashMap<i64, Vec<Look>>,
    /// The last device whose looks are here; `None`: all are.
    pub(super) cut_after: Option<i64>,
}

/// Stops before the first device that begins beyond so many bytes.
fn looks_where(
    connection: &Connection,
    filter: &str,
    (first, last): (i64, i64),
    most: usize,
) -> Result<PageOfLooks> {
    // The order of the joins is fixed: the view is read for each endpoint, and never as a whole.
    let sql = format!(
        "SELECT o.scan, o.seq, o.protocol, o.started, o.place, r.body, e.id, e.device
         FROM endpoints e
         CROSS JOIN current c ON c.endpoint = e.id
         CROSS JOIN observations o ON o.scan = c.scan AND o.seq = c.seq
         CROSS JOIN results r ON r.id = o.result
         WHERE {filter} ORDER BY e.device"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([first, last])?;
    let mut page = PageOfLooks::default();
    let (mut bytes, mut device) = (0, None);
    while let Some(row) = rows.next()? {
        let next = Some(row.get::<_, i64>(7)?);
        if bytes > most && device != next {
            page.cut_after = device;
            break;
        }
        device = next;
        let body = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += body.len();
        let (seq, started) = (row.get(1)?, timestamp(row.get(3)?)?);
        page.looks.entry(row.get(6)?).or_default().push(Look {
            scan: ScanId(row.get(0)?),
            seq,
            protocol: text(row, 2)?,
            started,
            verdicts: Verdicts::decode(body).ok(),
            place: Place::read(row.get(4)?, started, seq),
        });
    }
    for looks in page.looks.values_mut() {
        looks.sort_unstable_by_key(|look| std::cmp::Reverse(look.place));
    }
    Ok(page)
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

/// Puts a look, whose row is written, among those that supply its endpoint's state, tells what it has changed, and
/// drops those that supply nothing any more.
pub(super) fn take_in(
    connection: &Connection,
    (credit, device): (Credit, &Device),
    before: Vec<Look>,
    look: Look,
    ended: Timestamp,
) -> Result<()> {
    let listed = Listed::of(&before);
    let mut all = before;
    lift_imports(connection, &mut all, &look)?;
    let index = all.partition_point(|known| known.place > look.place);
    tell_changes(connection, (credit, device), all.split_at(index), &look, ended)?;
    all.insert(index, look);
    keep_contributors(connection, credit.endpoint, &listed, &all)
}

/// Adds the looks of another endpoint, which turns out to be the same, to those that supply this one's state.
pub(super) fn join(
    connection: &Connection,
    endpoint: i64,
    before: Vec<Look>,
    others: Vec<Look>,
) -> Result<()> {
    let listed = Listed::of(&before);
    let mut all = before;
    all.extend(others);
    all.sort_unstable_by_key(|look| std::cmp::Reverse(look.place));
    keep_contributors(connection, endpoint, &listed, &all)
}

/// The looks that are on record as supplying an endpoint's state, by their sequence numbers.
struct Listed {
    latest: Option<i64>,
    earlier: Vec<i64>,
}

impl Listed {
    fn of(newest_first: &[Look]) -> Self {
        let latest = newest_first.first().map(|look| look.seq);
        Self { latest, earlier: newest_first.iter().skip(1).map(|look| look.seq).collect() }
    }
}

/// Records which of an endpoint's looks, newest first, supply its state. Writes nothing where there is nothing to
/// change, as after two looks at the same ports.
fn keep_contributors(connection: &Connection, endpoint: i64, listed: &Listed, all: &[Look]) -> Result<()> {
    let mut covered = BTreeMap::<Protocol, PortSet>::new();
    let mut spent = Vec::new();
    for (index, look) in all.iter().enumerate() {
        let covered = covered.entry(look.protocol).or_default();
        let coverage = look.coverage();
        // The newest always counts: it says when the endpoint was looked at last.
        let counts = index == 0 || !coverage.is_subset(covered);
        *covered = covered.union(&coverage);
        let is_listed = listed.earlier.contains(&look.seq);
        if counts && index > 0 && !is_listed {
            let sql = "INSERT INTO earlier (endpoint, scan, seq) VALUES (?1, ?2, ?3)";
            connection.prepare_cached(sql)?.execute([endpoint, look.scan.0, look.seq])?;
        } else if is_listed && !(counts && index > 0) {
            spent.push(look.seq);
        }
    }
    for seq in spent {
        let sql = "DELETE FROM earlier WHERE endpoint = ?1 AND seq = ?2";
        connection.prepare_cached(sql)?.execute([endpoint, seq])?;
    }
    if let Some(newest) = all.first().filter(|newest| Some(newest.seq) != listed.latest) {
        let sql = "UPDATE endpoints SET latest_scan = ?2, latest_seq = ?3 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute([endpoint, newest.scan.0, newest.seq])?;
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
/// the device is new has been told. The first look at another of its addresses opens what is not open elsewhere on it.
fn tell_changes(
    connection: &Connection,
    (credit, device): (Credit, &Device),
    (newer, older): (&[Look], &[Look]),
    look: &Look,
    ended: Timestamp,
) -> Result<()> {
    let is_import = look.place.import.is_some();
    let same = |looks: &&Look| looks.protocol == look.protocol;
    let known = || newer.iter().chain(older).filter(same);
    let open = |looks: Standings| looks.get(&look.protocol).map_or_else(PortSet::default, Standing::open);
    let (is_first, elsewhere) = match known().next() {
        Some(_) => (false, PortSet::default()),
        None => match open_elsewhere(connection, credit, look.protocol)? {
            Some(open) => (false, open),
            None => (true, PortSet::default()),
        },
    };
    if is_first || is_import && !newer.is_empty() {
        return Ok(());
    }
    let hidden = newer.iter().filter(same).fold(PortSet::default(), |all, look| all.union(&look.coverage()));
    let open_before = open(standings(known()));
    let told = Told {
        covered: look.coverage().minus(&hidden),
        open: open(standings([look])).minus(&hidden).minus(&elsewhere),
        at: ended,
        // An import's scanner looked as often as its owner wanted, and need not be there to look again.
        is_final: is_import,
    };
    news::settle(connection, (credit.endpoint, device, look.scan), look.protocol, &open_before, &told)
}

/// The ports that are open on a device's other endpoints; `None` where none of them was looked at for this protocol.
fn open_elsewhere(connection: &Connection, credit: Credit, protocol: Protocol) -> Result<Option<PortSet>> {
    let mut found = looks_between(connection, credit.device, credit.device)?;
    found.remove(&credit.endpoint);
    let known = found.values().map(standings).filter_map(|mut known| known.remove(&protocol));
    Ok(known
        .fold(None, |open: Option<PortSet>, standing| Some(open.unwrap_or_default().union(&standing.open()))))
}

/// Of all devices at an address the one that came last has it; one with a MAC before one without.
const HOSTS: &str = "
    SELECT e.id, d.mac, e.address, d.name, e.up, NOT EXISTS (
        SELECT 1 FROM endpoints o JOIN devices h ON h.id = o.device
        WHERE o.address = e.address AND o.held = 'now' AND o.id <> e.id
            AND (h.mac IS NOT NULL, o.last_seen, o.id) > (d.mac IS NOT NULL, e.last_seen, e.id)), d.id
    FROM devices d JOIN endpoints e ON e.device = d.id AND e.held = 'now'
    WHERE d.id BETWEEN ?1 AND ?2 ORDER BY d.id, instr(e.address, ':') > 0, e.id";

/// Four statements for a page, however many devices there are on it.
fn host_states(connection: &Connection, after: i64, most: u32) -> Result<Page<HostState>> {
    let (first, next) = (after.saturating_add(1), page_after(connection, after, most)?);
    let PageOfLooks { mut looks, cut_after } = looks_of_page(connection, first, next.unwrap_or(i64::MAX))?;
    let next = cut_after.or(next);
    let last = next.unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(HOSTS)?;
    let mut rows = statement.query([first, last])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        hosts.push(bare(row)?);
    }
    let mut expected = expected::between(connection, first, last)?;
    for host in &mut hosts {
        host.standings = standings(&looks.remove(&host.row).unwrap_or_default());
        let expected = expected.remove(&host.row).unwrap_or_default().into_iter();
        // What is expected of an address holds for the device that has it now.
        let holds = |it: &Expectation| host.is_holder || matches!(it.device, DeviceKey::Mac(_));
        host.expected = expected.filter(holds).collect();
    }
    Ok(Page { rows: hosts, next })
}

/// The last device of the page that begins after this row; `None` if there are no more pages.
fn page_after(connection: &Connection, after: i64, most: u32) -> Result<Option<i64>> {
    let sql = "SELECT id FROM devices WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET ?2";
    let skipped = i64::from(most) - 1;
    Ok(connection.prepare_cached(sql)?.query_row([after, skipped], |row| row.get(0)).optional()?)
}

/// An endpoint without what stands in other tables.
fn bare(row: &Row<'_>) -> Result<HostState> {
    Ok(HostState {
        row: row.get(0)?,
        device_row: row.get(6)?,
        device: device(row, 1)?,
        up: row.get(4)?,
        is_holder: row.get(5)?,
        standings: Standings::new(),
        expected: Expected::default(),
    })
}
