// How much of how many, as a bar with its figures.

import { html } from "../vendor/lit-html/lit-html.js";

/**
 * @param {string} label of what
 * @param {{done: number, total: number}} share
 * @returns {any} a template
 */
export function bar(label, { done, total }) {
  // Rounded down: only what is through is 100 %.
  const percent = total ? Math.floor((100 * done) / total) : 0;
  return html`<span class="share">
    <progress aria-label=${label} max=${total || 1} value=${done}></progress>
    <span class="number">${percent} %</span>
  </span>`;
}
