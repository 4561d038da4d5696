// The line that says which scan runs, how far it is and how long it takes.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { activity } from "../runs.js";
import { bar } from "./bar.js";

/**
 * Its place stays when nothing runs, so that what is below does not move.
 * @param {import("../runs.js").Run[]} runs
 * @returns {any} a template
 */
export function activityLine(runs) {
  const now = activity(runs);
  return html`<div class="activity">${now
    ? html`<a href="#/running">${now.text}</a>${bar("Progress of the scan", now.ports, now.text)}`
    : nothing}</div>`;
}
