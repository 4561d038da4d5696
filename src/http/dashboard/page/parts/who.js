// A device by its name, leading to its page.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { part } from "../api.js";

/**
 * @param {import("../directory.js").Host|null} host
 * @param {string} key the MAC or address that it goes by here
 * @returns {any} a template
 */
export function who(host, key) {
  if (!host) return html`<span class="mono">${key}</span>`;
  const name = host.name ?? host.address;
  return html`<a href="#/device/${part(host.mac ?? host.address)}">${name}</a>
    ${host.name ? html`<span class="muted mono">${host.address}</span>` : nothing}`;
}
