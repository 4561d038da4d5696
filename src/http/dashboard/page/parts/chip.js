// A port as a chip. What it means stands there in words, too, though not all of them are seen.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * An item of a list with the class `chips`.
 * @param {import("../devices.js").PortView} port
 * @param {boolean} [hidden]
 * @returns {any} a template
 */
export function chip({ port, protocol, service, states, told }, hidden = false) {
  const number = protocol === "tcp" ? port : `${port}/${protocol}`;
  // There are thousands of them: as few bindings as will do.
  return html`<li class="chip ${states.join(" ")}" title=${told} ?hidden=${hidden}>${sign(states)}<b>${number}</b>${service && ` ${service}`}</li>`;
}

function sign(states) {
  if (states.includes("missing")) return html`<span class="hidden-text">missing: </span>`;
  if (states.includes("rogue")) return html`<span aria-hidden="true">! </span><span class="hidden-text">not expected: </span>`;
  return states.includes("new") ? html`<small>new </small>` : nothing;
}
