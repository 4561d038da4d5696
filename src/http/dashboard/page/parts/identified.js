// What the ports of a device were identified as, and by which evidence.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { when } from "../format.js";
import { expiry, methodOf } from "../identity.js";

/**
 * @param {any[]} ports of /v1/hosts
 * @param {number} now in milliseconds
 * @returns {any} a template
 */
export function identified(ports, now) {
  const found = ports.filter(({ evidence }) => evidence);
  if (!found.length) return nothing;
  return html`<section class="card"><h2>Identified</h2><ul class="plain advice">${found.map((port) => html`<li>
    <b>${port.port}/${port.protocol}</b> <bdi>${[port.product ?? port.service, port.version].filter(Boolean).join(" ")}</bdi>
    <dl class="facts">
      ${fact("Title", port.title)}
      ${port.certificate ? certificate(port.certificate, now) : nothing}
      ${fact("SSH host key", port.host_key && html`<span class="mono">${port.host_key}</span>`)}
      ${fact("By", html`${methodOf(port.evidence)}, ${when(port.evidence.time)}: <span class="mono">${port.evidence.text}</span>`)}
    </dl></li>`)}</ul></section>`;
}

const fact = (name, value) => (value ? html`<dt>${name}</dt><dd><bdi>${value}</bdi></dd>` : nothing);

function certificate({ subject, sans, issuer, not_after: end, self_signed: isOwn, key }, now) {
  return html`
    ${fact("Certificate", `${subject || "without a name"}, ${expiry(end, now)}`)}
    ${fact("For", sans.join(", "))}
    ${fact("Issued by", isOwn ? "itself" : issuer)}
    ${fact("Key", key)}`;
}
