// Which page is shown, and the frame around it.
//
// A page is a file in pages/ that exports a Page, and a line in PAGES. Main opens it when the address's fragment
// names it (#/device/KEY?filter=... is the page `device` with the path ["KEY"] and a query), has it load, draws
// its view, and tells it what happens.

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { listen } from "./events.js";
import changes from "./pages/changes.js";
import compare from "./pages/compare.js";
import device from "./pages/device.js";
import differences from "./pages/differences.js";
import health from "./pages/health.js";
import now from "./pages/now.js";
import running from "./pages/running.js";
import scan from "./pages/scan.js";
import scans from "./pages/scans.js";

/**
 * What a file in pages/ exports by default.
 * @typedef {object} Page
 * @property {string} title of the tab, until the page has a heading
 * @property {(place: Place) => Opened} open
 */

/**
 * A page that is shown.
 * @typedef {object} Opened
 * @property {() => Promise<void>} load asks the appliance; at first, and whenever something may have been missed
 * @property {() => any} view a template of what is known, with one <h1>; called after `load` and each `redraw`
 * @property {(told: import("./events.js").Told) => void} [heard] something has happened: a change, or a scan's progress
 * @property {() => void} [close] another page comes
 */

/**
 * Where a page is, and what it may ask of main.
 * @typedef {object} Place
 * @property {string[]} path what comes behind the page's name
 * @property {URLSearchParams} query
 * @property {() => void} redraw draws the view soon
 * @property {() => void} reload loads again soon, then draws
 * @property {(query: Record<string, string>) => void} keep puts this into the address, for a link or a reload
 */

/** `label`: it is in the navigation. */
const PAGES = [
  { name: "", page: now, label: "Now" },
  { name: "device", page: device },
  { name: "changes", page: changes, label: "Changes" },
  { name: "differences", page: differences, label: "Differences" },
  { name: "scans", page: scans, label: "Scans" },
  { name: "scan", page: scan },
  { name: "compare", page: compare },
  { name: "running", page: running, label: "Running" },
  { name: "health", page: health, label: "Health" },
];

/** During a scan's many changes a page loads again at most this often, in milliseconds. */
const RELOAD = 1000;

/** The address follows what is written when it rests so long, in milliseconds: browsers ration such changes. */
const KEEP = 300;

/** What has grown old by itself, "5 min ago", is drawn anew this often, in milliseconds. */
const REDRAW = 30_000;

const main = document.getElementById("main");
const top = document.getElementById("top");

/** What is shown. */
let shown = { name: "", page: now, opened: null };
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

function reload() {
  reloading ??= setTimeout(() => {
    reloading = null;
    // Nobody looks: the appliance has better to do.
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
  Object.assign(ours, { loading: true, stale: false });
  loadedAt = performance.now();
  main.setAttribute("aria-busy", "true");
  try {
    await ours.opened.load();
    Object.assign(ours, { loaded: true, error: null });
  } catch (error) {
    ours.error = error;
  }
  ours.loading = false;
  if (ours !== shown) return;
  main.removeAttribute("aria-busy");
  draw();
  if (ours.stale) reload();
}

/** Opens the page that the fragment names; the first one if it names none. */
async function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, ...rest] = path.split("/").map(decoded);
  const { page } = PAGES.find((known) => known.name === name) ?? PAGES[0];
  clearTimeout(keeping);
  shown.opened?.close?.();
  const ours = { name, page, opened: null, loading: false, stale: false, loaded: false, error: null };
  const first = shown.opened === null;
  shown = ours;
  ours.opened = page.open({
    path: rest,
    query: new URLSearchParams(query),
    redraw: () => ours === shown && redraw(),
    reload: () => ours === shown && reload(),
    keep: (query) => ours === shown && keep(path, query),
  });
  draw();
  // On a phone there is not room for all.
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

function hear(told) {
  if (told.kind === "live") {
    live = told.data;
    redraw();
  } else if (told.kind === "again") {
    reload();
  } else {
    shown.opened?.heard?.(told);
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
