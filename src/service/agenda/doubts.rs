//! Second looks, which confirm ports that seem to have changed before the change is reported.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Action, Agenda, Run, targets::name};
use crate::{
    config::Targets,
    model::{
        Device, Endpoint, Moment, PortSet,
        unconfirmed::{CLOSED_FOR, UnconfirmedEndpoint},
    },
    service::schedule::Times,
};

/// Added to the wait, because dates of the wall clock are rounded.
const SLACK: Duration = Duration::from_secs(1);
/// The pause after a look that decided nothing because the host was down. It doubles with every further such look, up
/// to [`RETRY_MAX`]. Any other look at the port decides the doubt, too.
const RETRY: Duration = Duration::from_secs(2 * 60);
/// The longest pause between two such looks.
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);

/// Identifies a group of ports: those of an endpoint that were found open, or not open, by the look that ended at this
/// time.
type Key = (Endpoint, bool, Timestamp);

/// Ports that wait for a second look.
#[derive(Debug)]
struct Waiting {
    device: Device,
    ports: PortSet,
    due: Moment,
    /// The pause before the next look if this one settles nothing.
    pause: Duration,
}

/// The queue of second looks.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<Key, Waiting>);

impl Doubts {
    /// Replaces the unconfirmed ports. Those that were queued before keep their time.
    fn set(&mut self, doubts: Vec<UnconfirmedEndpoint>, now: Moment) {
        let mut before = std::mem::take(&mut self.0);
        for UnconfirmedEndpoint { device, unconfirmed } in doubts {
            let openings = unconfirmed.openings.into_iter().map(|waiting| (true, waiting));
            let closings = unconfirmed.closings.into_iter().map(|waiting| (false, waiting));
            for (opening, (since, ports)) in openings.chain(closings) {
                let key = (device.endpoint(), opening, since);
                let wait = if opening { Duration::ZERO } else { CLOSED_FOR + SLACK };
                let (due, pause) =
                    before.remove(&key).map_or((now + wait, RETRY), |known| (known.due, known.pause));
                self.0.insert(key, Waiting { device: device.clone(), ports, due, pause });
            }
        }
    }

    /// Returns the endpoints that are due and not busy, with their ports, and schedules each as if it had been
    /// scanned.
    fn take_due(&mut self, now: Moment, busy: &HashSet<Endpoint>) -> Vec<(Device, PortSet)> {
        let mut due: BTreeMap<Endpoint, (Device, PortSet)> = BTreeMap::new();
        let ready =
            self.0.iter_mut().filter(|((key, ..), waiting)| waiting.due <= now && !busy.contains(key));
        for ((key, ..), waiting) in ready {
            waiting.due = now + waiting.pause;
            waiting.pause = (waiting.pause * 2).min(RETRY_MAX);
            let (_, ports) =
                due.entry(key.clone()).or_insert_with(|| (waiting.device.clone(), PortSet::default()));
            *ports = ports.union(&waiting.ports);
        }
        due.into_values().collect()
    }
}

impl Agenda {
    /// Replaces the ports that wait for a second look by what the store now has.
    pub fn set_doubts(&mut self, doubts: Vec<UnconfirmedEndpoint>, times: &Times) {
        self.doubts.set(doubts, times.now);
    }

    /// Starts the second looks that are due, all in one scan.
    pub(super) fn begin_confirming(&mut self, times: &Times, actions: &mut Vec<Action>) {
        let confirming = self.runs.values().filter(|run| run.is_confirming());
        let queued = confirming.flat_map(|run| run.todo.iter().map(Device::endpoint));
        let busy = queued.chain(self.looks.values().map(|look| look.device.endpoint())).collect();
        let due = self.doubts.take_due(times.now, &busy);
        let due = due.into_iter().filter_map(|(device, ports)| Some((self.findable(&device)?, ports)));
        let due: Vec<_> = due.filter(|(device, _)| super::is_wanted(&self.config, device)).collect();
        if !due.is_empty() {
            let run = Run::confirm(due, times.now);
            self.insert(run, Vec::new(), actions);
        }
    }

    /// Returns where a device can be scanned again. A finding is confirmed at the address where it was made if the
    /// feed has the device there, at the device's one address if it has moved, or where a scanner's own list names it.
    pub(super) fn findable(&self, device: &Device) -> Option<Device> {
        let listed = |specs| name(specs, device).then(|| device.clone());
        // The feed may not know the device's MAC.
        let same = |known: &&Device| device.mac.is_none() || known.mac.is_none() || known.mac == device.mac;
        let moved = || {
            let mut its_own =
                self.devices.values().filter(|known| device.mac.is_some() && known.mac == device.mac);
            its_own.next().filter(|_| its_own.next().is_none())
        };
        let fed = self.devices.get(&device.address).filter(same).or_else(moved);
        let fed = fed.map(|known| Device { mac: known.mac.or(device.mac), ..known.clone() });
        fed.or_else(|| {
            let held = self.devices.contains_key(&device.address);
            self.config.scanners.iter().filter(|_| !held).find_map(|scanner| match &scanner.targets {
                Targets::Feed => None,
                Targets::List(specs) => listed(specs),
            })
        })
    }
}
