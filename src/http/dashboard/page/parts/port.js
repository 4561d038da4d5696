// A port, with what listens there if the device has it open.

import { html } from "../vendor/lit-html/lit-html.js";
import { nameOf } from "../identity.js";

/**
 * @param {{port: number, protocol: string}} port
 * @param {import("../directory.js").Host|null} host
 * @returns {any} a template
 */
export function port({ port, protocol }, host) {
  const known = host?.ports.find((open) => open.port === port && open.protocol === protocol);
  return html`<span class="mono">${port}/${protocol}</span> ${known && nameOf(known)}`;
}
