//! The page below another server's path, as README advises.

use super::{appliance, visit};
use crate::{
    harness::{
        browser::{Browser, Scope},
        nginx::Nginx,
    },
    lab::Lab,
};

#[test]
fn below_a_path_it_is_the_same() {
    let lab = Lab::enter("near");
    let running = appliance(&lab);
    let nginx = Nginx::before(&lab, running.base());
    let browser = Browser::start(&lab);
    visit(&browser, &nginx.url());
    browser.find_reading("row", &["10.77.0.5", "22", "80"]);
    // Events pass, too.
    browser.find_reading("status", &["live"]);
    let requests = browser.end().requests;
    assert!(requests.iter().all(|url| url.starts_with(&nginx.url())), "{requests:?}");
    running.stop();
}
