//! Splits the rows of one device into portions, because one device may have 65,535 of them. Pure. The rows are read
//! anew for each portion, so that nothing but a [`Spot`] is remembered while a slow reader takes its time.

use std::ops::RangeInclusive;

use crate::model::{PortStates, PortStatesByProtocol, Protocol};

/// Rows of a portion: some 10 KB of JSON.
pub(super) const ROWS: usize = 64;

/// A device with more rows than this is read block by block.
const FEW: usize = 512;

/// Ports of a block.
const BLOCK: u16 = 4096;

/// The blocks of all ports of one protocol.
const BLOCKS: usize = 16;

/// Where a device's next portion begins: the block, and how many of its rows have been returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    block: usize,
    returned: usize,
}

/// The ports of one endpoint that a block covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The endpoint, counted from 0.
    pub(super) endpoint: usize,
    pub(super) protocol: Protocol,
    pub(super) ports: RangeInclusive<u16>,
}

/// Returns the next rows of a device with at most `rows` rows on this many endpoints, and where the rows after them
/// begin. `rows_of` returns all rows of a block, or of the device (`None`), always in the same order.
pub(super) fn portion<T>(
    endpoints: usize,
    rows: usize,
    from: Spot,
    rows_of: impl Fn(Option<Block>) -> Vec<T>,
) -> (Vec<T>, Option<Spot>) {
    let Spot { mut block, mut returned } = from;
    let mut found = Vec::new();
    for next in blocks(endpoints, rows).skip(block) {
        let rows = rows_of(next);
        let (end, all) = (returned + ROWS - found.len(), rows.len());
        found.extend(rows.into_iter().take(end).skip(returned));
        if all > end {
            return (found, Some(Spot { block, returned: end }));
        }
        (block, returned) = (block + 1, 0);
    }
    (found, None)
}

/// Returns every block of a device with this many endpoints and rows; `None` stands for the whole device.
pub(super) fn blocks(endpoints: usize, rows: usize) -> impl Iterator<Item = Option<Block>> {
    (0..count(endpoints, rows)).map(move |block| if rows > FEW { nth(block) } else { None })
}

const fn count(endpoints: usize, rows: usize) -> usize {
    if rows > FEW { endpoints * Protocol::ALL.len() * BLOCKS } else { 1 }
}

/// Returns a block by its number: endpoint by endpoint, protocol by protocol.
fn nth(block: usize) -> Option<Block> {
    let (of_protocol, index) = (block / BLOCKS, block % BLOCKS);
    let mut protocols = Protocol::ALL.to_vec();
    protocols.sort_unstable();
    let protocol = *protocols.get(of_protocol % protocols.len())?;
    let first = u16::try_from(index).ok()? * BLOCK;
    Some(Block { endpoint: of_protocol / protocols.len(), protocol, ports: first..=first + (BLOCK - 1) })
}

/// Restricts the port states to a block.
pub(super) fn within(standings: &PortStatesByProtocol, block: &Block) -> PortStatesByProtocol {
    let Block { protocol, ports, .. } = block;
    let standing = standings.get(protocol).map(|standing| standing.within(*ports.start(), *ports.end()));
    standing.map(|standing| (*protocol, standing)).into_iter().collect()
}

/// Counts the ports for which there may be a row.
pub(super) fn count_named(standings: &PortStatesByProtocol) -> usize {
    let named = standings.values().flat_map(PortStates::ranges).filter(|at| at.listed || at.is_notable());
    named.map(|at| usize::from(at.last - at.first) + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the portions of these rows, each a place in (endpoint, protocol, port).
    fn portions_of(endpoints: usize, all: &[(usize, Protocol, u16)]) -> Vec<Vec<(usize, Protocol, u16)>> {
        let rows_of = |block: Option<Block>| {
            let is_in = |&&(endpoint, protocol, port): &&(usize, Protocol, u16)| {
                block.as_ref().is_none_or(|block| {
                    block.endpoint == endpoint && block.protocol == protocol && block.ports.contains(&port)
                })
            };
            all.iter().filter(is_in).copied().collect::<Vec<_>>()
        };
        let mut portions = Vec::new();
        let mut next = Some(Spot::default());
        while let Some(spot) = next {
            let (rows, after) = portion(endpoints, all.len(), spot, rows_of);
            portions.push(rows);
            next = after;
        }
        portions
    }

    #[test]
    fn portions_are_small_and_return_each_row_once_in_order() {
        let mut protocols = Protocol::ALL.to_vec();
        protocols.sort_unstable();
        for step in [31, 997, 4096, 30_000] {
            let mut all = Vec::new();
            for endpoint in 0..2 {
                for &protocol in &protocols {
                    all.extend((0..=u16::MAX).step_by(step).map(|port| (endpoint, protocol, port)));
                }
            }
            let portions = portions_of(2, &all);
            assert!(portions.iter().all(|rows| rows.len() <= ROWS), "step {step}");
            assert!(portions.len() <= all.len() / ROWS + 1, "step {step}");
            assert!(portions.concat() == all, "step {step}");
        }
    }

    #[test]
    fn a_device_without_rows_has_one_empty_portion() {
        assert_eq!(portions_of(1, &[]), [vec![]]);
    }
}
