// Now: the devices, what is open on them, and what of that is not as it should be.
//
// To add a column, add it to COLUMNS: what it shows (`cell`, a text or a template; a text stays text whatever a
// device calls itself), and what it sorts by (`value`; leave it out, and it does not sort). A device is a DeviceView
// of devices.js; its `host` is what GET /v1/hosts says. For the filter to know it, add a term to TERMS in filter.js.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { devicesOf } from "../devices.js";
import { parse } from "../filter.js";
import { count, figure } from "../format.js";
import { chip } from "../parts/chip.js";
import { filterBox } from "../parts/filterbox.js";
import { table } from "../parts/table.js";
import { since } from "../parts/time.js";

/** @type {import("../parts/table.js").Column<Row>[]} */
const COLUMNS = [
  { key: "name", title: "Name", cell: name, value: ({ device }) => device.host.name?.toLowerCase() ?? null },
  { key: "vendor", title: "Vendor", cell: vendor, value: ({ device }) => device.vendor || null },
  { key: "address", title: "Address", cell: address, value: ({ device }) => device.order },
  { key: "ports", title: "Open ports", cell: ports, value: ({ device }) => device.host.ports.length },
  { key: "seen", title: "Last seen", cell: ({ device }) => since(device.host.last_seen), value: ({ device }) => -device.seen },
];

/**
 * A device, and which of its ports the filter chooses.
 * @typedef {{device: import("../devices.js").DeviceView, chosen: boolean[], isShown: boolean}} Row
 */

function name({ device: { key, title, isNew, host } }) {
  return html`<a href="#/device/${encodeURIComponent(key)}" class=${host.name ? "" : "muted"}>${title}</a>${isNew ? html` <span class="chip new">new</span>` : nothing}`;
}

function vendor({ device: { host } }) {
  if (host.vendor || !host.locally_administered) return host.vendor;
  return html`<span class="muted" title="Made up by software, as phones do">random MAC</span>`;
}

function address({ device: { host } }) {
  return html`${host.address}${host.mac ? html`<br><span class="mono muted">${host.mac}</span>` : nothing}`;
}

function ports({ device, chosen }) {
  return html`<ul class="chips">${device.ports.map((port, at) => chip(port, !chosen[at]))}</ul>`;
}

/** @type {import("../main.js").Page} */
export default {
  title: "Now",
  open(place) {
    let known = { devices: [], info: null, health: null };
    let sort = { by: "address", down: false };
    let filter = "";
    let fault = null;
    let matches = () => true;

    /** What is wrong with a filter is left out while it is written on; if that does not do, the last one holds. */
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

    setFilter(place.query.get("filter") ?? "");
    return {
      async load() {
        const [hosts, info, health] = await Promise.all([get("v1/hosts"), get("v1/info"), get("v1/health")]);
        const differences = info.baseline ? await get("v1/diff") : [];
        known = { devices: devicesOf(hosts, differences, Date.now()), info, health };
      },
      // The end of a scan also renews which devices are present.
      heard: ({ kind, data }) => (kind === "change" || !data.running) && place.reload(),
      view() {
        const { devices, info, health } = known;
        const rows = devices.map(rowOf);
        const shown = rows.filter(({ isShown }) => isShown).length;
        const minute = Math.floor(Date.now() / 60_000);
        return html`<h1>Now</h1>
          ${advice(health)}
          ${devices.length === 0 ? empty() : html`
            ${figures(devices.length, info, setFilter)}
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

/** The filter without the term that is wrong; `null` if more is. */
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

const empty = () => html`<div class="hint">
  <h2>No devices yet</h2>
  <p>The appliance scans the devices that its configuration or a feed names, <code>/etc/portscan/portscan.toml</code>:</p>
  <ul>
    <li><code>discover = ["eth0"]</code> under <code>[feed]</code> makes it find the devices of that network itself;</li>
    <li><code>url</code> there names a lanscan appliance, <code>hosts</code> lists devices one by one.</li>
  </ul>
  <p><a href="#/running">Running</a> shows the scans in progress, <a href="#/health">Health</a> the state of the appliance. The
    first devices appear here within minutes; nmap's reports can be imported, too (<code>portscan import FILE</code>).</p>
</div>`;

/** The figures, as ways to what they count. */
function figures(devices, { open, rogue, missing, baseline, last_scan }, setFilter) {
  const button = (number, what, filter, kind = "") => html`<button class=${number ? kind : ""}
    @click=${() => setFilter(filter)}><b>${figure(number)}</b> ${what}</button>`;
  return html`
    ${baseline ? nothing : html`<p class="hint">Nothing is expected yet, so nothing is out of order. Look through
      what is open, then <a href="#/differences">accept it</a>: from then on you see what differs.</p>`}
    <div class="actions figures">
      ${button(devices, devices === 1 ? "device" : "devices", "")}
      ${button(open, "open", "state:open")}
      ${baseline ? html`${button(rogue, "rogue", "state:rogue", "danger")} ${button(missing, "missing", "state:missing")}` : nothing}
      <span class="muted">last scan ${since(last_scan)}</span>
    </div>`;
}
