// A point in time, the length since, and the exact one for those who point at it.

import { html } from "../vendor/lit-html/lit-html.js";
import { ago, when } from "../format.js";

/**
 * @param {string|null} time RFC 3339
 * @returns {any} a template
 */
export const since = (time) =>
  time ? html`<time datetime=${time} title=${when(time)}>${ago(time, Date.now())}</time>` : "never";
