//! Reports that arrive once, twice, late, or damaged.

use std::io::Write;

use super::*;
use crate::{
    clock::SystemClock,
    model::{DeviceKey, Mac, Moment, ScanId},
    store::{FILE_NAME, WriterThread},
};

/// A clock with a fixed time.
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Moment {
        SystemClock::start().now()
    }

    fn wall(&self) -> Timestamp {
        self.0
    }

    fn is_synchronised(&self) -> bool {
        self.0.as_second() > 1_000_000_000
    }
}

/// A store in a directory of its own, and an importer into it.
pub(in crate::service) struct Bench {
    pub(in crate::service) store: Store,
    pub(in crate::service) importer: Importer,
    pub(in crate::service) clock: Arc<dyn Clock>,
    pub(in crate::service) dir: tempfile::TempDir,
    _threads: WriterThread,
}

impl Bench {
    pub(in crate::service) fn at(wall: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Fixed(wall.parse().unwrap()));
        let (store, threads) = Store::open(&dir.path().join(FILE_NAME), Arc::clone(&clock)).unwrap();
        let importer = Importer::new(store.clone(), Arc::clone(&clock), dir.path());
        Self { store, importer, clock, dir, _threads: threads }
    }

    async fn import(&self, text: &str) -> Result<Imported, ImportError> {
        Ok(self.take(text.as_bytes()).await?.imported)
    }

    async fn take(&self, bytes: &[u8]) -> Result<Taken, ImportError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        self.importer.import(file).await
    }

    pub(in crate::service) fn count(&self, table: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    pub(in crate::service) async fn open_ports(&self, mac: &str) -> Option<Vec<u16>> {
        let mac: Mac = mac.parse().unwrap();
        self.store.latest(&DeviceKey::Mac(mac)).await.unwrap().map(|host| host.open)
    }
}

pub(in crate::service) const NAS: &str = "02:00:00:00:00:05";

/// Returns a complete report of the device, begun at this time, with this port open of those up to 1000.
pub(in crate::service) fn report(start: i64, open: u16) -> String {
    let end = start + 10;
    format!(
        r#"<?xml version="1.0"?>
<!DOCTYPE nmaprun>
<nmaprun scanner="nmap" start="{start}" version="7.93" xmloutputversion="1.05">
<scaninfo type="syn" protocol="tcp" numservices="1000" services="1-1000"/>
<host starttime="{start}" endtime="{end}"><status state="up" reason="arp-response"/>
<address addr="192.0.2.5" addrtype="ipv4"/><address addr="{NAS}" addrtype="mac"/>
<ports><extraports state="closed" count="999"/><port protocol="tcp" portid="{open}"><state state="open" reason="syn-ack"/></port></ports>
</host>
<runstats><finished time="{end}" exit="success"/><hosts up="1" down="0" total="1"/></runstats>
</nmaprun>
"#
    )
}

/// 2026-03-01T10:00:00Z
pub(in crate::service) const START: i64 = 1_772_359_200;

#[tokio::test]
async fn a_report_is_stored_once_under_its_own_time() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let expected = ScanId(START);
    assert_eq!(bench.import(&report(START, 22)).await.unwrap(), Imported::New(expected));
    assert_eq!(bench.import(&report(START, 22)).await.unwrap(), Imported::Known(expected));
    assert_eq!((bench.count("scans"), bench.count("observations")), (1, 1));
    assert_eq!(bench.open_ports(NAS).await, Some(vec![22]));
    assert_eq!(bench.importer.facts().failed, 0);
}

#[tokio::test]
async fn another_report_of_the_same_second_is_another_scan() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    bench.import(&report(START, 22)).await.unwrap();
    let other = report(START, 22).replace("192.0.2.5", "192.0.2.6").replace(NAS, "02:00:00:00:00:06");
    assert_eq!(bench.import(&other).await.unwrap(), Imported::New(ScanId(START + 1)));
}

#[tokio::test]
async fn a_late_report_is_ordered_by_its_own_time() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    bench.import(&report(START, 22)).await.unwrap();
    bench.import(&report(START - 3600, 80)).await.unwrap();
    assert_eq!(bench.open_ports(NAS).await, Some(vec![22]), "the newer report counts");
    bench.import(&report(START + 60, 443)).await.unwrap();
    assert_eq!(bench.open_ports(NAS).await, Some(vec![443]));
}

#[tokio::test]
async fn a_refused_report_stores_nothing() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let whole = report(START, 22);
    let truncated = &whole[..whole.len() - 20];
    assert!(matches!(bench.import(truncated).await, Err(ImportError::Report(ReadError::Truncated))));
    let tomorrow = report(START + 2 * 86_400, 22);
    let error = bench.import(&tomorrow).await.unwrap_err();
    assert!(matches!(error, ImportError::Future(_)) && !error.may_pass(), "{error}");
    assert!(bench.import("{\"macs\":[]}").await.unwrap_err().to_string().contains("one for each MAC"));
    assert!(bench.import("").await.is_err());
    assert_eq!((bench.count("scans"), bench.count("devices")), (0, 0));
    assert_eq!(bench.importer.facts().failed, 4);
    // Within a day, the other machine's clock may be the right one.
    assert!(bench.import(&report(START + 86_400, 22)).await.is_ok());
}

#[tokio::test]
async fn without_a_set_clock_no_report_is_refused_for_its_time() {
    let bench = Bench::at("2000-01-01T00:00:10Z");
    assert!(bench.import(&report(START, 22)).await.is_ok());
}

#[tokio::test]
async fn imports_the_results_of_the_original_portscan() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let document = format!(
        r#"{{"host":{{"ipv4":"192.0.2.5","mac":"{NAS}"}},"time":{{"utc":"2022-12-11 21:18:02","prep_sec":1.0,"scan_sec":9.5,"total_sec":10.5}},"ports":[22,80],"count":2}}"#
    );
    let ended: Timestamp = "2022-12-11T21:18:02Z".parse().unwrap();
    let id = ScanId((ended - Duration::from_millis(10_500)).as_second());
    assert_eq!(bench.import(&document).await.unwrap(), Imported::New(id));
    assert_eq!(bench.import(&document).await.unwrap(), Imported::Known(id));
    assert_eq!(bench.open_ports(NAS).await, Some(vec![22, 80]));
}

#[tokio::test]
async fn ids_of_imports_and_of_own_scans_never_collide() {
    let bench = Bench::at("2026-03-01T10:00:00Z");
    bench.import(&report(START, 22)).await.unwrap();
    bench.import(&report(START + 86_000, 22)).await.unwrap();
    let kind = crate::model::ScanKind::Manual;
    let own = bench.store.begin_scan("lan", kind, &"22".parse().unwrap()).await.unwrap();
    assert_eq!(own, ScanId(START + 1), "a report from the future does not advance the ids of own scans");
    assert_eq!(bench.import(&report(START + 1, 22)).await.unwrap(), Imported::New(ScanId(START + 2)));
}

/// Returns a report as masscan writes it: an element for each port.
fn masscanned(elements: impl Iterator<Item = (u8, u16)>) -> String {
    let element = |(last, port): (u8, u16)| {
        format!(
            "<host endtime=\"{START}\"><address addr=\"192.0.2.{last}\" addrtype=\"ipv4\"/><ports><port protocol=\"tcp\" \
             portid=\"{port}\"><state state=\"open\" reason=\"syn-ack\" reason_ttl=\"64\"/></port></ports></host>\r\n"
        )
    };
    format!(
        "<?xml version=\"1.0\"?>\r\n<nmaprun scanner=\"masscan\" start=\"{START}\" version=\"1.0-BETA\" \
         xmloutputversion=\"1.03\">\r\n<scaninfo type=\"syn\" protocol=\"tcp\" />\r\n{}<runstats>\r\n<finished \
         time=\"{START}\" elapsed=\"1\" />\r\n</runstats>\r\n</nmaprun>\r\n",
        elements.map(element).collect::<String>()
    )
}

#[tokio::test]
async fn a_hundred_thousand_elements_of_two_hosts_are_two_observations() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let elements = (0..100_000_u32).map(|n| (5 + u8::from(n % 2 == 1), 1 + u16::try_from(n / 2).unwrap()));
    let taken = bench.take(masscanned(elements).as_bytes()).await.unwrap();
    let counts = Counts { scanned: 2, listed: 100_000, open: 100_000, ..Counts::default() };
    assert_eq!((taken.imported, taken.counts), (Imported::New(ScanId(START)), counts));
    assert_eq!((bench.count("observations"), bench.count("devices")), (2, 2));
    assert_eq!(bench.count("changes"), 2, "two new devices, and no port that opened");
    assert_eq!(bench.count("scans WHERE scanner = 'masscan'"), 1);
}

#[tokio::test]
async fn a_report_in_another_encoding_is_the_same_report() {
    for (number, begin) in [(0, "\u{feff}"), (1, "")] {
        let bench = Bench::at("2026-03-01T12:00:00Z");
        let text = format!("{begin}{}", report(START, 22));
        assert!(bench.take(text.as_bytes()).await.is_ok(), "UTF-8, {number}");
        let swapped: Vec<u8> =
            report(START + 1, 80).replace("22", "80").encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(bench.take(&swapped).await.is_ok(), "UTF-16, big-endian, {number}");
        let text = format!("{begin}{}", report(START + 2, 443));
        let powershell: Vec<u8> =
            text.replace('\n', "\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(bench.take(&powershell).await.is_ok(), "UTF-16, little-endian, {number}");
        assert!(matches!(
            bench.take(&powershell[..powershell.len() - 41]).await,
            Err(ImportError::Report(ReadError::Truncated))
        ));
        assert_eq!(bench.open_ports(NAS).await, Some(vec![443]));
    }
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let kept = format!(
        "\u{feff}{{\"host\":{{\"ipv4\":\"192.0.2.5\",\"mac\":\"{NAS}\"}},\"time\":{{\"utc\":\"2022-12-11 21:18:02\"}},\"ports\":[22]}}"
    );
    assert!(bench.take(kept.as_bytes()).await.is_ok());
}

#[tokio::test]
async fn a_compressed_report_is_refused_by_format_and_not_retried() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let error = bench.take(b"\x1f\x8b\x08\x00\x00\x00\x00\x00").await.unwrap_err();
    assert!(error.to_string().contains("gzip") && error.to_string().contains("gunzip"), "{error}");
    assert!(!error.may_pass());
}

#[tokio::test]
async fn hosts_that_were_down_create_no_device() {
    let bench = Bench::at("2026-03-01T12:00:00Z");
    let down = "<host><status state=\"down\" reason=\"no-response\"/><address addr=\"192.0.2.6\" addrtype=\"ipv4\"/></host>";
    let listed = down.replace("down", "unknown").replace(".6", ".7");
    let seen = down.replace("down", "up").replace(".6", ".8");
    let text = report(START, 22).replace("<runstats>", &format!("{down}{listed}{seen}<runstats>"));
    let taken = bench.take(text.as_bytes()).await.unwrap();
    assert_eq!(taken.counts, Counts { scanned: 1, seen: 1, listed: 1, open: 1, ..Counts::default() });
    assert_eq!(taken.left_out, Omissions { down: 1, unknown: 1, ..Omissions::default() });
    assert_eq!((bench.count("devices"), bench.count("observations")), (2, 1));
    // A known host that did not answer another machine stays as it is.
    let later = report(START + 60, 22).replace("state=\"up\"", "state=\"down\"");
    assert_eq!(bench.take(later.as_bytes()).await.unwrap().left_out.down, 1);
    assert_eq!(bench.count("devices WHERE presence = 'there'"), 2);
    assert_eq!(bench.open_ports(NAS).await, Some(vec![22]));
}
