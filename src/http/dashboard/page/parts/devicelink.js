// A link to a device's page.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { part } from "../api.js";
import { keyOf } from "../devices.js";

/**
 * @param {import("../directory.js").Host|null} host
 * @param {string} key its MAC or address
 * @param {string} [beside] shown beside its name
 * @returns {any} a template
 */
export function deviceLink(host, key, beside = host?.address) {
  if (!host) return html`<span class="mono">${key}</span>`;
  const name = host.name ?? host.address;
  return html`<a href="#/device/${part(keyOf(host))}">${name}</a>
    ${name === beside ? nothing : html`<span class="muted mono">${beside}</span>`}`;
}
