// Compares two scans, or one with the current state.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, part } from "../api.js";
import { grouped } from "../digest.js";
import { directory } from "../directory.js";
import { count, when } from "../format.js";
import { port } from "../parts/port.js";
import { rows } from "../parts/rows.js";
import { deviceLink } from "../parts/devicelink.js";

/** Rows that are shown at first, and with each further step. */
const STEP = 500;

/** @type {import("../main.js").Page} */
export default {
  title: "Compare",
  open({ path: [first, second], redraw }) {
    const isNow = second === "now";
    let found = [];
    let times = [];
    let find = directory([]);
    let most = STEP;
    return {
      async load() {
        const ids = isNow ? [first] : [first, second];
        const [rows, hosts, ...scans] = await Promise.all([
          get(`v1/diff/${part(first)}/${isNow ? "current" : part(second)}`),
          get("v1/hosts"),
          ...ids.map((id) => get(`v1/runs/${part(id)}`)),
        ]);
        found = rows;
        find = directory(hosts);
        times = [...scans.map(({ started }) => when(started)), "the current state"];
      },
      view: () => html`<p><a href="#/scans">All scans</a></p>
        <h1>Compare ${times[0]} with ${times[1]}</h1>
        <p><a href="#/scan/${first}">The scan of ${times[0]}</a>
          ${isNow ? nothing : html` · <a href="#/scan/${second}">the scan of ${times[1]}</a>`}</p>
        <p role="status">${found.length
          ? `${count(found.length, "port")} differ.`
          : "No differences."}</p>
        ${found.length ? differing(found.slice(0, most), times, find) : nothing}
        ${found.length > most ? html`<button @click=${() => ((most += STEP), redraw())}>Show more</button>` : nothing}`,
    };
  },
};

const differing = (found, [first, second], find) => grouped(found, ({ address }) => address).map(({ key, rows: ports }) =>
  html`<section><h2>${deviceLink(find(key), key)}</h2>
    ${rows(`Ports of ${key} that differ`, ["Port", first, second], ports.map((row) => [
      port(row, find(key)),
      row.state_a || "not scanned",
      row.state_b || "not scanned",
    ]))}
  </section>`);
