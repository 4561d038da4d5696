// The picture of a device's past: a row for each port, a bar for each time that it was open.

import { html, svg } from "../vendor/lit-html/lit-html.js";
import { when } from "../format.js";
import { ticks, within } from "../timeline.js";

/** As many rows as one looks through. */
const MOST = 200;

/** So that a moment is seen, in percent. */
const LEAST = 0.4;

/**
 * @param {import("../timeline.js").History} history
 * @param {number} from what is shown of it, in milliseconds
 * @param {number} to
 * @param {(label: string) => any} name of a track
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
  // Positions are attributes in percent: a style attribute is against the page's policy.
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
  ${away.length ? html`<p class="muted">Dashed: the device was gone (unseen for a week).</p>` : ""}`;
}

const words = ({ from, to, lasts }) => `${when(from)} to ${lasts ? "now" : when(to)}`;
