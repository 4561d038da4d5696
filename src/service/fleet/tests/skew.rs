//! Hub and site of two releases. The other release is made from a database of this one: with a column more, and the
//! number of another schema.

use super::*;

impl Pair {
    fn site(&self) -> Connection {
        Connection::open(self.dir.path().join("site").join(store::FILE_NAME)).unwrap()
    }

    fn copied(&self) -> Connection {
        Connection::open(self.dir.path().join("hub/house-3").join(store::FILE_NAME)).unwrap()
    }

    /// Stops the hub and starts it again.
    async fn restart_hub(&mut self) {
        let (link, dir) = (&mut self.link, self.dir.path().join("hub"));
        let empty = SiteCopy::open("empty".parse().unwrap(), &dir, clock()).unwrap();
        drop(std::mem::replace(&mut link.copy, Arc::new(empty.0)));
        self.uplink = uplink(&self.store, link);
        let thread = std::mem::replace(&mut self._threads[0], empty.1);
        tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
        let (copy, thread) = SiteCopy::open("house-3".parse().unwrap(), &dir, clock()).unwrap();
        copy.read_standing().await.unwrap();
        self.link.copy = Arc::new(copy);
        self.uplink = uplink(&self.store, &self.link);
        self._threads[0] = thread;
    }
}

/// The number of a schema, so many steps from this program's.
fn schema(steps: i64) -> i64 {
    i64::try_from(Store::SCHEMA).unwrap() + steps
}

const MORE: &str = "ALTER TABLE devices ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'";
const LESS: &str = "ALTER TABLE devices DROP COLUMN colour";

#[tokio::test]
async fn a_newer_site_sends_what_the_hub_knows_and_all_once_the_hub_is_upgraded() {
    let mut pair = Pair::new();
    let mut random = fastrand::Rng::with_seed(3);
    pair.site().execute_batch(&format!("{MORE}; PRAGMA user_version = {}", schema(1))).unwrap();
    for _ in 0..20 {
        write_anything(&pair.store, &mut random).await;
        pair.sync().await.unwrap();
    }
    pair.store.record_sightings(vec![device(1, true)], Vec::new()).await.unwrap();
    pair.store.flush().await.unwrap();
    pair.site().execute_batch("UPDATE devices SET colour = 'red'").unwrap();
    pair.sync().await.unwrap();
    pair.site().execute_batch(LESS).unwrap();
    pair.assert_equal().await;

    // The upgraded hub: its copy has the column, and what it has stored says that an older hub took it.
    pair.site().execute_batch(&format!("{MORE}; UPDATE devices SET colour = 'red'")).unwrap();
    let older = "UPDATE succession SET form = replace(form, '\"hub\":[\"', '\"hub\":[\"0.')";
    pair.restart_hub().await;
    pair.copied().execute_batch(&format!("{MORE}; {older}")).unwrap();
    pair.restart_hub().await;
    assert_eq!(pair.link.copy.receive(SiteMessage::Alive).await, HubAnswer::SendAll);
    pair.site().execute_batch(&format!("PRAGMA user_version = {}", schema(0))).unwrap();
    pair.fate(&[Fate::Delivered, Fate::AnswerLost]);
    assert!(matches!(pair.sync().await, Err(UplinkEnd::Link(_))));
    pair.sync().await.unwrap();
    pair.assert_equal().await;
    assert_eq!(pair.link.copy.receive(SiteMessage::Alive).await, HubAnswer::Accepted);
}

#[tokio::test]
async fn a_column_that_an_older_site_does_not_have_gets_its_default() {
    let pair = Pair::new();
    pair.copied().execute_batch(MORE).unwrap();
    pair.site().execute_batch(&format!("PRAGMA user_version = {}", schema(-1))).unwrap();
    pair.store.record_sightings(vec![device(1, true), device(2, true)], Vec::new()).await.unwrap();
    pair.sync().await.unwrap();
    let grey = "SELECT count(*) FROM devices WHERE colour = 'grey'";
    assert_eq!(pair.copied().query_row(grey, [], |row| row.get::<_, i64>(0)).unwrap(), 2);

    // It is upgraded, and its rows have the column.
    let upgraded = format!("{MORE}; UPDATE devices SET colour = 'red'; PRAGMA user_version = {}", schema(0));
    pair.site().execute_batch(&upgraded).unwrap();
    pair.sync().await.unwrap();
    pair.assert_equal().await;
    assert_eq!(pair.copied().query_row(grey, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn a_value_that_only_a_newer_site_knows_is_left_out() {
    let pair = Pair::new();
    pair.store.record_sightings(vec![device(1, true), device(2, true)], Vec::new()).await.unwrap();
    pair.store.flush().await.unwrap();
    let spoilt = format!("UPDATE devices SET first_seen = {} WHERE id = 1", i64::MAX);
    pair.site().execute_batch(&format!("PRAGMA user_version = {}; {spoilt}", schema(1))).unwrap();
    pair.sync().await.unwrap();
    assert_eq!(pair.link.copy.store().hosts(0, 10).await.unwrap().rows.len(), 1);
    assert_eq!(pair.link.copy.status().borrow().refusal, None);
}

#[tokio::test]
async fn a_hub_that_starts_again_goes_on_without_a_greeting() {
    let mut pair = Pair::new();
    pair.store.record_sightings(vec![device(1, true)], Vec::new()).await.unwrap();
    let mut position = pair.uplink.begin().await.unwrap();
    pair.uplink.send_round(&mut position).await.unwrap();
    pair.restart_hub().await;
    assert_eq!(pair.link.copy.receive(SiteMessage::Alive).await, HubAnswer::Accepted);
    pair.store.record_sightings(vec![device(2, true)], Vec::new()).await.unwrap();
    pair.uplink.send_round(&mut position).await.unwrap();
    pair.assert_equal().await;
}
