// The picture of a device's history: a row for each port, a bar for each time when it was open.

import { html, svg } from "../vendor/lit-html/lit-html.js";
import { when } from "../format.js";
import { ticks, within } from "../timeline.js";

/** The most rows that are shown. */
const MOST = 200;

/** The least width of a bar, in percent, so that a moment is visible. */
const LEAST = 0.4;

/**
 * @param {import("../timeline.js").History} history
 * @param {number} from the beginning of the shown period, in milliseconds
 * @param {number} to
 * @param {(label: string) => any} name makes the name of a track
 * @returns {any} a template
 */
export function timeline({ tracks, absences }, from, to, name) {
  const shown = within(tracks, from, to);
  const marks = ticks(from, to);
  const x = (time) => (100 * (time - from)) / (to - from);
  const bar = (kind) => (span) => {
    const left = Math.min(x(span.from), 100 - LEAST);
    return svg`<rect class=${kind} x="${left}%" width="${Math.max(x(span.to) - left, LEAST)}%" y="4" height="12" rx="3"><title>${words(span)}</title></rect>`;
  };
  const away = within([{ spans: absences }], from, to).flatMap(({ spans }) => spans);
  // Positions are attributes in percent, because the page's policy forbids style attributes.
  const lines = marks.map(({ at }) => svg`<line x1="${x(at)}%" x2="${x(at)}%" y1="0" y2="100%" />`);
  const row = ({ label, spans }) => html`<tr>
    <th scope="row">${name(label)}</th>
    <td><svg role="img" aria-label=${spans.map(words).join("; ")}>${lines}${away.map(bar("away"))}${spans.map(bar("open"))}</svg></td>
  </tr>`;
  return html`<table class="timeline">
    <caption>When which port was open</caption>
    <thead aria-hidden="true"><tr><td></td><td><svg>${marks.map(({ at, label }) => svg`<text x="${x(at)}%" y="14">${label}</text>`)}</svg></td></tr></thead>
    <tbody>${shown.slice(0, MOST).map(row)}</tbody>
  </table>
  ${shown.length > MOST ? html`<p class="muted">and ${shown.length - MOST} more ports</p>` : ""}
  ${away.length ? html`<p class="muted">Dashed: the device was gone (not seen for a week).</p>` : ""}`;
}

const words = ({ from, to, lasts }) => `${when(from)} to ${lasts ? "now" : when(to)}`;
