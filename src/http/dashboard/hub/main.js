// The page of sites: which there are, whether they are heard, and what needs its owner.

import { html, nothing, render } from "../page/vendor/lit-html/lit-html.js";
import { get } from "../page/api.js";
import { count, figure } from "../page/format.js";
import { table } from "../page/parts/table.js";
import { since } from "../page/parts/time.js";
import { adviceOrder, complaints, differences, matcher, stateView, totals } from "./sites.js";

/** How often the sites are loaded again, in milliseconds. */
const RELOAD = 15_000;

const main = document.getElementById("main");
const live = document.getElementById("live");

let sites = null;
let error = null;
/** What keeps the hub itself from its work. */
let trouble = null;
let loading = false;
let loadedAt = 0;
let sort = { by: "reports", down: false };
let filter = new URLSearchParams(location.hash.slice(1)).get("filter") ?? "";

async function load() {
  // One at a time: an answer that took longer must not overwrite a later one.
  if (loading) return;
  loading = true;
  try {
    [[sites, trouble], error] = [await Promise.all([get("v1/sites"), ownTrouble()]), null];
  } catch (refused) {
    error = refused;
  }
  [loading, loadedAt] = [false, performance.now()];
  draw();
}

/** A hub that fails answers /healthz with 503 and the reason. */
const ownTrouble = () => get("healthz").then(() => null, ({ message }) => message);

const unknown = (number) => (number === null ? "unknown" : figure(number));

/** The keys are classes, too: none of them is one of the appliance's page. */
const columns = () => [
  {
    key: "site",
    title: "Site",
    // A name is of a-z, 0-9 and hyphens, so that it is a path as it is.
    cell: ({ name, host }) => html`<a href="sites/${name}/">${name}</a>${host && host !== name ? html` <span class="state">${host}</span>` : nothing}`,
    value: ({ name }) => name,
  },
  { key: "reports", title: "State", cell: state, value: (site) => stateView(site, Date.now()).order },
  { key: "known", title: "Devices", cell: ({ devices }) => unknown(devices), value: ({ devices }) => devices },
  { key: "ports", title: "Open ports", cell: ({ open }) => unknown(open), value: ({ open }) => open },
  { key: "differing", title: "Differences", cell: differing, value: differences },
  { key: "level", title: "Advice", cell: advice, value: adviceOrder },
  { key: "heard", title: "Heard", cell: ({ heard }) => since(heard), value: ({ heard }) => (heard ? -Date.parse(heard) : null) },
];

function state(site) {
  const { text, kind } = stateView(site, Date.now());
  return html`<span class="chip ${kind}">${text}</span>
    ${complaints(site).map((sentence) => html`<p class="error">${sentence}</p>`)}
    ${site.notices.map((sentence) => html`<p class="state">${sentence}</p>`)}`;
}

const differing = ({ name, rogue, missing }) => {
  if (rogue === null) return "unknown";
  if (!rogue && !missing) return "none";
  const words = [rogue && `${figure(rogue)} unexpected`, missing && `${figure(missing)} missing`];
  return html`<a href="sites/${name}/#/differences">${words.filter(Boolean).join(", ")}</a>`;
};

const advice = ({ worst_advice: level }) => (level === null ? "none" : html`<span class="chip ${level}">${level}</span>`);

function draw() {
  const now = Date.now();
  const shown = (sites ?? []).filter(matcher(filter, now));
  live.textContent = error ? "not live" : "live";
  live.classList.toggle("on", !error);
  render(html`
    ${error ? html`<div class="failure" role="alert"><p>${error.message}</p><button @click=${load}>Try again</button></div>` : nothing}
    <h1>Sites</h1>
    ${trouble && !error ? html`<div class="failure" role="alert"><p>${trouble}</p></div>` : nothing}
    ${sites === null ? (error ? nothing : html`<p class="muted">One moment…</p>`) : view(shown)}`, main);
}

function view(shown) {
  if (!sites.length) {
    return html`<div class="hint"><h2>No sites yet</h2>
      <p>Enrol one: <code>portscan hub enrol NAME</code>, on this machine.</p></div>`;
  }
  const all = totals(shown);
  return html`<div class="filter" role="search">
      <label for="filter" class="hidden-text">Filter</label>
      <div class="combo"><input id="filter" type="search" autocomplete="off" autocapitalize="none" spellcheck="false"
        placeholder="Filter: house   site:house-3   -current" .value=${filter} @input=${({ target }) => narrow(target.value)}></div>
      <p class="figures" role="status"><b>${figure(all.current)}</b> of ${count(shown.length, "site")} current,
        <b>${figure(all.devices)}</b> devices, <b>${figure(all.open)}</b> open ports,
        <b>${figure(all.differences)}</b> differences</p>
    </div>
    ${table({
      caption: "The sites of this hub",
      columns: columns(),
      rows: shown,
      id: ({ name }) => name,
      sort,
      onSort: (next) => ((sort = next), draw()),
    })}`;
}

function narrow(text) {
  filter = text;
  history.replaceState(null, "", text ? `#${new URLSearchParams({ filter: text })}` : location.pathname);
  draw();
}

document.querySelector(".skip").addEventListener("click", (event) => {
  // The fragment is the filter; the skip link must not change it.
  event.preventDefault();
  main.focus();
});
addEventListener("visibilitychange", () => !document.hidden && performance.now() - loadedAt > RELOAD && load());
// In a hidden tab nobody reads the page.
setInterval(() => (document.hidden ? null : load()), RELOAD);
draw();
load();
