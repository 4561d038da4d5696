//! The timing templates T0 to T5.

use std::time::Duration;

use crate::model::Timing;

/// The longest that a probe of a paced scan holds its socket. The kernel retransmits a SYN after 1 s (RFC 6298, 2),
/// which would be a packet that no pacer admitted; a socket that is closed before never sends a second one. The price:
/// a host more than 0.9 s away (two satellite hops) is up for the liveness check and silent for the scan. The remaining
/// tenth of a second is for a prober thread that had to wait for the processor.
pub(super) const BEFORE_RETRANSMIT: Duration = Duration::from_millis(900);

/// What one template allows.
#[derive(Debug)]
pub(super) struct Template {
    /// Least time between two probes of a job; zero: whatever pace and window allow.
    pub(super) delay: Duration,
    /// Whether the host's pacer applies: no gadget was seen to suffer from 300 SYN/s, many suffer from 450.
    pub(super) paced: bool,
    /// Most sockets open towards a host.
    pub(super) sockets: u16,
    /// The window a host starts with, in probes.
    pub(super) window: u16,
    /// The window up to which it doubles with every round trip; beyond, it grows linearly.
    pub(super) threshold: u16,
    /// Longest a scan's probe holds its socket.
    pub(super) give_up: Duration,
    /// Least time between two probes of one port. A pause between passes keeps it, which needs no time stamp per port.
    pub(super) between: Duration,
    /// Most probes of one port.
    pub(super) tries: u8,
}

/// A burst of loss, a full queue and a small stack's restart are over by then.
const BETWEEN: Duration = Duration::from_secs(2);

/// For T5, which prefers speed: a queue has emptied by then, a burst of loss may go on.
const HASTY: Duration = Duration::from_millis(500);

/// The packets that a small switch's queue holds.
const SMALL_QUEUE: u16 = 128;

/// Towards a firewall that drops, a window of so many probes with a time-out of 150 ms each is 13,600 probes a second:
/// all ports twice in 10 s. A host that suffers from it loses canaries, and is then probed more slowly.
const BEFORE_CREEPING: u16 = 2048;

/// Most probes of one port, whatever a job requests: at 3 % loss each way one port in 82,000 needs a fifth.
pub(super) const MOST_TRIES: u8 = 5;

impl Template {
    /// T0 to T2 are what nmap's users know: a pause of 5 min, 15 s or 0.4 s, and one probe at a time (nmap's manual,
    /// "Timing Templates").
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
        // Above T3 the kernel's retransmit is welcome: a second try that costs no system call.
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
