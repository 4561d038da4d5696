//! What the timing templates mean.

use std::time::Duration;

use crate::model::Timing;

/// Longest a probe of a paced scan holds its socket. The kernel sends a SYN again after 1 s (RFC 6298, 2),
/// which would be a packet that no pacer asked for; a socket closed before that never sends a second one. The price: hosts more
/// than 0.9 s away (two satellite hops) are up to the liveness check and silent to the scan. The tenth of a
/// second between is for a prober's thread that had to wait for the processor.
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
    /// The window a host starts with.
    pub(super) window: u16,
    /// Longest a scan's probe holds its socket.
    pub(super) give_up: Duration,
    /// Most looks at one port.
    pub(super) tries: u8,
}

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
            give_up: BEFORE_RETRANSMIT,
            tries: MOST_TRIES,
        };
        // Above T3 the kernel's own second SYN is welcome: a second try that costs no system call.
        let pressing = Self { paced: false, sockets: 4096, window: 64, ..careful };
        match timing {
            Timing::T0 => Self { delay: Duration::from_secs(300), ..careful },
            Timing::T1 => Self { delay: Duration::from_secs(15), ..careful },
            Timing::T2 => Self { delay: Duration::from_millis(400), ..careful },
            Timing::T3 => Self { sockets: 512, ..careful },
            Timing::T4 => Self { give_up: Duration::from_millis(1300), ..pressing },
            Timing::T5 => Self { tries: 3, ..pressing },
        }
    }
}
