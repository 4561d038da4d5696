// Opens pages, and draws the frame around them.
//
// A page is a file in pages/ that exports a Page, and a line in PAGES. Main opens it when the address's fragment
// names it (#/device/KEY?filter=... is the page `device` with the path ["KEY"] and a query), makes it load, draws
// its view, and passes events to it.

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { listen } from "./events.js";
import alerts from "./pages/alerts.js";
import changes from "./pages/changes.js";
import compare from "./pages/compare.js";
import device from "./pages/device.js";
import devices from "./pages/devices.js";
import differences from "./pages/differences.js";
import health from "./pages/health.js";
import running from "./pages/running.js";
import scan from "./pages/scan.js";
import scans from "./pages/scans.js";

/**
 * The default export of a file in pages/.
 * @typedef {object} Page
 * @property {string} title of the tab, until the page has a heading
 * @property {(place: Place) => Opened} open
 */

/**
 * A page that is shown.
 * @typedef {object} Opened
 * @property {(isWhole: boolean) => Promise<void>} load asks the API: for everything at first and whenever events may
 *   have been missed, or only for the progress of the scans
 * @property {() => any} view a template of what is known, with one <h1>; called after `load` and each `redraw`
 * @property {(message: import("./events.js").Message) => void} [heard] takes a change, a scan's progress or an open port
 * @property {() => void} [close] called before another page is opened
 */

/**
 * Where a page is, and what it may ask of main.
 * @typedef {object} Place
 * @property {string[]} path what follows the page's name
 * @property {URLSearchParams} query
 * @property {() => void} redraw draws the view soon
 * @property {(isWhole?: boolean) => void} reload loads again soon, then draws
 * @property {(query: Record<string, string>) => void} keep puts this into the address, for a link or a reload
 */

/** Pages with a `label` are in the navigation. */
const PAGES = [
  { name: "", page: devices, label: "Devices" },
  { name: "device", page: device },
  { name: "changes", page: changes, label: "Changes" },
  { name: "differences", page: differences, label: "Differences" },
  { name: "alerts", page: alerts, label: "Alerts" },
  { name: "scans", page: scans, label: "Scans" },
  { name: "scan", page: scan },
  { name: "compare", page: compare },
  { name: "running", page: running, label: "Running" },
  { name: "health", page: health, label: "Health" },
];

/** However many events there are, a page loads again at most this often, in milliseconds. */
const RELOAD = 1000;

/** The address follows the filter after a pause this long, in milliseconds: browsers limit such changes. */
const KEEP = 300;

/** Ages such as "5 min ago" are drawn again this often, in milliseconds. */
const REDRAW = 30_000;

const main = document.getElementById("main");
const top = document.getElementById("top");

/** The page that is shown. */
let shown = { name: "", page: devices, opened: null };
let live = false;
let drawing = false;

function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  const { page, opened, loaded, error } = shown;
  render(html`${error ? failure(error) : nothing}${loaded ? opened.view() : waiting(page, error)}`, main);
  render(frame(), top);
  document.title = `${main.querySelector("h1").textContent.trim()} · portscan`;
}

const waiting = ({ title }, error) => html`<h1>${title}</h1>${error ? nothing : html`<p class="muted">One moment…</p>`}`;

const failure = (error) => html`<div class="failure" role="alert">
  <p>${error.message}</p><button @click=${load}>Try again</button>
</div>`;

const frame = () => html`
  <a class="brand" href="#/">portscan</a>
  <nav aria-label="Pages"><ul>
    ${PAGES.filter((page) => page.label).map(({ name, label }) => html`<li>
      <a href="#/${name}" aria-current=${name === shown.name ? "page" : nothing}>${label}</a></li>`)}
  </ul></nav>
  <span class="live ${live ? "on" : ""}" role="status">${live ? "live" : "not live"}</span>`;

let reloading = null;
let loadedAt = -RELOAD;

function reload(isWhole = true) {
  shown.isWhole ||= isWhole;
  reloading ??= setTimeout(() => {
    reloading = null;
    // In a hidden tab nobody reads the page: it costs the appliance nothing.
    if (document.hidden) shown.stale = true;
    else load();
  }, Math.max(0, loadedAt + RELOAD - performance.now()));
}

/** One at a time: an answer that took longer must not overwrite a later one. */
async function load() {
  const ours = shown;
  if (ours.loading) {
    ours.stale = true;
    return;
  }
  const { isWhole } = ours;
  Object.assign(ours, { loading: true, stale: false, isWhole: false });
  loadedAt = performance.now();
  // Later loads only bring what is shown up to date.
  if (!ours.loaded) main.setAttribute("aria-busy", "true");
  try {
    await ours.opened.load(isWhole);
    Object.assign(ours, { loaded: true, error: null });
  } catch (error) {
    Object.assign(ours, { error, isWhole: true });
  }
  ours.loading = false;
  if (ours !== shown) return;
  main.removeAttribute("aria-busy");
  draw();
  if (ours.stale) reload(false);
}

/** Opens the page that the fragment names; the first one if there is no such page. */
async function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [wanted, ...rest] = path.split("/").map(decoded);
  const { name, page } = PAGES.find((known) => known.name === wanted) ?? PAGES[0];
  clearTimeout(keeping);
  shown.opened?.close?.();
  const ours = { name, page, opened: null, isWhole: true, loading: false, stale: false, loaded: false, error: null };
  const first = shown.opened === null;
  shown = ours;
  ours.opened = page.open({
    path: rest,
    query: new URLSearchParams(query),
    redraw: () => ours === shown && redraw(),
    reload: (isWhole) => ours === shown && reload(isWhole),
    keep: (query) => ours === shown && keep(path, query),
  });
  draw();
  // A phone has no room for all labels.
  top.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  await load();
  if (first || ours !== shown) return;
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

let keeping = null;

function keep(path, query) {
  clearTimeout(keeping);
  keeping = setTimeout(() => {
    const kept = String(new URLSearchParams(Object.entries(query).filter(([, value]) => value)));
    history.replaceState(null, "", `#/${path}${kept && `?${kept}`}`);
  }, KEEP);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function hear(message) {
  if (message.kind === "live") {
    live = message.data;
    redraw();
  } else if (message.kind === "again") {
    reload();
  } else {
    shown.opened?.heard?.(message);
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  // The fragment is the page's address; the skip link must not change it.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
addEventListener("visibilitychange", () => {
  if (!document.hidden && (shown.stale || performance.now() - loadedAt > REDRAW)) reload();
});
setInterval(redraw, REDRAW);
listen(hear);
route();
