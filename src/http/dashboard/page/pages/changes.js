// Changes: ports that opened and closed, devices that came and went; the last night in a sentence, all by day or device.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { dayName, deviceKey, folded, grouped, isUnexpected, lastNight, tally } from "../digest.js";
import { directory } from "../directory.js";
import { count, day, span, when } from "../format.js";
import { port } from "../parts/port.js";
import { rows as list } from "../parts/rows.js";
import { deviceLink } from "../parts/devicelink.js";

const DAY = 86_400;

/** The periods to choose from, in days. */
const RANGES = { 1: "24 hours", 7: "7 days", 30: "30 days", "": "all time" };

/** Rows that are shown at first, and with each further step. */
const STEP = 300;

/**
 * The kinds of change: the text of one (`text`; textOf makes those that carry data), what of a port is another (`what`), whether it says so in words (`said`), and what is counted and has
 * happened (`counted`), in the order of the sentence about the night.
 * @type {Record<string, {text?: string, what?: string, said?: boolean, counted: [string, string]}>}
 */
const KINDS = {
  new: { text: "new device", counted: ["new device", ""] },
  opened: { counted: ["port", " opened"] },
  closed: { counted: ["port", " closed"] },
  moved: { counted: ["device", " moved"] },
  gone: { text: "gone: not seen for a week", counted: ["device", " gone"] },
  back: { text: "back on the network", counted: ["device", " back"] },
  advice: { said: true, counted: ["port", " to act on"] },
  "certificate-expires": { said: true, counted: ["certificate", " to renew"] },
  "snooze-ended": { text: "alerts are on again", counted: ["snooze", " ended"] },
  "host-key": { what: "SSH host key", counted: ["SSH host key", " changed"] },
  certificate: { what: "certificate", counted: ["certificate", " changed"] },
  product: { what: "software", counted: ["service", " replaced"] },
};

/** @type {import("../main.js").Page} */
export default {
  title: "Changes",
  open(place) {
    let rows = [];
    let find = directory([]);
    let most = STEP;
    const asked = { days: "7", by: "day", alerts: "", ...Object.fromEntries(place.query) };

    const choose = (name) => (event) => {
      const { type, checked, value } = event.target;
      asked[name] = type === "checkbox" ? (checked ? "1" : "") : value;
      most = STEP;
      // "All time" is an empty value, which in the address would mean the default.
      place.keep({ ...asked, days: asked.days || "all" });
      if (name === "days") place.reload();
      else place.redraw();
    };

    return {
      async load() {
        const days = Number(asked.days);
        // At least two days, so that the last night is whole.
        const since = days > 0 ? `?since=${Math.floor(Date.now() / 1000) - Math.max(days, 2) * DAY}` : "";
        const [changes, hosts] = await Promise.all([get(`v1/changes${since}`), get("v1/hosts")]);
        rows = folded(changes);
        find = directory(hosts);
      },
      heard: ({ kind }) => kind === "change" && place.reload(),
      view: () => {
        const now = Date.now();
        const from = Number(asked.days) > 0 ? now - asked.days * DAY * 1000 : 0;
        const chosen = rows.filter((row) => Date.parse(row.time) >= from && (isUnexpected(row) || !asked.alerts));
        return html`<h1>Changes</h1>
          ${night(rows, now)}
          <form class="choices" @submit=${(event) => event.preventDefault()}>
            <label>Period <select @change=${choose("days")}>${Object.entries(RANGES).map(([days, text]) =>
              html`<option value=${days} ?selected=${days === asked.days || (!days && asked.days === "all")}>${text}</option>`)}
            </select></label>
            <label>By <select @change=${choose("by")}>
              <option value="day" ?selected=${asked.by === "day"}>day</option>
              <option value="device" ?selected=${asked.by === "device"}>device</option>
            </select></label>
            <label class="check"><input type="checkbox" ?checked=${asked.alerts} @change=${choose("alerts")}>
              unexpected changes only</label>
          </form>
          <p role="status">${chosen.length ? count(chosen.length, "change") : "No changes."}</p>
          ${groups(chosen.slice(0, most), asked.by, find, now)}
          ${chosen.length > most
            ? html`<button @click=${() => ((most += STEP), place.redraw())}>Show more</button>`
            : nothing}`;
      },
    };
  },
};

/** The last night in one sentence. */
function night(rows, now) {
  const { from, to } = lastNight(now);
  const is = (time) => time >= from && time < to;
  const { of, brief, alerts } = tally(rows.filter(({ time }) => is(Date.parse(time))));
  const parts = Object.entries(KINDS)
    .filter(([kind]) => of(kind))
    .map(([kind, { counted: [what, how] }]) => {
      const over = kind === "opened" && brief ? `, ${brief} of them closed again` : "";
      return count(of(kind), what) + how + over;
    });
  return html`<p class="hint ${alerts ? "warn" : ""}"><b>${now < to ? "Tonight" : "Last night"}</b>
    <span class="muted">(18:00 to 9:00)</span>: ${parts.join("; ") || "no changes"}.
    ${alerts ? html`<b>${count(alerts, "unexpected change")}.</b>` : nothing}</p>`;
}

function groups(rows, by, find, now) {
  const byDay = by !== "device";
  return grouped(rows, byDay ? ({ time }) => day(time) : deviceKey).map(({ key, rows }) => html`<section>
    <h2>${byDay ? dayName(key, now) : deviceLink(find(key), key)}</h2>
    ${byDay
      ? list(`Changes of ${key}`, ["Device", "Change", "Time"], moments(rows).map(({ rows }) =>
          [deviceLink(find(deviceKey(rows[0])), deviceKey(rows[0])), html`<div>${rows.map((row) => what(row, find))}</div>`, time(rows[0].time, 11)]))
      : list(`Changes on ${key}`, ["Time", "Change"], moments(rows).map(({ rows }) =>
          [time(rows[0].time), html`<div>${rows.map((row) => what(row, find))}</div>`]))}
  </section>`);
}

/** The changes of a device at the same time, which one scan of it found. */
const moments = (rows) => grouped(rows, (row) => `${row.time} ${deviceKey(row)}`);

const time = (time, from = 0) => html`<time datetime=${time}>${when(time).slice(from)}</time>`;

/** The text of a change, with a mark if it is unexpected. */
function what(row, find) {
  const rogue = isUnexpected(row) ? html` <span class="chip rogue">unexpected</span>` : nothing;
  return html`<div>${textOf(row, find)}${rogue}</div>`;
}

function textOf(row, find) {
  if (row.kind === "moved") {
    return html`moved from <span class="mono">${row.from}</span> to <span class="mono">${row.address}</span>`;
  }
  const text = KINDS[row.kind]?.text;
  if (text) return text;
  const ports = port({ ...row, port: row.port ?? row.ports }, find(deviceKey(row)));
  if (KINDS[row.kind]?.said) return html`${ports}: <bdi>${row.to}</bdi>`;
  const part = KINDS[row.kind]?.what;
  if (part) return html`${ports}: another ${part}, <bdi class="mono">${row.to}</bdi> instead of <bdi class="mono">${row.from}</bdi>`;
  if (row.kind === "closed") return html`− ${ports} closed`;
  const over = row.over === undefined ? nothing : `, and closed again after ${span(Math.max(row.lasted, 0))}`;
  return html`+ ${ports} opened${over}`;
}
