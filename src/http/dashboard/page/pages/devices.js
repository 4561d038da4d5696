// Devices: what listens on each device, how far its scan is, and what differs from the expected state.
//
// To add a column, add it to COLUMNS: what it shows (`cell`, a text or a template; a text stays text whatever a
// device calls itself), and what it sorts by (`value`; without it, the column does not sort). A device is a DeviceView
// of devices.js; its `host` is a row of GET /v1/hosts. For the filter to know it, add a term to TERMS in filter.js.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { viewer } from "../devices.js";
import { scannedCount } from "../devicestate.js";
import { parse } from "../filter.js";
import { count, figure } from "../format.js";
import { TYPES } from "../identity.js";
import { withOpenPort, withProgress } from "../live.js";
import { activityLine } from "../parts/activity.js";
import { baselinePrompt } from "../parts/baselinestep.js";
import { chip } from "../parts/chip.js";
import { filterBox } from "../parts/filterbox.js";
import { noDevices } from "../parts/nodevices.js";
import { table } from "../parts/table.js";
import { since } from "../parts/time.js";

/** @type {import("../parts/table.js").Column<Row>[]} */
const COLUMNS = [
  { key: "name", title: "Name", cell: name, value: ({ device }) => device.host.name?.toLowerCase() ?? null },
  { key: "vendor", title: "Vendor", cell: vendor, value: ({ device }) => device.vendor || null },
  { key: "address", title: "Address", cell: address, value: ({ device }) => device.order },
  { key: "ports", title: "Open ports", cell: ports, value: ({ device }) => device.host.ports.length || null },
  { key: "seen", title: "Last seen", cell: ({ device }) => since(device.host.last_seen), value: ({ device }) => -device.seen },
];

/**
 * A device, and which of its ports the filter selects.
 * @typedef {{device: import("../devices.js").DeviceView, chosen: boolean[], isShown: boolean}} Row
 */

function name({ device: { key, title, isNew, host } }) {
  const sign = TYPES[host.type];
  return html`${sign ? html`<span role="img" aria-label=${host.type} title=${host.type}>${sign}</span> ` : nothing}<a href="#/device/${encodeURIComponent(key)}" class=${host.name ? "" : "muted"}>${title}</a>${isNew ? html` <span class="chip new">new</span>` : nothing}`;
}

function vendor({ device: { host } }) {
  if (host.vendor) return host.vendor;
  if (!host.locally_administered) return html`<span class="muted">unknown</span>`;
  return html`<span class="muted" title="Made up by software, as phones do">random MAC</span>`;
}

function address({ device: { host } }) {
  return html`${host.address}${host.mac ? html`<br><span class="mono muted">${host.mac}</span>` : nothing}`;
}

function ports({ device, chosen }) {
  return html`<ul class="chips">${device.ports.map((port, at) => chip(port, !chosen[at]))}${device.state
    ? html`<li class="state">${device.state}</li>`
    : nothing}</ul>`;
}

/** @type {import("../main.js").Page} */
export default {
  title: "Devices",
  open(place) {
    let known = { hosts: [], runs: [], info: null, health: null };
    /** The views of `known.hosts`, in their order. */
    let devices = [];
    let view = null;
    let sort = { by: "address", down: false };
    let filter = "";
    let fault = null;
    let matches = () => true;
    /** Events `port` that came during a load, so that its answer may lack them; `null` between loads. */
    let missed = null;
    /** The devices that each run had finished when everything was loaded last. */
    let finished = new Map();

    /** While a filter is being written, its faulty term is left out; if that does not help, the last filter holds. */
    function setFilter(text) {
      filter = text;
      fault = null;
      try {
        matches = parse(text, Date.now());
      } catch (error) {
        fault = error;
        matches = without(error, text) ?? matches;
      }
      place.keep({ filter });
      place.redraw();
    }

    const box = filterBox({ onInput: setFilter, redraw: place.redraw });

    /** @returns {Row} */
    function rowOf(device) {
      const chosen = device.ports.map((port) => matches(device, port));
      return { device, chosen, isShown: chosen.length ? chosen.includes(true) : matches(device, null) };
    }

    /** Shows other versions of the hosts. Only those that changed get new views, and so are drawn again. */
    function update(hosts) {
      devices = hosts.map((host, at) => (host === known.hosts[at] ? devices[at] : view(host)));
      known.hosts = hosts;
    }

    function opened(event) {
      missed?.push(event);
      const hosts = withOpenPort(known.hosts, event, new Date().toISOString());
      if (!hosts) return place.reload();
      update(hosts);
      place.redraw();
    }

    function scanned({ scan_id: id, running, hosts_done: done }) {
      // A device that is finished has a new result; the rest of the news is in the progress of the runs.
      const isNews = !running || finished.get(id) !== done;
      if (running) finished.set(id, done);
      place.reload(isNews);
    }

    setFilter(place.query.get("filter") ?? "");
    return {
      async load(isWhole) {
        missed = [];
        if (isWhole) {
          const paths = ["v1/hosts", "v1/info", "v1/health", "v1/runs"];
          const [hosts, info, health, runs] = await Promise.all(paths.map(get));
          const differences = info.baseline ? await get("v1/diff") : [];
          view = viewer(hosts, differences, Date.now());
          known = { hosts, runs, info, health };
          devices = hosts.map(view);
        } else {
          known.runs = await get("v1/runs");
          const hosts = withProgress(known.hosts, known.runs);
          // A device that no run scans any more has a new result.
          if (hosts.some(({ scanning }, at) => known.hosts[at].scanning && !scanning)) return this.load(true);
          update(hosts);
        }
        const events = missed;
        missed = null;
        events.forEach(opened);
      },
      heard({ kind, data }) {
        if (kind === "port") opened(data);
        else if (kind === "scan") scanned(data);
        else place.reload();
      },
      view() {
        const { hosts, runs, info, health } = known;
        const rows = devices.map(rowOf);
        const shown = rows.filter(({ isShown }) => isShown).length;
        const minute = Math.floor(Date.now() / 60_000);
        return html`<h1>Devices</h1>
          ${activityLine(runs)}
          ${advice(health)}
          ${devices.length === 0 ? noDevices(health.feeds) : html`
            ${baselinePrompt({ hosts, runs, baseline: info.baseline }, place.reload)}
            ${figures(devices, info, setFilter)}
            ${box(filter, fault, devices)}
            <p role="status" class="muted">${filter.trim() ? `${shown} of ${count(devices.length, "device")}` : nothing}</p>
            ${table({
              caption: "Devices",
              columns: COLUMNS,
              rows,
              id: ({ device }) => device.key,
              shown: ({ isShown }) => isShown,
              depends: ({ device, chosen }) => [device, chosen.join(), minute],
              kind: "devices",
              sort,
              onSort: (wanted) => {
                sort = wanted;
                place.redraw();
              },
            })}`}`;
      },
    };
  },
};

/** The filter without its faulty term; `null` if more is wrong. */
function without({ start, end }, text) {
  try {
    return parse(text.slice(0, start) + text.slice(end), Date.now());
  } catch {
    return null;
  }
}

const advice = ({ problems, notices }) => html`
  ${problems.map((problem) => html`<p class="failure" role="alert">${problem}</p>`)}
  ${notices.map((notice) => html`<p class="hint warn">${notice}</p>`)}`;

/** The counts, as buttons that filter for what they count. Nothing counts as 0 before it was looked for. */
function figures(devices, { rogue, missing, baseline, last_scan: last }, setFilter) {
  const button = (content, filter, kind = "", title = nothing) =>
    html`<button class=${kind} title=${title} @click=${() => setFilter(filter)}>${content}</button>`;
  const counted = (number, what, filter, kind) => button(html`<b>${figure(number)}</b> ${what}`, filter, number ? kind : "");
  const hosts = devices.map(({ host }) => host);
  const having = (state) => devices.reduce((sum, { ports }) => sum + ports.filter(({ states }) => states.includes(state)).length, 0);
  const [open, unconfirmed] = [having("open"), having("unconfirmed")];
  const isScanned = open || hosts.some(({ scanned }) => scanned);
  return html`<div class="actions figures">
    ${button(scannedCount(hosts), "")}
    ${isScanned ? counted(open, open === 1 ? "open port" : "open ports", "state:open") : nothing}
    ${unconfirmed ? button(html`<span aria-hidden="true">?</span> <b>${figure(unconfirmed)}</b> unconfirmed`, "state:unconfirmed",
      "unconfirmed", "Found open once. A second look confirms it, or drops it.") : nothing}
    ${baseline ? html`${counted(rogue, "unexpected", "state:rogue", "danger")} ${counted(missing, "missing", "state:missing")}` : nothing}
    ${last ? html`<span class="muted">last scan ended ${since(last)}</span>` : nothing}
  </div>`;
}
