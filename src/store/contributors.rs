//! The observations that supply the state of an endpoint, and the state that results from them.
//!
//! The state of a port is that of the newest observation which covered it. So the state of an endpoint needs its newest
//! observation and, of the others, only those that cover a port which no newer one covers: usually none. The number of
//! earlier scans makes no difference.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    error::Result,
    row::{text, timestamp},
    verdicts::Verdicts,
};
use crate::{
    clock::EARLIEST_SANE,
    model::{PortSet, PortStatesByProtocol, Protocol, ScanId},
};

/// Limit of the results that are decoded for one page, beyond its first device, in bytes as stored: some 100 KB in
/// memory. A usual result has 40 bytes, that of a device with every other port open 100,000.
const PAGE_BYTES: usize = 16 * 1024;

/// The order of an endpoint's observations; the newest is the greatest. Our own are ordered by sequence number,
/// whatever the clock said. An import follows the last of our own that began no later than the import, whichever was
/// stored first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObservationOrder {
    /// The sequence number of our observation that it follows, or of itself.
    after: i64,
    /// `None` for our own, which sorts first; imports follow by time.
    import: Option<Timestamp>,
    seq: i64,
}

/// An observation that supplies ports of an endpoint's state, or is about to.
pub(super) struct Contributor {
    pub(super) scan: ScanId,
    pub(super) seq: i64,
    pub(super) protocol: Protocol,
    pub(super) started: Timestamp,
    /// `None`: the stored result is damaged. It supplies nothing, and must not keep later observations from being
    /// stored.
    pub(super) verdicts: Option<Verdicts>,
    pub(super) order: ObservationOrder,
}

impl ObservationOrder {
    /// The order of an observation of our own.
    pub(super) const fn own(seq: i64) -> Self {
        Self { after: seq, import: None, seq }
    }

    /// The order of an imported observation among the contributors of its endpoint. An observation with an implausible
    /// date gives no order.
    pub(super) fn of_import(started: Timestamp, seq: i64, newest_first: &[Contributor]) -> Self {
        let before = |known: &&Contributor| (EARLIEST_SANE..=started).contains(&known.started);
        let after = newest_first.iter().find(before).map_or(0, |known| known.order.after);
        Self { after, import: Some(started), seq }
    }

    /// The stored form: `None` for an observation of our own.
    pub(super) fn stored(self) -> Option<i64> {
        self.import.map(|_| self.after)
    }

    pub(super) const fn is_import(self) -> bool {
        self.import.is_some()
    }

    fn read(stored: Option<i64>, started: Timestamp, seq: i64) -> Self {
        stored.map_or(Self::own(seq), |after| Self { after, import: Some(started), seq })
    }
}

impl Contributor {
    pub(super) fn coverage(&self) -> PortSet {
        self.verdicts.as_ref().map_or_else(PortSet::default, |verdicts| verdicts.coverage().clone())
    }
}

/// The observations that supply an endpoint's state, newest first.
pub(super) fn contributors_of(connection: &Connection, endpoint: i64) -> Result<Vec<Contributor>> {
    let found = contributors_where(connection, "e.id = ?1 AND ?2 = ?1", (endpoint, endpoint), usize::MAX)?;
    Ok(found.contributors.into_values().next().unwrap_or_default())
}

/// The contributors of all endpoints of the devices with these rows, by endpoint, newest first.
pub(super) fn contributors_between(
    connection: &Connection,
    first: i64,
    last: i64,
) -> Result<HashMap<i64, Vec<Contributor>>> {
    Ok(contributors_where(connection, BETWEEN, (first, last), usize::MAX)?.contributors)
}

/// As [`contributors_between`], for as many of these devices as fit a page.
pub(super) fn contributors_of_page(
    connection: &Connection,
    first: i64,
    last: i64,
) -> Result<ContributorPage> {
    contributors_where(connection, BETWEEN, (first, last), PAGE_BYTES)
}

const BETWEEN: &str = "e.device BETWEEN ?1 AND ?2";

/// Contributors by endpoint, newest first.
#[derive(Default)]
pub(super) struct ContributorPage {
    pub(super) contributors: HashMap<i64, Vec<Contributor>>,
    /// The last device with its contributors on this page; `None` if the page is complete.
    pub(super) cut_after: Option<i64>,
}

/// Stops before the first device that begins after this many bytes.
fn contributors_where(
    connection: &Connection,
    filter: &str,
    (first, last): (i64, i64),
    most: usize,
) -> Result<ContributorPage> {
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
    let mut page = ContributorPage::default();
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
        page.contributors.entry(row.get(6)?).or_default().push(Contributor {
            scan: ScanId(row.get(0)?),
            seq,
            protocol: text(row, 2)?,
            started,
            verdicts: Verdicts::decode(body).ok(),
            order: ObservationOrder::read(row.get(4)?, started, seq),
        });
    }
    for contributors in page.contributors.values_mut() {
        contributors.sort_unstable_by_key(|known| Reverse(known.order));
    }
    Ok(page)
}

/// The combined state of these observations, given newest first.
pub(super) fn standings<'a>(newest_first: impl IntoIterator<Item = &'a Contributor>) -> PortStatesByProtocol {
    let mut standings = PortStatesByProtocol::new();
    for Contributor { scan, protocol, verdicts, .. } in newest_first {
        let standing = standings.entry(*protocol).or_default();
        standing.add_older(verdicts.iter().flat_map(|verdicts| verdicts.port_ranges(*scan)));
    }
    standings
}

/// Adds the contributors of another endpoint, which turned out to be the same, to those of this one.
pub(super) fn join_contributors(
    connection: &Connection,
    endpoint: i64,
    before: Vec<Contributor>,
    others: Vec<Contributor>,
) -> Result<()> {
    let listed = Listed::of(&before);
    let mut all = before;
    all.extend(others);
    all.sort_unstable_by_key(|known| Reverse(known.order));
    keep_contributors(connection, endpoint, &listed, &all)
}

/// The contributors that an endpoint has in the database, by their sequence numbers.
pub(super) struct Listed {
    latest: Option<i64>,
    earlier: Vec<i64>,
}

impl Listed {
    pub(super) fn of(newest_first: &[Contributor]) -> Self {
        let latest = newest_first.first().map(|known| known.seq);
        Self { latest, earlier: newest_first.iter().skip(1).map(|known| known.seq).collect() }
    }
}

/// Records which of an endpoint's observations, given newest first, supply its state. Writes nothing if nothing
/// changed, as after two scans of the same ports.
pub(super) fn keep_contributors(
    connection: &Connection,
    endpoint: i64,
    listed: &Listed,
    all: &[Contributor],
) -> Result<()> {
    let mut covered = BTreeMap::<Protocol, PortSet>::new();
    let mut superseded = Vec::new();
    for (index, known) in all.iter().enumerate() {
        let covered = covered.entry(known.protocol).or_default();
        let coverage = known.coverage();
        // The newest always counts: it says when the endpoint was scanned last.
        let counts = index == 0 || !coverage.is_subset(covered);
        *covered = covered.union(&coverage);
        let is_listed = listed.earlier.contains(&known.seq);
        if counts && index > 0 && !is_listed {
            let sql = "INSERT INTO earlier (endpoint, scan, seq) VALUES (?1, ?2, ?3)";
            connection.prepare_cached(sql)?.execute([endpoint, known.scan.0, known.seq])?;
        } else if is_listed && !(counts && index > 0) {
            superseded.push(known.seq);
        }
    }
    for seq in superseded {
        let sql = "DELETE FROM earlier WHERE endpoint = ?1 AND seq = ?2";
        connection.prepare_cached(sql)?.execute([endpoint, seq])?;
    }
    if let Some(newest) = all.first().filter(|newest| Some(newest.seq) != listed.latest) {
        let sql = "UPDATE endpoints SET latest_scan = ?2, latest_seq = ?3 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute([endpoint, newest.scan.0, newest.seq])?;
    }
    Ok(())
}

/// Keeps an import newer than a `new` observation of our own that began earlier but is stored later. An import that is
/// older than another of our observations is not kept newer: in that case our clock was set back.
pub(super) fn lift_imports(
    connection: &Connection,
    newest_first: &mut [Contributor],
    new: &Contributor,
) -> Result<()> {
    if new.order.is_import() || new.started < EARLIEST_SANE {
        return Ok(());
    }
    let imports = newest_first.iter_mut().take_while(|known| known.order.is_import());
    for import in imports.filter(|import| import.started >= new.started) {
        import.order.after = new.seq;
        let sql = "UPDATE observations SET place = ?3 WHERE scan = ?1 AND seq = ?2";
        connection.prepare_cached(sql)?.execute([import.scan.0, import.seq, new.seq])?;
    }
    newest_first.sort_unstable_by_key(|known| Reverse(known.order));
    Ok(())
}
