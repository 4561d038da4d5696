//! Looks for findings that the owner should know: open ports that call for action, and certificates that expire. The
//! store records new ones as events.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{evidence::DeviceEvidence, names};
use crate::{
    clock::Clock,
    config::Config,
    model::{AdviceLevel, PortFindingKind, Protocol},
    store::{DeviceRecord, OpenPortFinding, Store, StoreError},
};

/// The longest time between two looks.
const AGAIN: Duration = Duration::from_secs(600);

/// The delay from a change to the next check: an opened port is identified first, and one check is enough for many
/// changes.
const AFTER_CHANGE: Duration = Duration::from_secs(60);

/// Devices that are read at a time.
const DEVICES: u32 = 16;

/// The pause after each portion: a check of thousands of devices takes a minute instead of a whole core, because
/// nothing waits for it, but clients wait for answers.
const REST: Duration = Duration::from_millis(100);

/// Ports of a device that are read at a time.
const PORTS: usize = 256;

/// The most findings of a device in a look: a device that opens all ports must not fill the database.
const MOST_OF_DEVICE: usize = 32;

/// The stages before a certificate expires: days left, and the stage's key in the store.
const STAGES: [(i64, &str); 3] = [(0, "expired"), (7, "7 days"), (21, "21 days")];

/// The key of advice to act in the store. Not the text: it differs from version to version, and an update must not
/// repeat alerts. Another product on the port has its own event.
const ACTION: &str = "act";

/// Checks at intervals; never returns.
pub async fn keep(store: Store, clock: Arc<dyn Clock>, config: watch::Receiver<Arc<Config>>) {
    let mut latest = store.latest_event();
    loop {
        latest.mark_unchanged();
        let seen = Arc::clone(&config.borrow());
        match look(&store, clock.as_ref(), &seen).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "failed to look for advice on open ports; will retry"),
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            Ok(()) = latest.changed() => tokio::time::sleep(AFTER_CHANGE).await,
        }
    }
}

pub(super) async fn look(store: &Store, clock: &dyn Clock, config: &Config) -> Result<(), StoreError> {
    // With a wrong clock, valid certificates would seem to have expired.
    let now = clock.is_synchronised().then(|| clock.wall());
    let (mut findings, mut after) = (Vec::new(), Some(i64::MIN));
    while let Some(from) = after {
        let page = store.hosts(from, DEVICES).await?;
        after = page.next;
        for host in &page.rows {
            let of_it = findings_of(host, config, now);
            findings.extend(of_it.into_iter().filter(|finding| !is_noise(finding, config)));
        }
        if after.is_some() {
            tokio::time::sleep(REST).await;
        }
    }
    store.record_findings(findings).await
}

fn is_noise(finding: &OpenPortFinding, config: &Config) -> bool {
    let device = &finding.device;
    config.ignored_ports(device.mac, Some(&device.address)).contains(finding.port)
}

/// Returns the findings about a device's open ports. Without a time, certificates are left out.
fn findings_of(host: &DeviceRecord, config: &Config, now: Option<Timestamp>) -> Vec<OpenPortFinding> {
    let names = names::all(config, &host.device, host.names.clone());
    // Certificates are checked separately below. At this earliest time none has expired.
    let evidence = DeviceEvidence::of(host.device.mac, &names, &host.identified, Timestamp::MIN);
    let mut findings = Vec::new();
    let mut from = Some((Protocol::Ip, 0));
    while let Some(first) = from.filter(|_| findings.len() < MOST_OF_DEVICE) {
        let (open, next) = host.open_ports_from(first, PORTS);
        from = next;
        for port in open {
            let (protocol, port) = (port.protocol, port.port);
            let finding = |kind, reason, text| OpenPortFinding {
                device: host.device.clone(),
                protocol,
                port,
                kind,
                reason,
                text,
            };
            let advice = evidence.advise(protocol, port).filter(|advice| advice.level == AdviceLevel::Act);
            findings.extend(advice.map(|advice| {
                let text = format!("{}. {}", advice.what, advice.why);
                finding(PortFindingKind::Advice, ACTION.to_owned(), text)
            }));
            let certificate = evidence.found(protocol, port).and_then(|found| found.certificate.as_ref());
            let ends = certificate.map(|certificate| certificate.not_after);
            findings.extend(ends.zip(now).and_then(|(end, now)| {
                let (reason, text) = expiry(end, now)?;
                Some(finding(PortFindingKind::CertificateExpires, reason, text))
            }));
        }
    }
    findings.truncate(MOST_OF_DEVICE);
    findings
}

/// Returns the stage that a certificate has reached, and the text about it; `None`: none yet.
fn expiry(end: Timestamp, now: Timestamp) -> Option<(String, String)> {
    let left = end.duration_since(now);
    let (_, stage) =
        STAGES.into_iter().find(|(days, _)| left <= jiff::SignedDuration::from_hours(days * 24))?;
    let verb = if left.is_negative() { "has expired" } else { "expires" };
    let text = format!("certificate {verb} on {}", end.strftime("%Y-%m-%d"));
    Some((format!("{stage} {}", end.as_second()), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_reaches_three_stages_each_told_once() {
        let end: Timestamp = "2026-12-31T12:00:00Z".parse().unwrap();
        let days = |count: i64| jiff::SignedDuration::from_hours(24 * count);
        assert_eq!(expiry(end, end - days(22)), None);
        let reasons: Vec<_> =
            [21, 20, 8, 7, 1, -1, -30].map(|left| expiry(end, end - days(left)).unwrap().0).into();
        assert_eq!(reasons[0], reasons[1]);
        assert_eq!(reasons[1], reasons[2]);
        assert_eq!(reasons[3], reasons[4]);
        assert_eq!(reasons[5], reasons[6]);
        let mut different = reasons.clone();
        different.dedup();
        assert_eq!(different.len(), 3, "{reasons:?}");
        assert_eq!(expiry(end, end - days(7)).unwrap().1, "certificate expires on 2026-12-31");
        assert_eq!(expiry(end, end + days(1)).unwrap().1, "certificate has expired on 2026-12-31");
        assert_ne!(
            expiry(end + days(365), end + days(364)),
            expiry(end, end - days(1)),
            "renewed, it is another"
        );
    }
}
