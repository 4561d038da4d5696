// One device: its facts, its open ports, their history, and your notes.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, part, send } from "../api.js";
import { keyOf, viewer } from "../devices.js";
import { count, figure, when } from "../format.js";
import { TYPES } from "../identity.js";
import { chip } from "../parts/chip.js";
import { ask } from "../parts/dialog.js";
import { identified } from "../parts/identified.js";
import { since } from "../parts/time.js";
import { timeline } from "../parts/timeline.js";
import { fail, say } from "../parts/toast.js";
import { history } from "../timeline.js";

/** How often the progress of a requested scan is polled, in milliseconds. */
const POLL = 2000;

/** The lengths of the history to choose from, in days. */
const LENGTHS = { day: 1, week: 7, month: 30, year: 365, all: Infinity };

/** The sources of a name, as the API calls them. */
const SOURCES = { owner: "you", config: "the configuration", feed: "a feed", mdns: "the device", dns: "DNS" };

/** @type {import("../main.js").Page} */
export default {
  title: "Device",
  open(place) {
    const key = place.path[0] ?? "";
    let device = null;
    let view = null;
    let past = null;
    let length = place.query.get("time") ?? "month";
    let run = null;
    let closed = false;

    /** Whether an event is about this device. */
    const isOurs = ({ mac, address }) => [key, device?.key].includes(mac ?? address);

    async function load(isWhole) {
      if (!isWhole) {
        const host = await get(`v1/hosts/${part(key)}`);
        device = view(host);
        return;
      }
      const [host, info] = await Promise.all([get(`v1/hosts/${part(key)}`), get("v1/info")]);
      const [differences, changes] = await Promise.all([
        info.baseline ? get(`v1/diff?host=${part(keyOf(host))}`) : [],
        get(`v1/changes?mac=${part(keyOf(host))}`),
      ]);
      view = viewer([host], differences, Date.now());
      device = view(host);
      past = history(host, changes, Date.now());
    }

    async function scan() {
      try {
        const { id } = await send("POST", `v1/run?host=${part(key)}`);
        run = { progress: null };
        place.redraw();
        await watch(id);
        say("The scan is complete.");
        place.reload();
      } catch (error) {
        fail(error);
      } finally {
        run = null;
        place.redraw();
      }
    }

    async function watch(id) {
      do {
        run = await get(`v1/runs/${id}`);
        place.redraw();
        await new Promise((passed) => setTimeout(passed, POLL));
      } while (run.status === "running" && !closed);
    }

    async function save(event) {
      event.preventDefault();
      const { name, note, type, tags } = Object.fromEntries(new FormData(event.target));
      await patch({ name, note, type: type || null, tags: tags.toLowerCase().split(/[\s,]+/).filter(Boolean) });
    }

    async function patch(words) {
      try {
        await send("PATCH", `v1/hosts/${part(key)}`, words);
        say("Saved.");
        place.reload();
      } catch (error) {
        fail(error);
      }
    }

    async function forget() {
      const sure = await ask({
        title: `Forget ${device.title}?`,
        content: html`<p>Its results and its history are deleted; its expected state stays. If it is still on the
          network, it will appear as a new device.</p>`,
        action: "Forget",
        danger: true,
      });
      if (!sure) return;
      try {
        await send("DELETE", `v1/hosts/${part(key)}`);
        location.hash = "#/";
      } catch (error) {
        fail(error);
      }
    }

    function choose(wanted) {
      length = wanted;
      place.keep({ time: wanted });
      place.redraw();
    }

    return {
      load,
      heard({ kind, data }) {
        // An open port and the progress are in what the API says about the device; a change has a history, too.
        if (kind === "scan") place.reload(!data.running);
        else if (isOurs(data)) place.reload(kind === "change");
      },
      close: () => (closed = true),
      view: () => html`
        <p><a href="#/">All devices</a></p>
        <div class="actions heading">
          <h1>${device.title}</h1>
          <button class="primary" aria-disabled=${run !== null} @click=${() => run ?? scan()}>Scan now</button>
          <span role="status" class="muted">${run ? progress(run) : nothing}</span>
        </div>
        <section class="card"><h2>Open ports</h2>
          ${device.ports.length ? html`<ul class="chips">${device.ports.map((port) => chip(port))}</ul>` : nothing}
          ${device.state ? html`<p class="state">${device.state}</p>` : nothing}
          ${advice(device.ports)}
        </section>
        ${identified(device.host.ports, Date.now())}
        <div class="columns">${facts(device.host, () => patch({ silenced: null }))}${notes(device.host, save)}</div>
        ${pastOf(device, past, length, choose)}
        ${addresses(device.host)}
        <button class="danger" @click=${forget}>Forget this device…</button>`,
    };
  },
};

function progress({ progress }) {
  if (!progress) return "Starting the scan…";
  const { done, total } = progress.ports;
  return `Scanning: ${figure(done)} of ${count(total, "port")}`;
}

const LEVELS = ["act", "look", "fine"];

/** What the open ports are and whether that is all right, those that matter most first. */
function advice(ports) {
  const told = LEVELS.flatMap((level) => ports.filter((port) => port.advice?.level === level));
  if (!told.length) return nothing;
  return html`<h2>Is that all right?</h2><ul class="plain advice">${told.map(({ port, protocol, advice: { level, what, why, remedy } }) => html`<li>
    <span class="chip ${level}">${level}</span> <b>${port}/${protocol}</b> ${what}
    <p>${why} <span class="muted">${remedy}</span></p></li>`)}</ul>`;
}

const facts = (host, identify) => html`<section class="card"><h2>Device</h2><dl class="facts">
  <dt>Address</dt><dd>${host.address}</dd>
  <dt>MAC</dt><dd>${host.mac ? html`<span class="mono">${host.mac}</span>` : "not known: the device is behind a router"}
    ${host.locally_administered ? html`<br><span class="muted">made up by software, as phones do; it may change</span>` : nothing}</dd>
  <dt>Vendor</dt><dd>${host.vendor ?? "unknown"}</dd>
  <dt>Type</dt><dd>${host.type ? html`<span aria-hidden="true">${TYPES[host.type]}</span> ${host.type}
    <bdi class="muted">${host.type_evidence}</bdi>` : "unknown"}</dd>
  ${host.maker ? html`<dt>Maker</dt><dd><bdi>${host.maker}</bdi></dd>` : nothing}
  ${host.model ? html`<dt>Model</dt><dd><bdi>${host.model}</bdi></dd>` : nothing}
  ${host.tags?.length ? html`<dt>Tags</dt><dd>${host.tags.map((tag) => html`<a class="chip" href="#/?filter=tag:${tag}">${tag}</a> `)}</dd>` : nothing}
  ${host.silenced ? html`<dt>Left alone</dt><dd>since ${when(host.silenced)}: it fell silent after it was identified
    <button @click=${identify}>Identify again</button></dd>` : nothing}
  ${host.names.map(({ name, source }) => html`<dt>Name</dt><dd><bdi>${name}</bdi> <span class="muted">from ${SOURCES[source] ?? source}</span></dd>`)}
  <dt>First seen</dt><dd>${since(host.first_seen)} <span class="muted">${when(host.first_seen)}</span></dd>
  <dt>Last seen</dt><dd>${since(host.last_seen)} <span class="muted">${when(host.last_seen)}</span></dd>
</dl></section>`;

const notes = (host, save) => html`<section class="card"><h2>Your notes</h2><form @submit=${save}>
  <label>Name <input name="name" maxlength="64" autocomplete="off" .value=${host.own_name ?? ""}></label>
  <label>Note <textarea name="note" maxlength="1000" .value=${host.note ?? ""}></textarea></label>
  <label>Type <select name="type"><option value="">as it seems</option>${Object.keys(TYPES).map((type) =>
    html`<option ?selected=${type === host.own_type}>${type}</option>`)}</select></label>
  <label>Tags, separated by spaces <input name="tags" maxlength="540" autocomplete="off" .value=${(host.own_tags ?? []).join(" ")}></label>
  <button>Save</button>
</form></section>`;

function pastOf({ host, ports }, past, length, choose) {
  const now = Date.now();
  const first = Date.parse(host.first_seen);
  const from = Math.max(first, now - (LENGTHS[length] ?? LENGTHS.month) * 24 * 3600 * 1000);
  const labels = new Map(ports.map(({ port, protocol, label }) => [`${port}/${protocol}`, label]));
  const name = (label) => html`${label.replace("/tcp", "")} <span class="muted">${labels.get(label)}</span>`;
  return html`<section class="card"><h2>History</h2>
    <div class="actions" role="group" aria-label="How far back">
      ${Object.keys(LENGTHS).map((known) => html`<button aria-pressed=${known === length} @click=${() => choose(known)}>${known}</button>`)}
    </div>
    ${past.tracks.length ? timeline(past, Math.min(from, now - 60_000), now, name) : html`<p>No port has been found open so far.</p>`}
  </section>`;
}

const addresses = (host) => html`<section class="card"><h2>Addresses</h2>
  <ul class="plain">${host.addresses.map(({ address, first_seen, last_seen, present }) => html`<li>
    <b>${address}</b> <span class="muted">${when(first_seen)} to ${when(last_seen)}${present ? "" : ", no longer"}</span></li>`)}
    ${host.ipv6.map((address) => html`<li><b>${address}</b> <span class="muted">seen as a neighbour, not scanned</span></li>`)}
  </ul></section>`;
