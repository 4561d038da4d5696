//! Inserts an observation: it supplies ports of its endpoint's state, and the changes that it found are reported.

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    contributors::{Contributor, Listed, contributors_between, keep_contributors, lift_imports, standings},
    endpoints::Credit,
    error::Result,
    expected, unconfirmed,
};
use crate::model::{
    Device, PortSet, PortState, PortStates, PortStatesByProtocol, Protocol, unconfirmed::Observed,
};

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
/// new device itself is reported. The first observation of further ports is no change either, except as
/// [`first_seen_open`] says. The first one at another address of the device opens the ports that are not open
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
    let open = |standings: PortStatesByProtocol| {
        standings.get(&new.protocol).map_or_else(PortSet::default, PortStates::open)
    };
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
    let mut open_now = open(standings([new])).minus(&hidden).minus(&elsewhere);
    if known().next().is_some() {
        let covered = known().fold(PortSet::default(), |all, known| all.union(&known.coverage()));
        let first_covered = open_now.minus(&covered);
        open_now = open_now.intersection(&covered).union(&first_seen_open(
            connection,
            device,
            new.protocol,
            first_covered,
        )?);
    }
    // Silence of a UDP port does not show that it has closed.
    let silent = standings([new]).get(&new.protocol).map(|states| states.in_state(PortState::OpenFiltered));
    let observed = Observed {
        covered: new.coverage().minus(&hidden).minus(&silent.unwrap_or_default()),
        open: open_now,
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

/// Returns which open ports are reported although no earlier observation covered them, so that they may have been open
/// for long. Of a device of which something is expected these are the unexpected ones: their owner has accepted a state
/// without them. Of any other device there are none: a full scan after a quick one is no news.
fn first_seen_open(
    connection: &Connection,
    device: &Device,
    protocol: Protocol,
    open: PortSet,
) -> Result<PortSet> {
    if open.is_empty() {
        return Ok(open);
    }
    let expected = expected::of(connection, device.mac, &device.address)?;
    if expected.is_empty() {
        return Ok(PortSet::default());
    }
    Ok(open.iter().filter(|&port| !expected.is(protocol, port, PortState::Open)).collect())
}

/// The open ports of a device's other endpoints; `None` if none of them was scanned for this protocol.
fn open_elsewhere(connection: &Connection, credit: Credit, protocol: Protocol) -> Result<Option<PortSet>> {
    let mut found = contributors_between(connection, credit.device, credit.device)?;
    found.remove(&credit.endpoint);
    let known = found.values().map(standings).filter_map(|mut known| known.remove(&protocol));
    Ok(known
        .fold(None, |open: Option<PortSet>, standing| Some(open.unwrap_or_default().union(&standing.open()))))
}
