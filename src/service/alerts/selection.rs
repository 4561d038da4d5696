//! Selects the change events that a channel sends, and writes the message about them.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    elsewhere::AlertSite,
    explain::{EXPLAINED, explain},
    known_device::{DeviceFacts, KnownDevice},
};
use crate::{
    clock::Clock,
    config::Config,
    messages::{AlertChange, AlertMessage, Origin},
    model::{AlertKind, AlertSeverity, ChangeEvent, ChangeFilter, ChangeKind, DeviceKey},
    service::differences::Differences,
    store::{AlertContext, Store, StoreError},
};

/// The most changes of one device that are reported at the end of a snooze: the latest ones; the page lists all.
const MOST_HELD: usize = 20;

/// Reads what a channel is to send.
#[derive(Clone)]
pub(super) struct Selection {
    pub(super) store: Store,
    pub(super) differences: Differences,
    /// Decides which certificates have expired.
    pub(super) clock: Arc<dyn Clock>,
    /// At a hub, the site and the others.
    pub(super) site: Option<AlertSite>,
}

impl Selection {
    /// Returns the ids of the events after this one that go to a channel, and the greatest id that was read. Reads at
    /// most a page of events. `newest` is the id of the latest event.
    pub(super) async fn after(
        &self,
        after: i64,
        newest: i64,
        channel: &str,
        config: &Config,
    ) -> Result<(Vec<i64>, i64), StoreError> {
        let page = self.differences.change_events(ChangeFilter { after, ..ChangeFilter::default() }).await?;
        // Ids have gaps: the ids after the last event on the page may be those of deleted events.
        let read = page.next.or(page.rows.last().map(|event| event.id).max(Some(newest))).unwrap_or(newest);
        let chosen = self.choose(page.rows, channel, config, &mut DeviceFacts::default()).await?;
        Ok((chosen.into_iter().map(|(id, _)| id).collect(), read))
    }

    /// Writes the message of the events from `first` to `last` that go to a channel; `None` if none does any more.
    pub(super) async fn message(
        &self,
        (first, last): (i64, i64),
        channel: &str,
        config: &Config,
        origin: &Origin,
    ) -> Result<Option<AlertMessage>, StoreError> {
        let mut changes = Vec::new();
        let mut devices = DeviceFacts::default();
        let mut told_by = None;
        let mut after = Some(first - 1);
        while let Some(from) = after {
            let filter = ChangeFilter { after: from, ..ChangeFilter::default() };
            let page = self.differences.change_events(filter).await?;
            after = page.next.filter(|next| *next < last);
            let events = page.rows.into_iter().filter(|event| event.id <= last).collect();
            for (_, told) in self.choose(events, channel, config, &mut devices).await? {
                for ChosenChange { mut change, told_by: by } in told {
                    let known = self.known(&change.event.device, config, &mut devices).await?;
                    change.name.clone_from(&known.name);
                    if changes.len() < EXPLAINED {
                        change.explanations = explain(&change, &known.evidence);
                    }
                    changes.push(change);
                    told_by = by;
                }
            }
        }
        if let Some(site) = &self.site {
            site.add_elsewhere(&mut changes).await;
        }
        let updates = match (&changes[..], told_by) {
            ([], _) => return Ok(None),
            ([change], Some(event)) => {
                self.store.message_with(channel, change.event.device.to_string(), event).await?
            }
            _ => None,
        };
        Ok(Some(origin.message(first, changes, updates)))
    }

    async fn known(
        &self,
        device: &DeviceKey,
        config: &Config,
        devices: &mut DeviceFacts,
    ) -> Result<Arc<KnownDevice>, StoreError> {
        devices.read(&self.store, config, device, self.clock.wall()).await
    }

    /// Returns what a channel sends of these events, with their ids; events that it does not send are left out.
    async fn choose(
        &self,
        mut events: Vec<ChangeEvent>,
        channel: &str,
        config: &Config,
        devices: &mut DeviceFacts,
    ) -> Result<Vec<(i64, Vec<ChosenChange>)>, StoreError> {
        self.read_devices(&events, config, devices).await?;
        events.retain(|event| may_be_told(event, channel, config, devices));
        // One read for all events; most pages of a quiet network need none.
        let context = self.store.alert_context(channel, &events).await?;
        let mut chosen = Vec::new();
        for event in events.into_iter().filter(|event| !context.is_snoozed(event)) {
            let id = event.id;
            let told = match event.kind {
                ChangeKind::SnoozeEnded { after } => {
                    self.held(event.device, (after, id), channel, config, devices).await?
                }
                _ => change(event, channel, config, devices, &context).into_iter().collect(),
            };
            if !told.is_empty() {
                chosen.push((id, told));
            }
        }
        Ok(chosen)
    }

    /// Reads the devices of these events, where more than the address is needed: by the rules, or because the device
    /// is gone or back.
    async fn read_devices(
        &self,
        events: &[ChangeEvent],
        config: &Config,
        devices: &mut DeviceFacts,
    ) -> Result<(), StoreError> {
        let is_asked = |event: &&ChangeEvent| match event.kind {
            ChangeKind::Gone | ChangeKind::Back => true,
            _ => config.alerts_ask_for_traits() && (event.alert || may_end(event).is_some()),
        };
        for event in events.iter().filter(is_asked) {
            self.known(&event.device, config, devices).await?;
        }
        Ok(())
    }

    /// Returns the events of a device that a snooze has held between these two events and that are still to be
    /// reported: alerts that are not over, and ends of alerts from before the snooze.
    async fn held(
        &self,
        device: DeviceKey,
        (mut begin, end): (i64, i64),
        channel: &str,
        config: &Config,
        devices: &mut DeviceFacts,
    ) -> Result<Vec<ChosenChange>, StoreError> {
        let mut told = BTreeMap::new();
        let mut after = Some(begin);
        while let Some(from) = after {
            let filter =
                ChangeFilter { after: from, device: Some(device.clone()), ..ChangeFilter::default() };
            let page = self.differences.change_events(filter).await?;
            after = page.next.filter(|next| *next < end);
            let mut events = page.rows;
            self.read_devices(&events, config, devices).await?;
            events.retain(|event| event.id < end && may_be_told(event, channel, config, devices));
            let context = self.store.alert_context(channel, &events).await?;
            for event in events {
                // A snooze that began before this one and ended within it: what it held was not reported either.
                if let ChangeKind::SnoozeEnded { after: earlier } = event.kind {
                    if earlier < begin {
                        begin = earlier;
                        told.clear();
                        after = Some(begin);
                        break;
                    }
                    continue;
                }
                let undone = context.undone_by(event.id).filter(|undone| undone.id > begin);
                match undone {
                    Some(undone) if undone.is_whole => drop(told.remove(&undone.id)),
                    // The rest of this alert is still to be reported.
                    Some(_) => {}
                    None => {
                        let id = event.id;
                        told.extend(change(event, channel, config, devices, &context).map(|it| (id, it)));
                    }
                }
            }
            while told.len() > MOST_HELD {
                told.pop_first();
            }
        }
        Ok(told.into_values().collect())
    }
}

/// What a channel sends of one event.
struct ChosenChange {
    change: AlertChange,
    /// The event that began the message about the alert that this one ends, if it ends one.
    told_by: Option<i64>,
}

/// What an alert about this event is about.
fn about(event: &ChangeEvent, devices: &DeviceFacts) -> Option<AlertKind> {
    let is_unexpected = || event.kind == ChangeKind::Gone && devices.is_critical(&event.device);
    AlertKind::of(event).or_else(|| is_unexpected().then_some(AlertKind::DeviceGone))
}

/// Returns the alert that an event may end, if it is no alert itself.
fn may_end(event: &ChangeEvent) -> Option<AlertKind> {
    match &event.kind {
        _ if event.alert => None,
        ChangeKind::Closed(..) => Some(AlertKind::Unexpected),
        ChangeKind::Opened(..) | ChangeKind::Back => Some(AlertKind::Missing),
        ChangeKind::New
        | ChangeKind::Gone
        | ChangeKind::Moved { .. }
        | ChangeKind::Replaced { .. }
        | ChangeKind::Found { .. }
        | ChangeKind::SnoozeEnded { .. } => None,
    }
}

/// Whether a channel may send this event, as far as the event and the configuration decide.
fn may_be_told(event: &ChangeEvent, channel: &str, config: &Config, devices: &DeviceFacts) -> bool {
    let subject = devices.subject(event);
    let is_sent = |about| config.alert_severity(channel, about, Some(&subject)).is_some();
    if matches!(event.kind, ChangeKind::SnoozeEnded { .. }) {
        return true;
    }
    if let Some(about) = about(event, devices) {
        return is_sent(about);
    }
    if event.kind == ChangeKind::Back && devices.is_critical(&event.device) && is_sent(AlertKind::DeviceGone)
    {
        return true;
    }
    // Known noise raised no alert, so there is none to end.
    let is_noise = || {
        let ignored = config.ignored_ports(event.device.mac(), Some(&event.address));
        event.kind.ports().is_some_and(|(_, ports)| ports.is_subset(&ignored))
    };
    may_end(event).is_some_and(|about| is_sent(about) && !is_noise())
}

/// Returns what a channel sends of an event that [`may_be_told`] accepts.
fn change(
    event: ChangeEvent,
    channel: &str,
    config: &Config,
    devices: &DeviceFacts,
    context: &AlertContext,
) -> Option<ChosenChange> {
    if let Some(about) = about(&event, devices) {
        let severity = config.alert_severity(channel, about, Some(&devices.subject(&event)))?;
        let change = AlertChange {
            about,
            resolves: None,
            severity,
            name: None,
            explanations: Vec::new(),
            elsewhere: Vec::new(),
            event,
        };
        return Some(ChosenChange { change, told_by: None });
    }
    let about = may_end(&event)?;
    let undone = context.undone_by(event.id)?;
    if !undone.was_alert && !devices.is_critical(&event.device) {
        return None;
    }
    if context.is_acknowledged(undone.told_by) {
        return None;
    }
    let severity = AlertSeverity::Low;
    let change = AlertChange {
        about,
        resolves: Some(undone.id),
        severity,
        name: None,
        explanations: Vec::new(),
        elsewhere: Vec::new(),
        event,
    };
    Some(ChosenChange { change, told_by: Some(undone.told_by) })
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use rusqlite::{Connection, params};
    use tokio::sync::watch;

    use super::*;
    use crate::{
        clock::SystemClock,
        config::Overrides,
        store::{FILE_NAME, Snooze, WriterThread},
    };

    struct Bench {
        dir: tempfile::TempDir,
        selection: Selection,
        config: Arc<Config>,
        _config: watch::Sender<Arc<Config>>,
        _threads: WriterThread,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let clock = Arc::new(SystemClock::start());
            let (store, threads) = Store::open(&dir.path().join(FILE_NAME), clock.clone()).unwrap();
            let text = "[[channel]]\nname = \"phone\"\ntype = \"ntfy\"\nurl = \"http://127.0.0.1:1/topic\"\n";
            let file = Some((Path::new("test.toml"), text));
            let config = Arc::new(Config::load(&Overrides::default(), &|_| None, file).unwrap());
            let (sender, receiver) = watch::channel(Arc::clone(&config));
            let differences = Differences::new(store.clone(), receiver);
            let selection = Selection { store, differences, clock, site: None };
            Self { dir, selection, config, _config: sender, _threads: threads }
        }

        /// Writes an event of the device; returns its id.
        fn happen(&self, kind: &str, ports: &str, alert: bool) -> i64 {
            let database = Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
            database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
            let sql = "INSERT INTO changes (at, device, address, kind, protocol, ports, alert)
                       VALUES (0, '02:00:00:00:00:01', '192.0.2.1', ?1, iif(?2 = '', NULL, 'tcp'), nullif(?2, ''), ?3)";
            database.execute(sql, params![kind, ports, alert]).unwrap();
            database.last_insert_rowid()
        }

        fn snooze(device: Option<&str>) -> Snooze {
            Snooze {
                device: device.map(|device| device.parse().unwrap()),
                until: jiff::Timestamp::MAX,
                length: std::time::Duration::from_secs(60),
            }
        }

        /// The texts of what is sent after this event.
        async fn told(&self, after: i64) -> Vec<String> {
            let newest = *self.selection.store.latest_event().borrow();
            let (chosen, _) = self.selection.after(after, newest, "phone", &self.config).await.unwrap();
            let Some((first, last)) = chosen.first().zip(chosen.last()) else { return Vec::new() };
            let origin = Origin { appliance: "a".to_owned(), page: "http://p".to_owned(), site: None };
            let message =
                self.selection.message((*first, *last), "phone", &self.config, &origin).await.unwrap();
            let message = message.unwrap();
            assert_eq!(message.key, format!("a-{first}"));
            message.text.lines().map(str::to_owned).collect()
        }
    }

    const MAC: Option<&str> = Some("02:00:00:00:00:01");

    #[tokio::test]
    async fn the_end_of_a_snooze_tells_what_is_still_so() {
        let bench = Bench::new();
        let store = bench.selection.store.clone();
        bench.happen("opened", "21", true);
        bench.happen("opened", "20", true);
        store.begin_snooze(Bench::snooze(MAC)).await.unwrap();
        let begin = bench.happen("opened", "22", true) - 1;
        bench.happen("opened", "23", true);
        bench.happen("closed", "23", false);
        bench.happen("closed", "21", false);
        bench.happen("opened", "80-81", true);
        bench.happen("closed", "81", false);
        assert_eq!(bench.told(begin).await, [""; 0], "nothing is sent meanwhile");
        assert_eq!(bench.told(0).await.len(), 2, "what was before it is");
        let device = MAC.map(|mac| mac.parse().unwrap());
        assert!(store.end_snooze(device).await.unwrap());
        let still = [
            "port 22/tcp opened, unexpected",
            "port 21/tcp is closed again",
            "ports 80-81/tcp opened, unexpected",
        ];
        assert_eq!(bench.told(begin).await, still);
        let after = bench.happen("opened", "24", true) - 1;
        assert_eq!(bench.told(after).await, ["port 24/tcp opened, unexpected"], "alerts are on again");
    }

    #[tokio::test]
    async fn a_snooze_that_ends_within_another_tells_nothing_and_what_it_held_is_told_with_that() {
        let bench = Bench::new();
        let store = bench.selection.store.clone();
        store.begin_snooze(Bench::snooze(MAC)).await.unwrap();
        bench.happen("opened", "22", true);
        store.begin_snooze(Bench::snooze(None)).await.unwrap();
        bench.happen("opened", "23", true);
        assert!(store.end_snooze(MAC.map(|mac| mac.parse().unwrap())).await.unwrap());
        assert_eq!(bench.told(0).await, [""; 0]);
        assert!(store.end_snooze(None).await.unwrap());
        let both = ["port 22/tcp opened, unexpected", "port 23/tcp opened, unexpected"];
        assert_eq!(bench.told(0).await, both);
    }

    #[tokio::test]
    async fn a_critical_device_that_is_gone_is_told_of_although_nothing_is_expected_of_it() {
        let mut bench = Bench::new();
        let gone = bench.happen("gone", "", false);
        assert_eq!(bench.told(gone - 1).await, [""; 0]);
        let rule = "[[device]]\nmatch = \"02:00:00:00:00:01\"\ntags = [\"critical\"]\n";
        let file = Some((Path::new("test.toml"), rule));
        let read = Config::load(&Overrides::default(), &|_| None, file).unwrap();
        bench.config = Arc::new(Config { devices: read.devices, ..Config::clone(&bench.config) });
        let device = crate::model::Device {
            address: "192.0.2.1".parse().unwrap(),
            mac: MAC.map(|mac| mac.parse().unwrap()),
            name: None,
        };
        bench.selection.store.enter(device, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(bench.told(gone - 1).await, ["device is gone"]);
        let back = bench.happen("back", "", false);
        assert_eq!(bench.told(back - 1).await, ["device is back"]);
    }

    #[tokio::test]
    async fn a_device_that_flaps_in_a_snooze_is_told_of_by_its_latest_changes() {
        let bench = Bench::new();
        let store = bench.selection.store.clone();
        store.begin_snooze(Bench::snooze(None)).await.unwrap();
        for port in 1..=150 {
            bench.happen("opened", &port.to_string(), true);
        }
        assert!(store.end_snooze(None).await.unwrap());
        let told = bench.told(150).await;
        assert_eq!((told.len(), told[0].as_str()), (MOST_HELD, "port 131/tcp opened, unexpected"));
    }
}
