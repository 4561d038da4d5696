// Scans: all scans, two of which can be compared; deletes old ones.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, send } from "../api.js";
import { count, span, when } from "../format.js";
import { ask } from "../parts/dialog.js";
import { rows } from "../parts/rows.js";
import { fail, say } from "../parts/toast.js";
import { reason, took } from "../runs.js";

/** Scans that are shown at first, and with each further step. */
const STEP = 50;

/** How old a scan must be to be deleted, in days. */
const AGES = { 30: "30 days", 90: "90 days", 365: "a year", 0: "now" };

/** @type {import("../main.js").Page} */
export default {
  title: "Scans",
  open(place) {
    let scans = [];
    let isAll = false;
    /** The ids of the scans to compare, at most two. */
    let chosen = [];

    const more = async () => {
      const next = await get(`v1/runs?last=${STEP}&before=${scans.at(-1).id}`).catch(fail);
      if (!next) return;
      scans.push(...next);
      isAll = next.length < STEP;
      place.redraw();
    };
    const choose = (id) => ({ target }) => {
      chosen = target.checked ? [...chosen, id].slice(-2) : chosen.filter((other) => other !== id);
      place.redraw();
    };

    return {
      async load() {
        // As many as are shown already.
        const last = Math.min(Math.max(scans.length, STEP), 200);
        scans = await get(`v1/runs?last=${last}`);
        isAll = scans.length < last;
      },
      heard: ({ kind }) => kind === "scan" && place.reload(),
      view: () => {
        const [first, second = "now"] = [...chosen].sort((a, b) => a - b);
        return html`<h1>Scans</h1>
          <div class="actions" role="group" aria-label="Actions">
            ${chosen.length
              ? html`<a class="button primary" href="#/compare/${first}/${second}">
                  Compare ${chosen.length === 2 ? "these two" : "this one with the current state"}</a>`
              : html`<span class="muted">Choose one or two scans to compare.</span>`}
            <button @click=${() => drop(place)}>Delete old scans…</button>
          </div>
          ${list(scans, chosen, choose)}
          ${isAll ? nothing : html`<button @click=${more}>Show older scans</button>`}`;
      },
    };
  },
};

const list = (scans, chosen, choose) => rows(
  "Scans, the latest first",
  ["Started", "Compare", "Scanner", "Reason", "Status", "Devices", "Ports", "Duration"],
  scans.map((scan) => [
    html`<a href="#/scan/${scan.id}">${when(scan.started)}</a>`,
    html`<input type="checkbox" aria-label="Compare the scan of ${when(scan.started)}"
      .checked=${chosen.includes(scan.id)} @change=${choose(scan.id)}>`,
    scan.scanner,
    reason(scan.kind),
    html`<span class="chip ${scan.status === "failed" ? "rogue" : scan.status === "running" ? "new" : ""}">${scan.status}</span>`,
    `${scan.hosts.done}${scan.hosts.done < scan.hosts.total ? ` of ${scan.hosts.total}` : ""}`,
    html`<span class="mono">${short(scan.ports)}</span>`,
    scan.finished === null ? "still running" : span(took(scan)),
  ]),
);

/** A scan may list a thousand single ports. */
const short = (ports) => (ports.length > 24 ? html`<span title=${ports}>${ports.slice(0, 22)}…</span>` : ports);

/** Asks which scans to delete, shows how many these are, and deletes them. */
async function drop(place) {
  const which = await ask({
    title: "Delete old scans",
    action: "Show how many",
    content: html`<p>Results that the current state depends on are kept, and so is the list of changes.</p>
      <label>Older than <select name="days">${Object.entries(AGES).map(([days, text]) =>
        html`<option value=${days} ?selected=${days === "90"}>${text}</option>`)}</select></label>`,
  });
  if (!which) return;
  const days = Number(which.days);
  const path = days ? `v1/scans/${Math.floor(Date.now() / 1000) - days * 86_400}` : "v1/scans";
  try {
    const { scans, looks } = await send("DELETE", `${path}?dry_run=1`);
    if (!scans && !looks) return void say("There is nothing to delete.");
    const all = `${count(scans, "scan")} and ${count(looks, "result")} of single devices`;
    const content = html`<p>${all} will be deleted. This cannot be undone.</p>`;
    if (!(await ask({ title: "Delete them?", content, action: "Delete", danger: true }))) return;
    await send("DELETE", path);
    say(`Deleted ${all}.`);
    place.reload();
  } catch (error) {
    fail(error);
  }
}
