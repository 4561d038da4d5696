// What the page shows while no device is known: which sources are asked, and what to do.

import { html } from "../vendor/lit-html/lit-html.js";
import { count } from "../format.js";

/**
 * @param {any[]} feeds of /v1/health
 * @returns {any} a template
 */
export const noDevices = (feeds) => html`<div class="hint">
  <h2>No devices yet</h2>
  ${feeds.length
    ? html`<p>The appliance asks these sources for devices, and scans what they name:</p>
      <ul>${feeds.map((feed) => html`<li>${name(feed.source)}: ${state(feed)}</li>`)}</ul>`
    : html`<p>No source of devices is configured.</p>`}
  <p>If nothing appears within five minutes, edit <code>[feed]</code> in <code>/etc/portscan/portscan.toml</code>:</p>
  <ul>
    <li><code>discover = ["eth0"]</code> finds the devices of the network at that interface;</li>
    <li><code>url = ["…"]</code> names a lanscan appliance;</li>
    <li><code>hosts = ["192.168.1.7"]</code> lists devices one by one.</li>
  </ul>
  <p><a href="#/health">Health</a> shows the state of each source. <code>portscan import FILE</code> imports a report of nmap.</p>
</div>`;

function name(source) {
  const [, network] = /^discover:(.*)$/.exec(source) ?? [];
  if (network) return html`discovery on <b>${network}</b>`;
  return source === "hosts" ? "the list in the configuration" : html`the feed <b>${source}</b>`;
}

function state({ up, devices, detail }) {
  if (!up) return detail || "not asked yet";
  return devices ? `names ${count(devices, "device")}, none of them scanned yet` : "names no device";
}
