//! One byte per port: its verdict so far, and how often it was probed.

use std::time::Duration;

use crate::model::{Address, HostReport, HostStatus, PortFinding, PortSet, PortState, Protocol, Reason};

use super::order::Places;

/// What is known of a port, ordered by weight: a mark is replaced only by one that weighs at least as much, so that a
/// connection that was once accepted stays a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Mark {
    Unknown = 0,
    /// No reply yet; probed again.
    Silent = 1,
    /// An ICMP error that may pass: probed again, like silence.
    NetUnreach = 2,
    HostUnreach = 3,
    /// An ICMP error that is final: another probe would change nothing.
    IcmpError = 4,
    AdminProhibited = 5,
    Closed = 6,
    Open = 7,
}

impl Mark {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Silent,
        Self::NetUnreach,
        Self::HostUnreach,
        Self::IcmpError,
        Self::AdminProhibited,
        Self::Closed,
        Self::Open,
    ];

    /// The mark for an ICMP error with this reason.
    pub(super) const fn unreachable(reason: Reason) -> Self {
        match reason {
            Reason::NetUnreach => Self::NetUnreach,
            Reason::HostUnreach => Self::HostUnreach,
            Reason::AdminProhibited => Self::AdminProhibited,
            _ => Self::IcmpError,
        }
    }

    const fn is_final(self) -> bool {
        self as u8 >= Self::IcmpError as u8
    }

    /// State and reason in the report.
    const fn verdict(self) -> (PortState, Reason) {
        match self {
            Self::Open => (PortState::Open, Reason::SynAck),
            Self::Closed => (PortState::Closed, Reason::ConnRefused),
            Self::AdminProhibited => (PortState::Filtered, Reason::AdminProhibited),
            Self::IcmpError => (PortState::Filtered, Reason::IcmpError),
            Self::HostUnreach => (PortState::Filtered, Reason::HostUnreach),
            Self::NetUnreach => (PortState::Filtered, Reason::NetUnreach),
            Self::Unknown | Self::Silent => (PortState::Filtered, Reason::NoResponse),
        }
    }
}

/// Bits 0-2: mark; bits 3-6: tries that counted; bit 7: a probe is in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Cell(u8);

const TRY: u8 = 1 << 3;
const UNDER_WAY: u8 = 1 << 7;

impl Cell {
    const fn mark(self) -> Mark {
        Mark::ALL[(self.0 & 7) as usize]
    }

    const fn tries(self) -> u8 {
        (self.0 & !UNDER_WAY) >> 3
    }

    const fn is_under_way(self) -> bool {
        self.0 & UNDER_WAY != 0
    }
}

/// How a job ended, for its report.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) status: HostStatus,
    pub(super) detail: String,
}

impl Ending {
    pub(super) fn up() -> Self {
        Self { status: HostStatus::Up, detail: String::new() }
    }

    pub(super) fn partial(detail: &str) -> Self {
        Self { status: HostStatus::Partial, detail: detail.to_owned() }
    }

    pub(super) fn down(detail: &str) -> Self {
        Self { status: HostStatus::Down, detail: detail.to_owned() }
    }
}

/// The verdicts of one job.
#[derive(Debug)]
pub(super) struct Board {
    cells: Vec<Cell>,
    /// Round trips of open ports, in microseconds, in the order of the replies.
    rtts: Vec<(u32, u32)>,
    /// The number of ports without a final mark, by their number of tries.
    looked: [u32; 16],
    open: u32,
}

/// What the reply to a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoardChange {
    /// The port has one more try, and no final mark.
    Looked,
    /// The port has its verdict.
    Answered {
        /// Whether an earlier probe had stayed unanswered.
        late: bool,
    },
}

impl Board {
    pub(super) fn new(places: &Places) -> Self {
        let cells = vec![Cell::default(); places.len() as usize];
        let mut looked = [0; 16];
        looked[0] = places.len();
        Self { cells, rtts: Vec::new(), looked, open: 0 }
    }

    /// Ports without a final mark that had fewer tries than this.
    pub(super) fn lacking(&self, tries: u8) -> u32 {
        self.looked[..usize::from(tries)].iter().sum()
    }

    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// The places of the open ports, in the order of the replies.
    pub(super) fn open_places(&self) -> impl Iterator<Item = u32> {
        self.rtts.iter().map(|&(place, _)| place)
    }

    /// Whether the port needs a probe, if it may have this many tries.
    pub(super) fn is_due(&self, place: u32, tries: u8) -> bool {
        let cell = self.cells[place as usize];
        !cell.mark().is_final() && !cell.is_under_way() && cell.tries() < tries
    }

    /// Whether the port has a final mark or had this many tries.
    pub(super) fn is_settled(&self, place: u32, tries: u8) -> bool {
        let cell = self.cells[place as usize];
        cell.mark().is_final() || cell.tries() >= tries
    }

    pub(super) fn tries(&self, place: u32) -> u8 {
        self.cells[place as usize].tries()
    }

    /// Notes that a probe leaves.
    pub(super) fn start(&mut self, place: u32) {
        self.cells[place as usize].0 |= UNDER_WAY;
    }

    /// Notes that the probe came back without a result.
    pub(super) fn release(&mut self, place: u32) {
        self.cells[place as usize].0 &= !UNDER_WAY;
    }

    /// Notes the result of the probe.
    pub(super) fn settle(&mut self, place: u32, mark: Mark, rtt: Duration) -> BoardChange {
        let cell = &mut self.cells[place as usize];
        let (before, tries) = (cell.mark(), cell.tries());
        let mark = mark.max(before);
        let looks = (tries + 1).min(15);
        cell.0 = (looks * TRY) | mark as u8;
        if before.is_final() {
            return BoardChange::Answered { late: false };
        }
        self.looked[usize::from(tries)] -= 1;
        if !mark.is_final() {
            self.looked[usize::from(looks)] += 1;
            return BoardChange::Looked;
        }
        if mark == Mark::Open {
            self.open += 1;
            self.rtts.push((place, u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)));
        }
        BoardChange::Answered { late: tries > 0 }
    }

    /// Discounts an unanswered try that says nothing about the port after all, unless the port has a final mark by now.
    pub(super) fn forget_try(&mut self, place: u32) {
        let cell = &mut self.cells[place as usize];
        let tries = usize::from(cell.tries());
        if !cell.mark().is_final() && tries > 0 {
            cell.0 -= TRY;
            self.looked[tries] -= 1;
            self.looked[tries - 1] += 1;
        }
    }

    /// The commonest state of the covered ports other than open, closed if there is a tie, and the commonest reason of
    /// that state. Open is never the default: even if all ports are open, each is listed with its round trip.
    fn default(&self, covered: impl Iterator<Item = u32>, limited: bool) -> (PortState, Reason) {
        let mut counts = [0_u32; Mark::ALL.len()];
        covered.for_each(|place| counts[self.cells[place as usize].mark() as usize] += 1);
        let filtered =
            [Mark::Silent, Mark::AdminProhibited, Mark::HostUnreach, Mark::NetUnreach, Mark::IcmpError];
        let unheard = if limited { std::mem::take(&mut counts[Mark::Silent as usize]) } else { 0 };
        counts[Mark::Closed as usize] += unheard;
        let count = |mark: Mark| counts[mark as usize];
        let reason = filtered.into_iter().rev().max_by_key(|&mark| count(mark)).unwrap_or(Mark::Silent);
        let states = [(Mark::Closed, count(Mark::Closed)), (reason, filtered.into_iter().map(count).sum())];
        // Backwards, because `max_by_key` gives the last of equals.
        let commonest = states.into_iter().rev().max_by_key(|&(_, count)| count);
        let mark = commonest.map(|(mark, _)| mark).filter(|_| counts.iter().any(|&n| n > 0));
        match mark.unwrap_or(Mark::Silent) {
            Mark::Closed if unheard > 0 => (PortState::Closed, Reason::RstLimited),
            mark => mark.verdict(),
        }
    }

    /// The report. `needed` returns how many unanswered tries settle the port at a place; `limited`: the host limits
    /// its refusals, so that a silent port is closed.
    pub(super) fn report(
        &self,
        address: Address,
        places: &Places,
        needed: impl Fn(u32) -> u8,
        limited: bool,
        ending: Ending,
    ) -> HostReport {
        let covers = |place: &u32| match ending.status {
            HostStatus::Up => true,
            HostStatus::Partial => self.is_settled(*place, needed(*place)),
            HostStatus::Down => false,
        };
        let covered = || (0..places.len()).filter(covers);
        let (default_state, default_reason) = self.default(covered(), limited);
        let mut rtts = self.rtts.clone();
        rtts.sort_unstable();
        let finding = |place: u32| {
            let (state, reason) = match self.cells[place as usize].mark() {
                Mark::Silent if limited => (PortState::Closed, Reason::RstLimited),
                mark => mark.verdict(),
            };
            let rtt = rtts.binary_search_by_key(&place, |&(place, _)| place).ok();
            let rtt = rtt.map(|index| Duration::from_micros(rtts[index].1.into()));
            PortFinding { port: places.port(place), state, reason, rtt }
        };
        HostReport {
            address,
            status: ending.status,
            coverage: covered().map(|place| places.port(place)).collect::<PortSet>(),
            default_state,
            default_reason,
            findings: covered().map(finding).filter(|finding| finding.state != default_state).collect(),
            protocol: Protocol::Tcp,
            probes: 0,
            preparation: Duration::ZERO,
            scanning: Duration::ZERO,
            detail: ending.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_micros(700);

    fn board(ports: &str) -> (Board, Places) {
        let places = Places::new(&ports.parse().unwrap());
        (Board::new(&places), places)
    }

    fn report(board: &Board, places: &Places, status: HostStatus) -> HostReport {
        let ending = Ending { status, detail: String::new() };
        board.report("192.0.2.1".parse().unwrap(), places, |_| 2, false, ending)
    }

    #[test]
    fn a_port_that_accepted_once_stays_open() {
        let (mut board, places) = board("80");
        assert_eq!(board.settle(0, Mark::Silent, RTT), BoardChange::Looked);
        assert_eq!(board.settle(0, Mark::Open, RTT), BoardChange::Answered { late: true });
        assert_eq!(board.settle(0, Mark::Closed, RTT), BoardChange::Answered { late: false });
        let report = report(&board, &places, HostStatus::Up);
        assert_eq!((report.default_state, board.open(), board.lacking(15)), (PortState::Closed, 1, 0));
        assert_eq!(report.open_ports().collect::<Vec<_>>(), [80]);
    }

    #[test]
    fn the_default_is_the_commonest_state_but_open_and_ties_go_to_closed() {
        for (marks, state, reason) in [
            (vec![Mark::Open, Mark::Closed], PortState::Closed, Reason::ConnRefused),
            (vec![Mark::Open, Mark::Silent], PortState::Filtered, Reason::NoResponse),
            (
                vec![Mark::Closed, Mark::AdminProhibited, Mark::Silent],
                PortState::Filtered,
                Reason::NoResponse,
            ),
            (vec![Mark::Open, Mark::Open, Mark::Silent], PortState::Filtered, Reason::NoResponse),
            (vec![Mark::Open; 3], PortState::Closed, Reason::ConnRefused),
            (vec![Mark::HostUnreach; 2], PortState::Filtered, Reason::HostUnreach),
        ] {
            let (mut board, places) = board(&format!("1-{}", marks.len()));
            for (place, &mark) in (0..).zip(&marks) {
                board.settle(place, mark, RTT);
            }
            let report = report(&board, &places, HostStatus::Up);
            assert_eq!((report.default_state, report.default_reason), (state, reason), "{marks:?}");
            let differing = marks.iter().filter(|mark| mark.verdict().0 != state).count();
            assert_eq!(report.findings.len(), differing, "a reason alone is no finding: {marks:?}");
        }
    }

    #[test]
    fn a_partial_report_covers_what_is_settled() {
        let (mut board, places) = board("1-4");
        board.settle(0, Mark::Closed, RTT);
        board.settle(1, Mark::Silent, RTT);
        (0..2).for_each(|_| _ = board.settle(2, Mark::Silent, RTT));
        assert_eq!(report(&board, &places, HostStatus::Partial).coverage.to_string(), "1,3");
        assert_eq!((board.lacking(2), board.lacking(3)), (2, 3));
        (0..3).for_each(|place| board.forget_try(place));
        assert_eq!((board.lacking(2), board.lacking(3)), (3, 3));
        assert_eq!(report(&board, &places, HostStatus::Partial).coverage.to_string(), "1");
        assert!(report(&board, &places, HostStatus::Down).coverage.is_empty());
    }
}
