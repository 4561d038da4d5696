// One scan: its facts, and the ports that it lists.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, part } from "../api.js";
import { grouped } from "../digest.js";
import { directory } from "../directory.js";
import { addressKey, count, span, when } from "../format.js";
import { rows } from "../parts/rows.js";
import { deviceLink } from "../parts/devicelink.js";
import { reason, took } from "../runs.js";

/** The most ports that are shown of one device; the downloads have all. */
const MOST = 200;

/** @type {import("../main.js").Page} */
export default {
  title: "Scan",
  open({ path: [id] }) {
    const path = `v1/scan/${part(id)}`;
    let scan = null;
    let devices = [];
    let find = directory([]);
    return {
      async load() {
        const [summary, ports, hosts] = await Promise.all([get(`v1/runs/${part(id)}`), get(path), get("v1/hosts")]);
        scan = summary;
        devices = grouped(ports, ({ address }) => address);
        devices.sort((a, b) => (addressKey(a.key) < addressKey(b.key) ? -1 : 1));
        find = directory(hosts);
      },
      view: () => html`<p><a href="#/scans">All scans</a></p>
        <h1>Scan of ${when(scan.started)}</h1>
        <dl class="across card">${facts(scan).map(([name, fact]) => html`<div><dt>${name}</dt><dd>${fact}</dd></div>`)}</dl>
        <div class="actions" role="group" aria-label="Actions">
          <a class="button" href="#/compare/${id}/now">Compare with the current state</a>
          ${["xml", "csv", "json"].map((format) => html`<a class="button" href="${path}?format=${format}"
            download="scan-${id}.${format}">Download ${format.toUpperCase()}</a>`)}
        </div>
        <p role="status">${count(devices.length, "device")} with ports listed. Most ports of a device have the same state; the others are
          listed.</p>
        ${devices.length ? found(devices, find) : nothing}`,
    };
  },
};

const facts = (scan) => [
  ["Scanner", html`${scan.scanner} <span class="muted">${reason(scan.kind)}</span>`],
  ["Status", scan.status],
  ["Devices", `${scan.hosts.done} of ${scan.hosts.total}`],
  ["Ports", scan.ports || "unknown"],
  ["Duration", scan.finished === null ? "still running" : span(took(scan))],
];

const found = (devices, find) => rows("Ports listed", ["Device", "Ports"], devices.map(({ key, rows: ports }) => [
  deviceLink(find(key), key),
  html`<ul class="chips">${ports.slice(0, MOST).map(({ port, protocol, state }) =>
      html`<li class="chip"><b>${port}</b>/${protocol} ${state}</li>`)}
    ${ports.length > MOST ? html`<li>and ${count(ports.length - MOST, "port")} more</li>` : nothing}</ul>`,
]));
