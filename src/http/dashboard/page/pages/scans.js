// Scans: every one there was; two to compare; and what is no longer needed, to be dropped.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, send } from "../api.js";
import { count, span, when } from "../format.js";
import { ask } from "../parts/dialog.js";
import { rows } from "../parts/rows.js";
import { fail, say } from "../parts/toast.js";
import { reason, took } from "../runs.js";

/** Scans at first, and so many more each time. */
const STEP = 50;

/** How old a scan must be to be dropped, in days. */
const AGES = { 30: "30 days", 90: "90 days", 365: "a year", 0: "now" };

/** @type {import("../main.js").Page} */
export default {
  title: "Scans",
  open(place) {
    let scans = [];
    let isAll = false;
    /** The ids that are to be compared, at most two. */
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
          <div class="actions" role="group" aria-label="What to do">
            ${chosen.length
              ? html`<a class="button primary" href="#/compare/${first}/${second}">
                  Compare ${chosen.length === 2 ? "these two" : "this one with now"}</a>`
              : html`<span class="muted">Choose one scan or two to compare.</span>`}
            <button @click=${() => drop(place)}>Drop old scans…</button>
          </div>
          ${list(scans, chosen, choose)}
          ${isAll ? nothing : html`<button @click=${more}>Show older ones</button>`}`;
      },
    };
  },
};

const list = (scans, chosen, choose) => rows(
  "Scans, the latest first",
  ["Began", "Compare", "Scanner", "Why", "Status", "Devices", "Ports", "Took"],
  scans.map((scan) => [
    html`<a href="#/scan/${scan.id}">${when(scan.started)}</a>`,
    html`<input type="checkbox" aria-label="Compare the scan of ${when(scan.started)}"
      .checked=${chosen.includes(scan.id)} @change=${choose(scan.id)}>`,
    scan.scanner,
    reason(scan.kind),
    html`<span class="chip ${scan.status === "failed" ? "rogue" : scan.status === "running" ? "new" : ""}">${scan.status}</span>`,
    `${scan.hosts.done}${scan.hosts.done < scan.hosts.total ? ` of ${scan.hosts.total}` : ""}`,
    html`<span class="mono">${short(scan.ports)}</span>`,
    scan.finished === null ? "" : span(took(scan)),
  ]),
);

/** The ports of a scan may be a thousand single ones. */
const short = (ports) => (ports.length > 24 ? html`<span title=${ports}>${ports.slice(0, 22)}…</span>` : ports);

/** Asks which scans are to go, shows what that would be, and drops it. */
async function drop(place) {
  const which = await ask({
    title: "Drop old scans",
    action: "Show what would go",
    content: html`<p>Only what no port's present state comes from is dropped; what has changed stays known.</p>
      <label>Older than <select name="days">${Object.entries(AGES).map(([days, text]) =>
        html`<option value=${days} ?selected=${days === "90"}>${text}</option>`)}</select></label>`,
  });
  if (!which) return;
  const days = Number(which.days);
  const path = days ? `v1/scans/${Math.floor(Date.now() / 1000) - days * 86_400}` : "v1/scans";
  try {
    const { scans, looks } = await send("DELETE", `${path}?dry_run=1`);
    if (!scans && !looks) return void say("There is nothing to drop.");
    const all = `${count(scans, "scan")} and ${count(looks, "look")} at single devices`;
    const content = html`<p>${all} would go for good.</p>`;
    if (!(await ask({ title: "Drop them?", content, action: "Drop", danger: true }))) return;
    await send("DELETE", path);
    say(`Dropped ${all}.`);
    place.reload();
  } catch (error) {
    fail(error);
  }
}
