//! Thirty days of a LAN with gadgets that restart, sleep and move, in virtual time: the agenda, the store, and what
//! looks for absences, for advice and for certificates, against a simulated network. Some changes are real, and only
//! these may raise an alert.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    absence::GONE_AFTER,
    agenda::{Action, Agenda, Look, LookOutcome, Scope},
    port_watch,
    schedule::Times,
};
use crate::{
    clock::Clock,
    config::{Config, Overrides},
    model::{
        Certificate, ChangeEvent, ChangeFilter, ChangeKind, Device, Evidence, HostReport, HostStatus,
        IdentifyMethod, Mac, Moment, PortFinding, PortIdentification, PortSet, PortState, Protocol, Reason,
    },
    store::{DiskPace, ExpectationUpdate, FILE_NAME, IdentifiedPort, Observation, Store},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The ports on which each gadget listens.
const SERVICES: [u16; 4] = [22, 80, 443, 8883];
/// The duration of a scan of all ports, and of a few.
const LOOK: [Duration; 2] = [Duration::from_secs(200), Duration::from_secs(1)];

/// How often is looked for absences, advice and certificates.
const WATCH: Duration = Duration::from_secs(12 * 3600);

/// The store's clock, in virtual time.
struct Virtual(Mutex<Duration>);

impl Clock for Virtual {
    fn now(&self) -> Moment {
        Moment::ZERO + *self.0.lock().unwrap()
    }

    fn wall(&self) -> Timestamp {
        wall(*self.0.lock().unwrap())
    }

    fn is_synchronised(&self) -> bool {
        true
    }
}

fn wall(since: Duration) -> Timestamp {
    "2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap() + since
}

fn device(n: u8) -> Device {
    Device { address: Ipv4Addr::new(10, 0, 0, n).into(), mac: Some(Mac::new([2, 0, 0, 0, 0, n])), name: None }
}

/// One gadget, with everything that will happen to it.
struct Gadget {
    number: u8,
    /// The begin and end of each outage of a service, and its port.
    restarts: Vec<(Duration, Duration, u16)>,
}

impl Gadget {
    /// Creates a gadget that restarts a service every quarter of an hour or so, for up to 45 seconds.
    fn new(number: u8, rng: &mut Rng) -> Self {
        let mut restarts = Vec::new();
        let mut at = Duration::ZERO;
        while at < 31 * DAY {
            at += Duration::from_secs(rng.u64(600..1800));
            let end = at + Duration::from_secs(rng.u64(5..45));
            restarts.push((at, end, SERVICES[rng.usize(..SERVICES.len())]));
        }
        Self { number, restarts }
    }

    /// Returns the gadget's device. The second gadget sleeps from midnight to six, the third moves every three days,
    /// and two leave for ever.
    fn device(&self, at: Duration) -> Option<Device> {
        let day = at.as_secs() / DAY.as_secs();
        let hour = at.as_secs() % DAY.as_secs() / HOUR.as_secs();
        match self.number {
            2 if hour < 6 => None,
            11 if day >= 8 => None,
            20 if day >= 10 => None,
            3 if day / 3 % 2 == 1 => {
                Some(Device { address: Ipv4Addr::new(10, 0, 0, 103).into(), ..device(3) })
            }
            number => Some(device(number)),
        }
    }

    fn listens(&self, port: u16, at: Duration) -> bool {
        let restarts = self.restarts.partition_point(|(_, end, _)| *end <= at);
        let is_down =
            self.restarts.get(restarts).is_some_and(|(from, _, which)| *from <= at && *which == port);
        match (self.number, port) {
            // The real changes.
            (7, 4444) => at >= 12 * DAY,
            (9, 23) => at >= 15 * DAY,
            // Nothing is expected of this one.
            (20, _) => false,
            (5, 80) if at >= 20 * DAY => false,
            _ => SERVICES.contains(&port) && !is_down,
        }
    }

    /// Returns what a look finds that probes each port at a random time between its begin and its end.
    fn report(&self, look: &Look, (began, ended): (Duration, Duration), rng: &mut Rng) -> HostReport {
        let is_there = |at| self.device(at).is_some_and(|device| device.address == look.device.address);
        let status = match (is_there(began), is_there(ended)) {
            (true, true) => HostStatus::Up,
            (true, false) => HostStatus::Partial,
            (false, _) => HostStatus::Down,
        };
        let candidates = SERVICES.into_iter().chain([23, 4444]).filter(|&port| look.ports.contains(port));
        let mut open: Vec<u16> = candidates
            .filter(|&port| {
                self.listens(port, Duration::from_secs(rng.u64(began.as_secs()..=ended.as_secs())))
            })
            .collect();
        open.sort_unstable();
        let finding = |port| PortFinding { port, state: PortState::Open, reason: Reason::SynAck, rtt: None };
        HostReport {
            address: look.device.address.clone(),
            status,
            coverage: if status == HostStatus::Up { look.ports.clone() } else { PortSet::default() },
            default_state: PortState::Closed,
            default_reason: Reason::ConnRefused,
            findings: open.into_iter().map(finding).collect(),
            protocol: Protocol::Tcp,
            probes: 1,
            preparation: Duration::ZERO,
            scanning: ended - began,
            detail: String::new(),
        }
    }
}

/// The appliance without sockets.
struct Appliance {
    agenda: Agenda,
    store: Store,
    clock: Arc<Virtual>,
    gadgets: Vec<Gadget>,
    rng: Rng,
    /// Looks in progress: their ends, and their begins.
    open: Vec<(Duration, Duration, Look)>,
    seen: Vec<Device>,
    doubtful: usize,
    config: Arc<Config>,
    next_watch: Duration,
}

impl Appliance {
    fn now(&self) -> Duration {
        *self.clock.0.lock().unwrap()
    }

    fn times(&self) -> Times {
        Times { now: self.clock.now(), wall: Some(self.clock.wall()), zone: TimeZone::UTC }
    }

    async fn run_until(&mut self, end: Duration) {
        while self.now() < end {
            let here: Vec<_> = self.gadgets.iter().filter_map(|gadget| gadget.device(self.now())).collect();
            if here != self.seen {
                self.seen = here.clone();
                self.agenda.set_devices(here.clone(), true, &self.times());
                self.store.record_sightings(here, Vec::new()).await.unwrap();
            }
            for action in self.agenda.poll(&self.times()) {
                self.act(action).await;
            }
            if self.now() >= self.next_watch {
                self.next_watch += WATCH;
                let seen = self.clock.wall() - GONE_AFTER;
                self.store.mark_absent_since(seen).await.unwrap();
                port_watch::look(&self.store, self.clock.as_ref(), &self.config).await.unwrap();
            }
            let ended = self.open.iter().map(|(ends, ..)| *ends);
            let next = ended.chain([self.now() + MINUTE]).min().unwrap();
            *self.clock.0.lock().unwrap() = next;
            while let Some(index) = self.open.iter().position(|(ends, ..)| *ends <= next) {
                let (_, began, look) = self.open.swap_remove(index);
                self.end(look, began).await;
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Begin { run, scanner, kind, ports, .. } => {
                let scan = self.store.begin_scan(&scanner, kind, &ports).await.unwrap();
                let times = self.times();
                assert_eq!(self.agenda.begun(run, scan, Vec::new(), &times), None);
            }
            Action::Look(look) => {
                let lasts = LOOK[usize::from(look.ports.len() < 100)];
                self.open.push((self.now() + lasts, self.now(), look));
            }
            Action::End { scan, status } => self.store.end_scan(scan, status).await.unwrap(),
            Action::Cancel(_) | Action::Resolve { .. } => {}
        }
    }

    async fn end(&mut self, look: Look, began: Duration) {
        let mac = look.device.mac;
        let gadget = self.gadgets.iter().find(|gadget| device(gadget.number).mac == mac).unwrap();
        let ended = *self.clock.0.lock().unwrap();
        let report = gadget.report(&look, (began, ended), &mut self.rng);
        let looked = match report.status {
            HostStatus::Up => LookOutcome::Result(look.device.key()),
            HostStatus::Down => LookOutcome::Absent,
            HostStatus::Partial => LookOutcome::Partial,
        };
        let times = self.times();
        self.agenda.looked(look.id, &looked, &times);
        let (started, finished) = (wall(began), wall(ended));
        let observation = Observation { scan: look.scan, device: look.device, report, started, finished };
        self.store.record(observation).await.unwrap();
        let doubts = self.store.unconfirmed_endpoints().await.unwrap();
        self.doubtful += usize::from(look.scope != Scope::Exact && !doubts.is_empty());
        self.agenda.set_doubts(doubts, &times);
    }

    /// The gadget shows this certificate, which ends at that time.
    async fn show_certificate(&self, number: u8, ends: Duration) {
        let text = format!("CN=gadget-{number}");
        let certificate = Certificate {
            subject: text.clone(),
            sans: Vec::new(),
            issuer: text.clone(),
            not_after: wall(ends),
            self_signed: true,
            key: String::new(),
            signature: String::new(),
            fingerprint: format!("{:064}", ends.as_secs()),
        };
        let evidence = Evidence { method: IdentifyMethod::Tls, text, time: self.clock.wall() };
        let Device { address, .. } = device(number);
        let found = PortIdentification {
            tls: true,
            certificate: Some(certificate),
            ..PortIdentification::unnamed(evidence)
        };
        let (device, protocol) = (device(number).key(), Protocol::Tcp);
        let port = IdentifiedPort { device, address, protocol, port: 443, found };
        self.store.record_identifications(vec![port]).await.unwrap();
    }

    /// Accepts everything that is present, as the command does.
    async fn accept(&self) {
        let hosts = self.store.host_states(0, 128).await.unwrap().rows;
        let wishes = hosts.iter().flat_map(|host| {
            let differences = host.expected.differences(&host.standings, &PortSet::default()).into_iter();
            differences.map(|found| ExpectationUpdate {
                device: host.device.key(),
                protocol: found.protocol,
                port: found.port,
                state: found.actual.map(|actual| (actual.state, String::new())),
            })
        });
        self.store.expect(wishes.collect()).await.unwrap();
    }
}

#[tokio::test]
async fn thirty_days_of_restarts_alert_only_on_the_real_changes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Virtual(Mutex::new(Duration::ZERO)));
    let pace = DiskPace { commit: Duration::ZERO, ..DiskPace::default() };
    let (store, _threads) = Store::open_at_pace(&dir.path().join(FILE_NAME), clock.clone(), pace).unwrap();
    let mut rng = Rng::with_seed(30);
    let gadgets = (1..=20).map(|number| Gadget::new(number, &mut rng)).collect();
    let times = Times { now: Moment::ZERO, wall: Some(wall(Duration::ZERO)), zone: TimeZone::UTC };
    let toml =
        "[[scanner]]\nname = \"lan\"\ninterval = \"1d\"\nat = \"02:30\"\nports = \"1-900,4400-4499\"\n";
    let file = Some((Path::new("test.toml"), toml));
    let config = Arc::new(Config::load(&Overrides::default(), &|_| None, file).unwrap());
    let agenda = Agenda::new(Arc::clone(&config), Vec::new(), &times);
    let mut appliance = Appliance {
        agenda,
        store,
        clock,
        gadgets,
        rng,
        open: Vec::new(),
        seen: Vec::new(),
        doubtful: 0,
        config,
        next_watch: WATCH,
    };
    appliance.run_until(6 * HOUR).await;
    // Both show one from the begin; one of them gets another in time.
    appliance.show_certificate(4, 25 * DAY).await;
    appliance.show_certificate(6, 35 * DAY).await;
    appliance.run_until(DAY).await;
    appliance.accept().await;
    let accepted = *appliance.store.latest_event().borrow();
    appliance.run_until(10 * DAY).await;
    appliance.show_certificate(6, 100 * DAY).await;
    appliance.run_until(30 * DAY).await;

    let (mut events, mut after) = (Vec::new(), Some(accepted));
    while let Some(from) = after {
        let page = appliance
            .store
            .change_events(ChangeFilter { after: from, ..ChangeFilter::default() })
            .await
            .unwrap();
        events.extend(page.rows);
        after = page.next;
    }
    let told = |event: &ChangeEvent| {
        let ports = event.kind.ports().map(|(_, ports)| ports.to_string()).unwrap_or_default();
        let day = event.at.duration_since(wall(Duration::ZERO)).as_hours() / 24;
        let number = (1..=20).find(|number| device(*number).key() == event.device).unwrap();
        (day, number, event.kind.as_str(), ports)
    };
    let told = |is_alert: bool| {
        let is_meant =
            |event: &&ChangeEvent| event.alert == is_alert && !matches!(event.kind, ChangeKind::Moved { .. });
        events.iter().filter(is_meant).map(told).collect::<Vec<_>>()
    };
    let expected = [
        (4, 4, "certificate-expires", "443"),
        (12, 7, "opened", "4444"),
        (14, 11, "gone", ""),
        (15, 9, "opened", "23"),
        (15, 9, "advice", "23"),
        (18, 4, "certificate-expires", "443"),
        (20, 5, "closed", "80"),
        (25, 4, "certificate-expires", "443"),
    ];
    assert_eq!(told(true), expected.map(|(day, number, kind, ports)| (day, number, kind, ports.to_owned())));
    // An alert where its owner has tagged it as critical.
    let silent = [(10, 6, "certificate"), (16, 20, "gone")];
    let told: Vec<_> = told(false).into_iter().map(|(day, number, kind, _)| (day, number, kind)).collect();
    assert_eq!(told, silent);
    assert!(events.len() > 15, "the moves of the third gadget are listed");
    assert!(
        appliance.doubtful > 15,
        "only {} restarts were met, too few to prove anything",
        appliance.doubtful
    );
}
