// A share as a bar with its percentage.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * @param {string} label what it is a share of
 * @param {{done: number, total: number}} share
 * @param {string} [text] what a screen reader says instead of the percentage
 * @returns {any} a template
 */
export function bar(label, { done, total }, text) {
  // Rounded down: 100 % is for what is finished.
  const percent = total ? Math.floor((100 * done) / total) : 0;
  return html`<span class="share">
    <progress aria-label=${label} aria-valuetext=${text ?? nothing} max=${total || 1} value=${done}></progress>
    <span class="number">${percent} %</span>
  </span>`;
}
