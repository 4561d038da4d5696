// Health: how the appliance itself is, and whatever its owner should know.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { bytes, figure, span, when } from "../format.js";
import { limitsMet } from "../limits.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";

/** How often it is asked, in milliseconds. */
const AGAIN = 15_000;

/** The clocks of two machines that are more seconds apart than this are told to be. */
const APART = 60;

/** @type {import("../main.js").Page} */
export default {
  title: "Health",
  open(place) {
    let health = null;
    let apart = 0;
    const timer = setInterval(place.reload, AGAIN);
    return {
      async load() {
        health = await get("v1/health");
        apart = (Date.parse(health.clock.time) - Date.now()) / 1000;
      },
      heard: place.reload,
      close: () => clearInterval(timer),
      view: () => html`<h1>Health</h1>
        ${verdict(health)}
        <div class="columns">
          ${clock(health, apart)} ${memory(health)} ${database(health)} ${probes(health)}
        </div>
        ${scanners(health.scanners)} ${feeds(health.feeds)} ${links(health.version)}`,
    };
  },
};

function verdict(health) {
  const { problems, notices } = health;
  const met = limitsMet(health);
  return html`
    ${problems.length
      ? html`<div class="failure" role="alert"><h2>It cannot do its work</h2>${list(problems)}</div>`
      : html`<p class="hint"><b>✓ It does its work.</b> ${notices.length || met.length ? nothing : "There is nothing to tell."}</p>`}
    ${notices.length ? html`<div class="hint warn"><h2>To know</h2>${list(notices)}</div>` : nothing}
    ${met.length ? html`<div class="hint warn"><h2>Limits met</h2>${list(met)}</div>` : nothing}`;
}

const list = (sentences) => html`<ul>${sentences.map((sentence) => html`<li>${sentence}</li>`)}</ul>`;

/** A card of names and what they stand for. */
const card = (title, facts) => html`<section class="card"><h2>${title}</h2>
  <dl class="facts">${facts.map(([name, fact]) => html`<dt>${name}</dt><dd>${fact}</dd>`)}</dl>
</section>`;

const clock = ({ clock, last_scan }, apart) => card("Time", [
  ["Its clock", when(clock.time)],
  ["Set", clock.synchronised ? "yes" : html`<b>no: scheduled scans wait for it, 5 minutes at most</b>`],
  ...(Math.abs(apart) > APART
    ? [["Beside yours", html`<b>${span(Math.abs(apart))} ${apart > 0 ? "fast" : "slow"}</b>`]]
    : []),
  ["Runs since", span(clock.uptime_seconds)],
  ["Last scan", since(last_scan)],
]);

const memory = ({ memory }) => card("Memory", memory
  ? [
      ["Taken", bytes(memory.resident_bytes)],
      ["At most", bytes(memory.peak_bytes)],
      ["Left", `${bytes(memory.available_bytes)} of ${bytes(memory.total_bytes)}`],
    ]
  : [["Taken", "this machine does not tell"]]);

const database = ({ database, clock }) => {
  const grown = database.bytes - database.bytes_at_start;
  const days = clock.uptime_seconds / 86_400;
  return card("Database", [
    ["Written", database.up ? "yes" : html`<b>no: scanning waits</b>`],
    ["Size", bytes(database.bytes)],
    ["Grown", `${grown < 0 ? "−" : ""}${bytes(Math.abs(grown))} in ${span(clock.uptime_seconds)}`],
    // Before that the first scans and the log would make it look like much more.
    ...(days > 2 ? [["A day", bytes(Math.max(grown, 0) / days)]] : []),
  ]);
};

const probes = ({ probes, limits, local_errors }) => {
  const errors = local_errors.reduce((sum, { count }) => sum + count, 0);
  const table = limits?.conntrack;
  return card("Probes", [
    ["Under way", `${probes.in_flight} of ${probes.window}`],
    ["Accepted", figure(probes.accepted)],
    ["Refused", figure(probes.refused)],
    ["Silent", figure(probes.silent)],
    ["Unreachable", figure(probes.unreachable)],
    ["Local errors", figure(errors)],
    ...(table ? [["Firewall's table", `${table.entries} of ${table.max}`]] : []),
  ]);
};

const scanners = (scanners) => html`<h2>Scanners</h2>
  ${rows("Scanners", ["Name", "Every", "Last complete", "Took", "Ended"], scanners.map((scanner) => [
    scanner.name,
    span(scanner.interval_seconds),
    since(scanner.complete),
    scanner.took_seconds === null ? "" : span(scanner.took_seconds),
    scanner.status ?? "",
  ]))}`;

const feeds = (feeds) => html`<h2>Where devices come from</h2>
  ${rows("Where devices come from", ["Source", "State", "Devices", "Refused entries", "Detail"], feeds.map((feed) => [
    html`<span class="mono">${feed.source}</span>`,
    html`<span class="chip ${feed.up ? "new" : "rogue"}">${feed.up ? "believed" : "frozen"}</span>`,
    feed.devices,
    feed.rejected,
    feed.detail,
  ]))}`;

const links = (version) => html`<h2>For programs</h2>
  <p>portscan ${version} ·
    <a href="metrics">metrics, for Prometheus</a> ·
    <a href="v1/openapi.json">the API's description</a> ·
    <a href="v1/health">these figures</a> ·
    <a href="healthz">one word</a></p>`;
