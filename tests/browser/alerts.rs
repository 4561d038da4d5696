//! The page shows what the alert channels do, and its owner tests them, and retries or dismisses what was refused.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use rusqlite::Connection;

use super::{
    LONG,
    accessibility::{axe_faults, reach_all_by_keyboard},
    config, visit,
};
use crate::{
    harness::{
        Portscan,
        browser::{Browser, Scope},
        eventually,
        receiver::{HttpReceiver, Reception},
    },
    lab::Lab,
};

#[test]
fn a_receiver_that_fails_and_refuses_is_seen_and_handled_on_the_page() {
    let lab =
        Lab::describe("[[host]]\naddress = \"10.77.0.5\"\nmac = \"02:00:00:00:00:05\"\nopen = \"22,80\"\n");
    let status = Arc::new(AtomicU16::new(401));
    let answered = Arc::clone(&status);
    let receiver = HttpReceiver::start(move |_| Reception::Answers(answered.load(Ordering::SeqCst)));
    let channel = format!(
        "[[channel]]\nname = \"phone\"\ntype = \"ntfy\"\nurl = \"http://{}/topic\"\ngroup = \"1s\"\n",
        receiver.address()
    );
    let portscan = Portscan::new(&lab, &(config(&lab) + &channel));
    let running = portscan.start();
    running.wait_for_devices(1, LONG);
    let browser = Browser::start(&lab);
    visit(&browser, &format!("{}/#/alerts", running.base()));
    browser.find_reading("row", &["phone", "idle", "everything is delivered", "nothing", "never"]);

    browser.find("button", "Test phone").click();
    browser.wait_for_text("failed: the answer is 401 Unauthorized: ok; token_file is missing or wrong");
    let command = |arguments: &[&str]| {
        let finished = portscan.run(&[arguments, &["--url", running.base()]].concat(), LONG);
        assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
    };
    command(&["expected", "accept", "--all"]);
    lab.host("10.77.0.5").open(88);
    command(&["run", "--host", "10.77.0.5", "--wait"]);
    browser.find_reading(
        "row",
        &["phone", "failing", "tries again", "token_file is missing or wrong", "1 event"],
    );

    status.store(400, Ordering::SeqCst);
    let title = "10.77.0.5: port 88/tcp opened, unexpected";
    eventually(LONG, "the next attempt is refused", || {
        browser.text().contains("Refused messages").then_some(())
    });
    browser.find_reading("row", &[title, "phone", "the answer is 400"]);
    browser.find("button", &format!("Retry: {title}")).click();
    browser.wait_for_text("Refused again: the answer is 400");

    let database = Connection::open(portscan.database()).unwrap();
    database.busy_timeout(LONG).unwrap();
    let sql = "INSERT INTO alert_messages (channel, first, last, title, state, at, reason)
               VALUES ('phone', -9, -9, '<img src=x onerror=alert(1)>', 'parked', 1772359200000, '<b>no</b>')";
    database.execute(sql, []).unwrap();
    let hostile = "Dismiss: <img src=x onerror=alert(1)>";
    browser.find("button", hostile);
    let faults = axe_faults(&browser, "alerts");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    visit(&browser, &format!("{}/#/alerts", running.base()));
    reach_all_by_keyboard(&browser, "alerts");

    browser.find("button", hostile).click();
    browser.wait_for_text("Acknowledged.");
    // Its row goes a moment later, and takes another row's buttons with it: those that remain are reused.
    browser.wait_until("the row is gone", || (!browser.text().contains("<b>no</b>")).then_some(()));
    status.store(200, Ordering::SeqCst);
    browser.find("button", &format!("Retry: {title}")).click();
    browser.wait_for_text("Delivered.");
    browser.wait_until("nothing is refused any more", || {
        (!browser.text().contains("Refused messages")).then_some(())
    });
    browser.find_reading("row", &[title, "phone", "delivered"]);
    browser.find_reading("row", &["<img src=x onerror=alert(1)>", "acknowledged"]);
    browser.find("button", &format!("Acknowledge: {title}")).click();
    browser.find_reading("row", &[title, "phone", "acknowledged"]);
    let seen = browser.end();
    assert!(seen.requests.iter().all(|url| url.starts_with(running.base())), "{:?}", seen.requests);
    running.stop();
}
