//! The setting of a siege: a LAN of sixty devices, the appliance's machine on it with a small disk and a clock that can
//! be set, and one machine for all hostile clients.

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    harness::{LONG, Portscan, Running, disk::SmallDisk, is_stored, scanner, static_feed},
    lab::{Lab, Node, Switch},
};

/// Sixty devices: computers, some behind packet filters, some on a bad wireless link, gadgets that reboot if scanned
/// too fast, and six with so many open ports that their results are long.
const DEVICES: &str = r#"
    [lan]
    scanner = "10.77.0.1/22"
    router = "10.77.3.254"
    [[host]]
    address = "10.77.0.10-39"
    mac = "02:00:00:00:00:10+"
    open = "22,80,443"
    spread = 3
    rtt = "300us"
    [[host]]
    address = "10.77.0.40-49"
    mac = "02:00:00:00:00:40+"
    open = "53,139"
    spread = 1
    default = "rejected"
    rtt = "400us"
    [[host]]
    address = "10.77.0.50-57"
    mac = "02:00:00:00:00:50+"
    open = "80,554"
    spread = 1
    rtt = "4ms"
    jitter = "25ms"
    loss = 0.01
    [[host]]
    address = "10.77.0.60-65"
    mac = "02:00:00:00:00:60+"
    open = "80,266"
    spread = 1
    rtt = "5ms"
    reboot = { syns = 60, silent = "5s" }
    [[host]]
    address = "10.77.0.70-75"
    mac = "02:00:00:00:00:70+"
    open = "1-600"
    rtt = "500us"
    "#;

/// The appliance's machine.
pub const PI: &str = "10.77.0.1/22";
pub const PI_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The machine of the hostile clients, which has the clients' addresses as well.
const ATTACKERS: &str = "10.77.1.2/22";
pub const CLIENTS: std::ops::RangeInclusive<u8> = 10..=29;
/// Addresses without a device, which the ARP flood claims: 10.77.2.0/23.
pub const CLAIMED: [u8; 3] = [10, 77, 2];

/// A host behind a router, known from a report.
pub const OPEN_HOST: &str = "192.0.2.7";

/// The size of the appliance's disk: room for the results of sixty devices and of some thousand invented ones.
const DISK: u64 = 64 << 20;

/// The network and the besieged appliance.
pub struct Siege {
    pub lab: Lab,
    pub pi: Node,
    pub attackers: Node,
    pub disk: SmallDisk,
    pub portscan: Portscan,
    pub usage: Usage,
    clock: PathBuf,
    running: RwLock<Option<Running>>,
    over: AtomicBool,
}

/// The appliance's memory and writes so far, over all its restarts.
#[derive(Default)]
pub struct Usage {
    /// The most memory of its own that any process had so far, in octets.
    pub peak: AtomicU64,
    /// The octets that ended processes wrote.
    written: AtomicU64,
    /// The log lines of ended processes about finished results.
    pub finished: Mutex<Vec<String>>,
}

impl Usage {
    fn record_peak(&self, running: &Running) {
        self.peak.fetch_max(running.peak_own_memory(), Ordering::Relaxed);
    }
}

impl Siege {
    /// Sets up the network and starts the appliance. `feed` is the URL at which the forged feed will be served.
    pub fn set_up(feed: &str) -> Self {
        let lab = Lab::describe_alone(DEVICES);
        let disk = SmallDisk::new(DISK);
        let switch = Switch::around(&lab, "10.77.1.250/22");
        let (pi, attackers) = (switch.plug(PI), switch.plug(ATTACKERS));
        for client in CLIENTS {
            attackers.ip(&["addr", "add", &format!("10.77.1.{client}/22"), "dev", crate::lab::PORT]);
        }
        let clock = disk.path().with_extension("clock");
        let config = static_feed(&lab)
            .replace("url = []", &format!("url = [\"{feed}\"]\ndiscover = [\"eth0\"]"))
            + "[names]\ndns = false\n"
            + &scanner("lan", "15s", "1-600");
        let portscan = Portscan::on(&pi, "0.0.0.0", &config).data_dir(&disk.path().join("data"));
        let portscan = portscan.with_clock(&clock);
        let siege = Self {
            lab,
            pi,
            attackers,
            disk,
            portscan,
            usage: Usage::default(),
            clock,
            running: RwLock::new(None),
            over: AtomicBool::new(false),
        };
        siege.set_clock("+0");
        siege.start();
        siege.import_open_host();
        siege
    }

    /// Imports a host whose ports are all open, so that its response is ten megabytes long.
    fn import_open_host(&self) {
        let open = |port: u16| {
            format!(
                "<port protocol=\"tcp\" portid=\"{port}\"><state state=\"open\" reason=\"syn-ack\"/></port>"
            )
        };
        let ports: String = (1..=u16::MAX).map(open).collect();
        let report = format!(
            "<?xml version=\"1.0\"?><nmaprun scanner=\"nmap\" start=\"1790000000\"><host><status state=\"up\"/>\
             <address addr=\"{OPEN_HOST}\" addrtype=\"ipv4\"/><ports>{ports}</ports></host>\
             <runstats><finished time=\"1790000001\" exit=\"success\"/></runstats></nmaprun>"
        );
        let file = self.disk.path().with_extension("xml");
        fs::write(&file, report).expect("writing the report");
        let url = "http://127.0.0.1";
        let imported = self
            .pi
            .within(|| self.portscan.run(&["import", &file.display().to_string(), "--url", url], LONG));
        assert!(imported.status.success(), "{imported:?}");
        fs::remove_file(file).expect("it was just written");
    }

    /// Runs a closure on the appliance: kills wait until it has returned.
    pub fn with_appliance<T>(&self, act: impl FnOnce(&Running) -> T) -> T {
        let guard: RwLockReadGuard<'_, _> = self.running.read().unwrap_or_else(PoisonError::into_inner);
        act(guard.as_ref().expect("a killed appliance is restarted under the same lock"))
    }

    /// Records the appliance's memory.
    pub fn record_memory(&self) {
        self.with_appliance(|running| self.usage.record_peak(running));
    }

    /// Octets written since the first start; responses count too, because the disk is in memory.
    pub fn written(&self) -> u64 {
        self.usage.written.load(Ordering::Relaxed) + self.with_appliance(Running::written)
    }

    /// Kills the appliance with SIGKILL and restarts it.
    pub fn kill(&self) {
        let mut guard: RwLockWriteGuard<'_, _> = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let killed = guard.take().expect("the appliance runs");
        self.usage.record_peak(&killed);
        self.usage.written.fetch_add(killed.written(), Ordering::Relaxed);
        let finished = killed.kill().into_iter().filter(|line| is_stored(line));
        self.usage.finished.lock().unwrap().extend(finished);
        *guard = Some(self.begin());
    }

    /// Stops the appliance with SIGTERM; it must end in time and with status 0.
    pub fn stop(self) {
        self.running.into_inner().unwrap_or_else(PoisonError::into_inner).expect("the appliance runs").stop();
    }

    fn start(&self) {
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(self.begin());
    }

    fn begin(&self) -> Running {
        self.pi.within(|| self.portscan.start()).reached_at(Ipv4Addr::LOCALHOST)
    }

    /// Offsets the machine's clock, for example by `+10d` or `-2y`; `+0` sets it right.
    pub fn set_clock(&self, by: &str) {
        fs::write(&self.clock, by).expect("writing the clock's file");
    }

    /// Ends the siege: every assault stops.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits so long, or until the siege ends; returns whether it continues.
    pub fn continues_after(&self, pause: Duration) -> bool {
        const STEP: Duration = Duration::from_millis(50);
        let mut left = pause;
        while !left.is_zero() && !self.is_over() {
            thread::sleep(left.min(STEP));
            left = left.saturating_sub(STEP);
        }
        !self.is_over()
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}
