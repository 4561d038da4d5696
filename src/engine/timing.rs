//! What the timing templates mean.

use std::time::Duration;

use crate::model::Timing;

/// Longest a probe of a paced scan holds its socket. The kernel sends a SYN again after 1 s (RFC 6298, 2),
/// which would be a packet that no pacer asked for; a socket closed before that never sends a second one. The
/// price: hosts more than 0.9 s away (two satellite hops) are up to the liveness check and silent to the scan.
/// The tenth of a second between is for a prober's thread that had to wait for the processor.
pub(super) const BEFORE_RETRANSMIT: Duration = Duration::from_millis(900);

/// What one template allows.
#[derive(Debug)]
pub(super) struct Template {
    /// Least time between two probes of a job; zero: whatever pace and window allow.
    pub(super) delay: Duration,
    /// Whether the host's pacer holds: no gadget was seen to mind 300 SYN/s, many mind 450.
    pub(super) paced: bool,
    /// Most sockets open towards a host.
    pub(super) sockets: u16,
    /// The window a host starts with, in probes.
    pub(super) window: u16,
    /// The window up to which it doubles with every round trip; beyond, it creeps.
    pub(super) threshold: u16,
    /// Longest a scan's probe holds its socket.
    pub(super) give_up: Duration,
    /// Least time between two looks at one port. Kept by a pause between passes, which needs no time stamp per
    /// port.
    pub(super) between: Duration,
    /// Most looks at one port.
    pub(super) tries: u8,
}

/// A burst of loss, a full queue, a small stack's start are over by then.
const BETWEEN: Duration = Duration::from_secs(2);

/// For who prefers speed: a queue has emptied, a burst may go on.
const HASTY: Duration = Duration::from_millis(500);

/// What a small switch's queue holds.
const SMALL_QUEUE: u16 = 128;

/// Behind a firewall that drops, a window of so many that wait 150 ms each is 13,600 probes a second: all ports
/// twice in 10 s. What suffers from it says so (canaries), and is then asked less.
const BEFORE_CREEPING: u16 = 2048;

/// Most looks at one port, whatever is asked for: at 3 % loss each way a fifth look is needed by one port
/// in 82,000.
pub(super) const MOST_TRIES: u8 = 5;

impl Template {
    /// nmap's users know T0 to T2 by their pause (5 min, 15 s, 0.4 s) and by one probe at a time, its manual,
    /// "Timing Templates".
    pub(super) const fn of(timing: Timing) -> Self {
        let careful = Self {
            delay: Duration::ZERO,
            paced: true,
            sockets: 1,
            window: 16,
            threshold: SMALL_QUEUE,
            give_up: BEFORE_RETRANSMIT,
            between: BETWEEN,
            tries: MOST_TRIES,
        };
        // Above T3 the kernel's own second SYN is welcome: a second try that costs no system call.
        let pressing =
            Self { paced: false, sockets: 4096, window: 64, threshold: BEFORE_CREEPING, ..careful };
        match timing {
            Timing::T0 => Self { delay: Duration::from_secs(300), ..careful },
            Timing::T1 => Self { delay: Duration::from_secs(15), ..careful },
            Timing::T2 => Self { delay: Duration::from_millis(400), ..careful },
            Timing::T3 => Self { sockets: 512, ..careful },
            Timing::T4 => Self { give_up: Duration::from_millis(1300), ..pressing },
            Timing::T5 => Self { threshold: 4096, between: HASTY, tries: 3, ..pressing },
        }
    }
}
