// Running: the progress of the scans; starts and stops them.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, part, send } from "../api.js";
import { directory } from "../directory.js";
import { count, figure } from "../format.js";
import { bar } from "../parts/bar.js";
import { ask } from "../parts/dialog.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";
import { fail, say } from "../parts/toast.js";
import { deviceLink } from "../parts/devicelink.js";
import { reason, timeLeft } from "../runs.js";

/** @type {import("../main.js").Page} */
export default {
  title: "Running",
  open(place) {
    let runs = [];
    let health = null;
    let latest = [];
    let find = directory([]);
    let isStale = true;

    const start = async (name) => {
      try {
        const { runs } = await send("POST", name === null ? "v1/run" : `v1/run/${part(name)}`);
        say(`Running: ${runs.map(({ scanner }) => scanner).join(", ")}.`);
        place.reload();
      } catch (error) {
        fail(error);
      }
    };
    const stop = async (run) => {
      const content = html`<p>Its results so far are kept. Its devices are not scanned again for a while.</p>`;
      if (!(await ask({ title: `Stop ${run.scanner}?`, content, action: "Stop", danger: true }))) return;
      try {
        await send("DELETE", `v1/runs/${run.id}`);
        say(`${run.scanner} stopped.`);
        place.reload();
      } catch (error) {
        fail(error);
      }
    };

    return {
      async load() {
        const paths = ["v1/runs", "v1/health", "v1/runs?last=5"];
        const [now, how, last] = await Promise.all(paths.map(get));
        [runs, health, latest] = [now, how, last.filter((run) => run.finished)];
        // There may be many devices, and progress comes every few seconds.
        if (isStale) find = directory(await get("v1/hosts"));
        isStale = false;
      },
      heard: ({ kind }) => {
        isStale ||= kind === "change";
        // Open ports come with the progress, every few seconds.
        if (kind !== "port") place.reload();
      },
      view: () => html`<h1>Running</h1>
        <div class="actions" role="group" aria-label="Run now">
          ${health.scanners.length > 1
            ? html`<button class="primary" @click=${() => start(null)}>Run all now</button>`
            : nothing}
          ${health.scanners.map(({ name }) => html`<button @click=${() => start(name)}>Run ${name} now</button>`)}
          <span class="muted">${count(health.probes.in_flight, "probe")} in flight</span>
        </div>
        ${runs.length ? runs.map((run) => card(run, find, stop)) : html`<p class="hint">Nothing is running.</p>`}
        ${latestRuns(latest)}`,
    };
  },
};

function card(run, find, stop) {
  const { progress } = run;
  return html`<section class="card" aria-labelledby="run-${run.id}">
    <div class="head"><h2 id="run-${run.id}">${run.scanner} <span class="muted">${reason(run.kind)}</span></h2>
      <button @click=${() => stop(run)} aria-label="Stop ${run.scanner}, ${reason(run.kind)}">Stop</button></div>
    ${progress ? bar(`Ports of ${run.scanner}`, progress.ports) : nothing}
    <dl class="across">${facts(run).map(([name, fact]) => html`<div><dt>${name}</dt><dd>${fact}</dd></div>`)}</dl>
    ${progress?.devices.length ? devices(progress.devices, find) : nothing}
  </section>`;
}

function facts({ hosts, progress, started }) {
  const devices = ["Devices", `${hosts.done} of ${hosts.total}`];
  const start = ["Started", since(started)];
  if (!progress) return [devices, start];
  const { ports, rate, seconds_left: left } = progress;
  return [
    devices,
    ["Ports", `${figure(ports.done)} of ${figure(ports.total)}`],
    ["Rate", `${count(Math.round(rate), "port")} a second`],
    ["Time left", left === null ? "not known yet" : timeLeft(left)],
    start,
  ];
}

const devices = (devices, find) => rows(
  "Devices that are being scanned",
  ["Device", "Progress", "Ports", "Open so far"],
  devices.map(({ address, mac, ports, open, open_ports: found = [] }) => [
    deviceLink(find(mac ?? address), address),
    bar(`Ports of ${address}`, ports),
    `${figure(ports.done)} of ${figure(ports.total)}`,
    open ? `${found.join(", ")}${open > found.length ? ` and ${open - found.length} more` : ""}` : "none so far",
  ]),
);

const latestRuns = (runs) => runs.length
  ? html`<h2>Finished</h2><ul>${runs.map((run) => html`<li><a href="#/scan/${run.id}">${run.scanner}</a>
      ${reason(run.kind)}: ${run.status}, ${count(run.hosts.total, "device")}, ${since(run.finished)}</li>`)}
    </ul>`
  : nothing;
