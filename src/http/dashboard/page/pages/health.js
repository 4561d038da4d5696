// The health of the appliance: problems, notices, limits that were reached, and figures.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { bytes, figure, span, when } from "../format.js";
import { limitsReached } from "../limits.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";

/** The interval of requests, in milliseconds. */
const AGAIN = 15_000;

/** The least difference between the clocks of the appliance and the browser that is shown, in seconds. */
const APART = 60;

/** The chips of a finding's states. */
const CHIPS = { ok: "new", lacking: "warn", not_checked: "" };

/** @type {import("../main.js").Page} */
export default {
  title: "Health",
  open(place) {
    let health = null;
    let machine = null;
    let apart = 0;
    // What events do not change: they come by the second while a scan runs.
    let isDue = true;
    const timer = setInterval(() => {
      isDue = true;
      place.reload();
    }, AGAIN);
    return {
      async load() {
        health = await get("v1/health");
        if (isDue) machine = await get("v1/doctor");
        isDue = false;
        apart = (Date.parse(health.clock.time) - Date.now()) / 1000;
      },
      heard: ({ kind }) => kind !== "port" && place.reload(),
      close: () => clearInterval(timer),
      view: () => html`<h1>Health</h1>
        ${verdict(health)}
        <div class="columns">
          ${clock(health, apart)} ${memory(health)} ${database(health)} ${probes(health)}
        </div>
        ${scanners(health.scanners)} ${feeds(health.feeds)} ${findings(machine.findings)} ${links(health.version)}`,
    };
  },
};

function verdict(health) {
  const { problems, notices } = health;
  const reached = limitsReached(health);
  return html`
    ${problems.length
      ? html`<div class="failure" role="alert"><h2>Problems</h2>${list(problems)}</div>`
      : html`<p class="hint"><b>✓ Status: healthy.</b> ${notices.length || reached.length ? nothing : "No problems."}</p>`}
    ${notices.length ? html`<div class="hint warn"><h2>Notices</h2>${list(notices)}</div>` : nothing}
    ${reached.length ? html`<div class="hint warn"><h2>Limits reached</h2>${list(reached)}</div>` : nothing}`;
}

const list = (sentences) => html`<ul>${sentences.map((sentence) => html`<li>${sentence}</li>`)}</ul>`;

/** A card of names and values. */
const card = (title, facts) => html`<section class="card"><h2>${title}</h2>
  <dl class="facts">${facts.map(([name, fact]) => html`<dt>${name}</dt><dd>${fact}</dd>`)}</dl>
</section>`;

const clock = ({ clock, last_scan }, apart) => card("Time", [
  ["Clock", when(clock.time)],
  ["Synchronised", clock.synchronised ? "yes" : html`<b>no: scheduled scans wait for this, at most 5 minutes</b>`],
  ...(Math.abs(apart) > APART
    ? [["Compared with this browser", html`<b>${span(Math.abs(apart))} ${apart > 0 ? "fast" : "slow"}</b>`]]
    : []),
  ["Uptime", span(clock.uptime_seconds)],
  ["Last scan", since(last_scan)],
]);

const memory = ({ memory }) => card("Memory", memory
  ? [
      ["In use", bytes(memory.resident_bytes)],
      ["Peak", bytes(memory.peak_bytes)],
      ["Available", `${bytes(memory.available_bytes)} of ${bytes(memory.total_bytes)}`],
    ]
  : [["In use", "not reported by this machine"]]);

const database = ({ database, clock }) => {
  const grown = database.bytes - database.bytes_at_start;
  const days = clock.uptime_seconds / 86_400;
  return card("Database", [
    ["Writable", database.up ? "yes" : html`<b>no: scanning waits</b>`],
    ["Size", bytes(database.bytes)],
    ["Growth", `${grown < 0 ? "−" : ""}${bytes(Math.abs(grown))} in ${span(clock.uptime_seconds)}`],
    // In the first days, the first scans and the log would make it look like much more.
    ...(days > 2 ? [["Growth per day", bytes(Math.max(grown, 0) / days)]] : []),
  ]);
};

const probes = ({ probes, limits, local_errors }) => {
  const errors = local_errors.reduce((sum, { count }) => sum + count, 0);
  const table = limits?.conntrack;
  return card("Probes", [
    ["In flight", `${probes.in_flight} of ${probes.window}`],
    ["Accepted", figure(probes.accepted)],
    ["Refused", figure(probes.refused)],
    ["No reply", figure(probes.silent)],
    ["Unreachable", figure(probes.unreachable)],
    ["Local errors", figure(errors)],
    ...(table ? [["Connection table", `${table.entries} of ${table.max}`]] : []),
  ]);
};

const scanners = (scanners) => html`<h2>Scanners</h2>
  ${rows("Scanners", ["Name", "Every", "Last complete", "Duration", "Status"], scanners.map((scanner) => [
    scanner.name,
    span(scanner.interval_seconds),
    since(scanner.complete),
    scanner.took_seconds === null ? "not finished yet" : span(scanner.took_seconds),
    scanner.status ?? "not finished yet",
  ]))}`;

const feeds = (feeds) => html`<h2>Sources of devices</h2>
  ${rows("Sources of devices", ["Source", "State", "Devices", "Rejected entries", "Detail"], feeds.map((feed) => [
    html`<span class="mono">${feed.source}</span>`,
    html`<span class="chip ${feed.up ? "new" : "rogue"}">${feed.up ? "up" : "frozen"}</span>`,
    feed.devices,
    feed.rejected,
    feed.detail,
  ]))}`;

/** What the machine lacks comes first, with what mends it. */
const findings = (findings) => html`<h2>This machine</h2>
  ${rows("This machine", ["Subject", "State", "Detail"], Array.from(findings)
    .sort((one, other) => (other.state === "lacking") - (one.state === "lacking"))
    .map(({ subject, state, essential, detail, mend }) => [
      subject,
      html`<span class="chip ${CHIPS[state]}">${state.replace("_", " ")}</span> ${essential ? "essential" : nothing}`,
      html`${detail}${mend ? html`<br>Mend: <code>${mend}</code>` : nothing}`,
    ]))}`;

const links = (version) => html`<h2>For programs</h2>
  <p>portscan ${version} ·
    <a href="metrics">metrics, for Prometheus</a> ·
    <a href="v1/openapi.json">the API (OpenAPI)</a> ·
    <a href="v1/health">these figures as JSON</a> ·
    <a href="healthz">plain health check</a></p>`;
