//! 250 devices with 2,500 open ports are shown at once, and the filter reacts to a key at once.

use serde_json::Value;

use crate::{
    browser::visit,
    harness::{
        Portscan,
        browser::{Browser, Scope},
    },
    history,
    lab::Lab,
};

const DEVICES: u32 = 250;
/// The limit from the last octet of the data to the frame that shows it, in milliseconds.
const RENDERED: f64 = 500.0;
/// The limit from a key to the frame that shows the filtered rows.
const FILTERED: f64 = 50.0;
/// A busy machine is slow at everything, so the limit is at least this multiple of the time for a bare table.
const TIMES_BARE: f64 = 4.0;
const ROUNDS: usize = 5;

/// Records when all rows exist, and when they have been painted.
const WATCH: &str = "
    window.recorded = {};
    new MutationObserver(() => {
        if (recorded.rows || document.querySelectorAll('tbody tr').length < 250) return;
        recorded.rows = performance.now();
        requestAnimationFrame(() => setTimeout(() => { recorded.painted = performance.now(); }));
    }).observe(document, { childList: true, subtree: true });";

/// The milliseconds that the browser takes to paint a plain table with as many rows, cells and chips.
const BARE: &str = "
    new Promise((done) => {
        const begun = performance.now();
        const table = document.createElement('table');
        for (let row = 0; row < 250; row += 1) {
            const tr = table.appendChild(document.createElement('tr'));
            for (let cell = 0; cell < 6; cell += 1) {
                const td = tr.appendChild(document.createElement('td'));
                if (cell) td.textContent = `${row}.${cell}`;
                for (let chip = 0; !cell && chip < 10; chip += 1) {
                    const span = td.appendChild(document.createElement('span'));
                    span.className = 'chip';
                    span.textContent = `${chip} http`;
                }
            }
        }
        document.querySelector('main').append(table);
        requestAnimationFrame(() => setTimeout(() => {
            table.remove();
            done(performance.now() - begun);
        }));
    })";

/// Records for every key the time until the next frame has been painted, and the number of rows it shows.
const KEYS: &str = "
    window.keys = [];
    window.visible = () => document.querySelectorAll('tbody tr:not([hidden])').length;
    addEventListener('keydown', (event) => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => keys.push([performance.now() - event.timeStamp, visible()]);
        requestAnimationFrame(() => port2.postMessage(null));
    }, { capture: true });";

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn two_hundred_and_fifty_devices_are_shown_and_filtered_at_once() {
    let lab = Lab::alone("near");
    let portscan = Portscan::new(&lab, "[feed]\nurl = []\n");
    history::write(&portscan.database(), 1, &history::devices(DEVICES));
    let running = portscan.start();
    let browser = Browser::start(&lab);
    browser.before_each_page(WATCH);
    let (mut rendered, mut whole, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        visit(&browser, running.base());
        let painted =
            browser.wait_until("all rows are painted", || browser.script("return recorded.painted").as_f64());
        let data = "return performance.getEntriesByType('resource')
            .filter(({ name }) => name.endsWith('v1/hosts')).map(({ responseEnd }) => responseEnd)[0]";
        rendered.push(painted - number(&browser.script(data)));
        whole.push(painted);
        bare.push(number(&browser.promised(BARE)));
    }
    let (rendered, whole, bare) = (median(rendered), median(whole), median(bare));
    eprintln!(
        "{DEVICES} devices: {rendered:.0} ms from data to picture, {whole:.0} ms in all; a bare table {bare:.0} ms"
    );
    assert!(rendered < RENDERED.max(bare * TIMES_BARE), "{rendered:.0} ms, a bare table {bare:.0} ms");

    browser.script(KEYS);
    browser.find("combobox", "Filter").click();
    let filter = "port:22 or 10.0.0.3";
    for (at, key) in filter.chars().enumerate() {
        browser.press([key]);
        browser.wait_until("the key is recorded", || {
            (browser.script("return keys.length").as_u64() > Some(at as u64)).then_some(())
        });
        let (seen, last) = (browser.script("return keys.at(-1)[1]"), browser.script("return visible()"));
        assert_eq!(seen, last, "{key:?} takes effect in the next frame");
    }
    assert!(number(&browser.script("return visible()")) < f64::from(DEVICES), "some rows are hidden");
    let keys = browser.script("return keys.map(([took]) => took)");
    let keys: Vec<f64> = keys.as_array().unwrap().iter().map(number).collect();
    let worst = keys.iter().copied().fold(0.0, f64::max);
    let filtered = median(keys);
    eprintln!("a key in the filter: {filtered:.0} ms, {worst:.0} ms at worst");
    assert!(filtered < FILTERED.max(bare / 2.0), "{filtered:.0} ms, a bare table {bare:.0} ms");
    running.stop();
}
