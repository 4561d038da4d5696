// The age of a time, with the exact time under the pointer.

import { html } from "../vendor/lit-html/lit-html.js";
import { ago, when } from "../format.js";

/**
 * @param {string|null} time RFC 3339
 * @returns {any} a template
 */
export const since = (time) =>
  time ? html`<time datetime=${time} title=${when(time)}>${ago(time, Date.now())}</time>` : "never";
