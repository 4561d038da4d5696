//! Inserts an observation: it supplies ports of its endpoint's state, and the changes that it found are reported.

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    contributors::{Contributor, Listed, contributors_between, keep_contributors, lift_imports, standings},
    endpoints::Credit,
    error::Result,
    unconfirmed,
};
use crate::model::{Device, PortSet, PortStates, Protocol, Standings, unconfirmed::Observed};

/// Adds an observation, which has its row already, to the contributors of its endpoint, reports the changes that it
/// found, and drops the contributors that no longer supply anything.
pub(super) fn insert_observation(
    connection: &Connection,
    (credit, device): (Credit, &Device),
    before: Vec<Contributor>,
    new: Contributor,
    ended: Timestamp,
) -> Result<()> {
    let listed = Listed::of(&before);
    let mut all = before;
    lift_imports(connection, &mut all, &new)?;
    let index = all.partition_point(|known| known.order > new.order);
    report_changes(connection, (credit, device), all.split_at(index), &new, ended)?;
    all.insert(index, new);
    keep_contributors(connection, credit.endpoint, &listed, &all)
}

/// Reports the changes that an observation found, for the ports that no newer one covers. An import reports nothing
/// unless it is the newest of all. The first observation of a device's ports of a protocol is no change, because the
/// new device itself is reported. The first one at another address of the device opens the ports that are not open
/// elsewhere on it.
fn report_changes(
    connection: &Connection,
    (credit, device): (Credit, &Device),
    (newer, older): (&[Contributor], &[Contributor]),
    new: &Contributor,
    ended: Timestamp,
) -> Result<()> {
    let is_import = new.order.is_import();
    let same = |known: &&Contributor| known.protocol == new.protocol;
    let known = || newer.iter().chain(older).filter(same);
    let open =
        |standings: Standings| standings.get(&new.protocol).map_or_else(PortSet::default, PortStates::open);
    let (is_first, elsewhere) = match known().next() {
        Some(_) => (false, PortSet::default()),
        None => match open_elsewhere(connection, credit, new.protocol)? {
            Some(open) => (false, open),
            None => (true, PortSet::default()),
        },
    };
    if is_first || is_import && !newer.is_empty() {
        return Ok(());
    }
    let hidden =
        newer.iter().filter(same).fold(PortSet::default(), |all, newer| all.union(&newer.coverage()));
    let open_before = open(standings(known()));
    let observed = Observed {
        covered: new.coverage().minus(&hidden),
        open: open(standings([new])).minus(&hidden).minus(&elsewhere),
        at: ended,
        // The other scanner scanned as often as its owner wanted, and may not be there to scan again.
        is_final: is_import,
    };
    unconfirmed::settle(
        connection,
        (credit.endpoint, device, new.scan),
        new.protocol,
        &open_before,
        &observed,
    )
}

/// The open ports of a device's other endpoints; `None` if none of them was scanned for this protocol.
fn open_elsewhere(connection: &Connection, credit: Credit, protocol: Protocol) -> Result<Option<PortSet>> {
    let mut found = contributors_between(connection, credit.device, credit.device)?;
    found.remove(&credit.endpoint);
    let known = found.values().map(standings).filter_map(|mut known| known.remove(&protocol));
    Ok(known
        .fold(None, |open: Option<PortSet>, standing| Some(open.unwrap_or_default().union(&standing.open()))))
}
