// A port as a chip. Its meaning is there in words, too, for screen readers and under the pointer.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * An item of a list with the class `chips`.
 * @param {import("../devices.js").PortView} port
 * @param {boolean} [hidden]
 * @returns {any} a template
 */
export function chip({ port, protocol, label, advice, states, title }, hidden = false) {
  const number = protocol === "tcp" ? port : `${port}/${protocol}`;
  // There are thousands of chips, so that each has as few bindings as possible.
  const act = advice?.level === "act";
  return html`<li class="chip ${states.join(" ")}${act ? " act" : ""}" title=${title} ?hidden=${hidden}>${sign(states)}<b>${number}</b>${label && ` ${label}`}${act ? ": act" : ""}</li>`;
}

function sign(states) {
  if (states.includes("missing")) return html`<span class="hidden-text">missing: </span>`;
  const doubt = states.includes("unconfirmed")
    ? html`<span aria-hidden="true">? </span><span class="hidden-text">unconfirmed: </span>`
    : nothing;
  if (states.includes("rogue")) return html`<span aria-hidden="true">! </span><span class="hidden-text">unexpected: </span>${doubt}`;
  return states.includes("new") ? html`<small>new </small>` : doubt;
}
