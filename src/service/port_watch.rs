//! Looks for what the owner should know of open ports: those that call for action, and certificates that expire. The
//! store makes an event of what is new.

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

/// How long after a change the next look is: what opened is identified first, and one look is enough for many changes.
const AFTER_CHANGE: Duration = Duration::from_secs(60);

/// Devices that are read at a time.
const DEVICES: u32 = 16;

/// The rest after each of these parts: a look at thousands of devices takes a minute rather than a core, for nothing
/// waits for it, and clients wait for answers.
const REST: Duration = Duration::from_millis(100);

/// Ports of a device that are looked at at a time.
const PORTS: usize = 256;

/// The most findings of a device in a look: a device that opens all ports must not fill the database.
const MOST_OF_DEVICE: usize = 32;

/// Before the end of a certificate, in days, and what tells this stage from the others.
const STAGES: [(i64, &str); 3] = [(0, "expired"), (7, "7 days"), (21, "21 days")];

/// What tells advice to act from other findings of the port. Not its words: they differ from version to version, and a
/// new version must not alert of what its owner knows. Another product on the port is an event of its own.
const ACTION: &str = "act";

/// Looks again and again, for ever.
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
    // By a wrong clock, certificates seem to have expired.
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

/// What is found of a device's open ports. Without a time, certificates are left out.
fn findings_of(host: &DeviceRecord, config: &Config, now: Option<Timestamp>) -> Vec<OpenPortFinding> {
    let names = names::all(config, &host.device, host.names.clone());
    // Certificates are looked at apart, below: at the begin of time none has expired.
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

/// Which stage before its end a certificate has reached, and what to say of it; `None`: none yet.
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
