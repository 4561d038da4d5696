// Changes: what opened, closed, came and went; the last night in a sentence, all of it by day or by device.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { dayName, folded, grouped, lastNight, tally, whose } from "../digest.js";
import { directory } from "../directory.js";
import { count, day, span, when } from "../format.js";
import { port } from "../parts/port.js";
import { rows as list } from "../parts/rows.js";
import { deviceLink } from "../parts/devicelink.js";

const DAY = 86_400;

/** How far back one may look, in days. */
const RANGES = { 1: "24 hours", 7: "7 days", 30: "30 days", "": "all time" };

/** Rows at first, and so many more each time. */
const STEP = 300;

/** What each kind of change says, but for ports. */
const WORDS = {
  new: "a new device",
  gone: "gone: not seen for a week",
  back: "there again",
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
      // "All time" is no days at all, and still not what one begins with.
      place.keep({ ...asked, days: asked.days || "all" });
      if (name === "days") place.reload();
      else place.redraw();
    };

    return {
      async load() {
        const days = Number(asked.days);
        // Two days at the least, or the last night would not be whole.
        const since = days > 0 ? `?since=${Math.floor(Date.now() / 1000) - Math.max(days, 2) * DAY}` : "";
        const [changes, hosts] = await Promise.all([get(`v1/changes${since}`), get("v1/hosts")]);
        rows = folded(changes);
        find = directory(hosts);
      },
      heard: ({ kind }) => kind === "change" && place.reload(),
      view: () => {
        const now = Date.now();
        const from = Number(asked.days) > 0 ? now - asked.days * DAY * 1000 : 0;
        const meant = rows.filter((row) => Date.parse(row.time) >= from && (row.alert || !asked.alerts));
        return html`<h1>Changes</h1>
          ${night(rows, now)}
          <form class="choices" @submit=${(event) => event.preventDefault()}>
            <label>Of the last <select @change=${choose("days")}>${Object.entries(RANGES).map(([days, text]) =>
              html`<option value=${days} ?selected=${days === asked.days || (!days && asked.days === "all")}>${text}</option>`)}
            </select></label>
            <label>By <select @change=${choose("by")}>
              <option value="day" ?selected=${asked.by === "day"}>day</option>
              <option value="device" ?selected=${asked.by === "device"}>device</option>
            </select></label>
            <label class="check"><input type="checkbox" ?checked=${asked.alerts} @change=${choose("alerts")}>
              unexpected changes only</label>
          </form>
          <p role="status">${meant.length ? count(meant.length, "change") : "Nothing has changed."}</p>
          ${groups(meant.slice(0, most), asked.by, find, now)}
          ${meant.length > most
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
  const { opened, closed, brief, alerts, ...others } = tally(rows.filter(({ time }) => is(Date.parse(time))));
  const said = [
    others.new && count(others.new, "new device"),
    opened && `${count(opened, "port")} opened${brief ? `, ${brief} of them closed again` : ""}`,
    closed && `${count(closed, "port")} closed`,
    others.moved && `${count(others.moved, "device")} moved`,
    others.gone && `${count(others.gone, "device")} gone`,
    others.back && `${count(others.back, "device")} back`,
  ].filter(Boolean);
  return html`<p class="hint ${alerts ? "warn" : ""}"><b>${now < to ? "Tonight" : "Last night"}</b>
    <span class="muted">(18:00 to 9:00)</span>: ${said.join("; ") || "nothing changed"}.
    ${alerts ? html`<b>${count(alerts, "unexpected change")}.</b>` : nothing}</p>`;
}

function groups(rows, by, find, now) {
  const byDay = by !== "device";
  return grouped(rows, byDay ? ({ time }) => day(time) : whose).map(({ key, rows }) => html`<section>
    <h2>${byDay ? dayName(key, now) : deviceLink(find(key), key)}</h2>
    ${byDay
      ? list(`Changes of ${key}`, ["Device", "What", "Time"], moments(rows).map(({ rows }) =>
          [deviceLink(find(whose(rows[0])), whose(rows[0])), html`<div>${rows.map((row) => what(row, find))}</div>`, time(rows[0].time, 11)]))
      : list(`Changes on ${key}`, ["Time", "What"], moments(rows).map(({ rows }) =>
          [time(rows[0].time), html`<div>${rows.map((row) => what(row, find))}</div>`]))}
  </section>`);
}

/** What a device did at the same time, which is what one look at it found. */
const moments = (rows) => grouped(rows, (row) => `${row.time} ${whose(row)}`);

const time = (time, from = 0) => html`<time datetime=${time}>${when(time).slice(from)}</time>`;

/** What a change was, with a sign of its kind. */
function what(row, find) {
  const rogue = row.alert ? html` <span class="chip rogue">not expected</span>` : nothing;
  return html`<div>${said(row, find)}${rogue}</div>`;
}

function said(row, find) {
  if (row.kind === "moved") {
    return html`moved from <span class="mono">${row.from}</span> to <span class="mono">${row.address}</span>`;
  }
  if (row.kind in WORDS) return WORDS[row.kind];
  const ports = port({ ...row, port: row.port ?? row.ports }, find(whose(row)));
  if (row.kind === "closed") return html`− ${ports} closed`;
  const over = row.over === undefined ? nothing : `, and closed again after ${span(Math.max(row.lasted, 0))}`;
  return html`+ ${ports} opened${over}`;
}
