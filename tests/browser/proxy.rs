//! The page below another server's path, as docs/page.md advises: no client is trusted there, so the page asks for the
//! token.

use super::{LONG, config, settled, visit};
use crate::{
    harness::{
        Portscan,
        browser::{Browser, Scope},
        nginx::Nginx,
    },
    lab::Lab,
};

fn token_of(portscan: &Portscan) -> String {
    let options = ["token", "--config", &portscan.write_config().display().to_string()];
    portscan.run(&options, LONG).stdout
}

#[test]
fn below_a_proxys_path_the_page_works_and_asks_for_the_token_once() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &config(&lab));
    let running = portscan.start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let token = token_of(&portscan);

    let nginx = Nginx::before(&lab, running.base());
    let browser = Browser::start(&lab);
    visit(&browser, &nginx.url());
    browser.find_reading("row", &["10.77.0.5", "22", "80"]);
    // Events pass the proxy, too.
    browser.find_reading("status", &["live"]);

    browser.find("link", "Differences").click();
    browser.find("button", "as baseline").click();
    browser.find("dialog", "Accept").find("button", "Accept").click();
    for (token, answer) in
        [("not this one, nor another", "not the right token"), (token.trim(), "No differences")]
    {
        let dialog = browser.find("dialog", "Token required");
        dialog.find("textbox", "Token").write(token);
        dialog.find("button", "Continue").click();
        browser.wait_for_text(answer);
    }
    let expected = || running.get("/v1/expected").json().as_array().unwrap().len();
    assert!(expected() > 0);
    browser.find("button", "Undo").click();
    // What was accepted once stays a baseline, now an empty one.
    browser.find("button", "Accept all");
    assert_eq!((expected(), browser.all("dialog").len()), (0, 0), "the page keeps the token");
    let kept = browser.script("return [document.cookie.length, localStorage.length, sessionStorage.length]");
    assert_eq!(kept, serde_json::json!([0, 0, 1]), "the token is kept for this tab alone");

    let requests = browser.end().requests;
    assert!(requests.iter().all(|url| url.starts_with(&nginx.url())), "{requests:?}");
    running.stop();
}

/// What the page in the frame says.
const FRAMED: &str = "return document.querySelector('iframe').contentDocument?.body?.innerText ?? ''";

#[test]
fn home_assistant_shows_the_page_in_a_frame_and_its_owner_changes_things_with_the_token() {
    let lab = Lab::enter("near");
    let portscan = Portscan::new(&lab, &config(&lab));
    let running = portscan.start();
    running.wait_for_devices(lab.hosts().count(), LONG);
    let token = token_of(&portscan);

    let nginx = Nginx::as_ingress(&lab, running.base());
    let browser = Browser::start(&lab);
    browser.open(&nginx.frame_url());
    browser.wait_until("the frame shows the devices", || {
        let said = browser.script(FRAMED);
        said.as_str().is_some_and(|said| said.contains("10.77.0.5")).then_some(())
    });

    // The frame's page by itself, whose elements the browser finds by their roles.
    browser.open(&nginx.url());
    settled(&browser);
    browser.find_reading("row", &["10.77.0.5", "22", "80"]);
    browser.find_reading("status", &["live"]);
    browser.find("link", "Differences").click();
    browser.find("button", "as baseline").click();
    browser.find("dialog", "Accept").find("button", "Accept").click();
    let dialog = browser.find("dialog", "Token required");
    dialog.find("textbox", "Token").write(token.trim());
    dialog.find("button", "Continue").click();
    browser.wait_for_text("No differences");
    assert!(!running.get("/v1/expected").json().as_array().unwrap().is_empty());

    let requests = browser.end().requests;
    let is_below = |url: &String| url.starts_with(&nginx.url()) || *url == nginx.frame_url();
    assert!(requests.iter().all(|url| is_below(url) || url.ends_with("/favicon.ico")), "{requests:?}");
    running.stop();
}
