// A device by its name, leading to its page.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { part } from "../api.js";
import { keyOf } from "../devices.js";

/**
 * @param {import("../directory.js").Host|null} host
 * @param {string} key the MAC or address that it goes by here
 * @returns {any} a template
 */
export const who = (host, key) => host
  ? html`<a href="#/device/${part(keyOf(host))}">${host.name ?? host.address}</a>
      ${host.name ? html`<span class="muted mono">${host.address}</span>` : nothing}`
  : html`<span class="mono">${key}</span>`;
