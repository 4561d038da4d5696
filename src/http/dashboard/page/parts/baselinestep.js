// The step that makes the present state the baseline.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { confirmAccepting } from "../acceptance.js";
import { baselineStep } from "../baseline.js";
import { say, fail } from "./toast.js";

/**
 * Nothing where there is a baseline already, or no device.
 * @param {object} known
 * @param {any[]} known.hosts of /v1/hosts
 * @param {any[]} known.runs of /v1/runs
 * @param {boolean} known.baseline
 * @param {() => void} onAccept the baseline was made
 * @returns {any} a template
 */
export function baselinePrompt({ hosts, runs, baseline }, onAccept) {
  const step = baselineStep(hosts, runs, baseline);
  if (!step) return nothing;
  const accept = () => acceptAll(step.isReady, onAccept);
  return html`<section class="hint" aria-labelledby="baseline">
    <h2 id="baseline">No baseline yet</h2>
    <p>The baseline is the state that you accept as right. From then on, the page marks what differs from it.</p>
    <div class="actions">
      ${step.isReady
        ? html`<span>${step.text}</span> <button class="primary" @click=${accept}>Accept the present state as baseline…</button>`
        : html`<span class="muted">${step.text}</span> <button @click=${accept}>Accept now anyway…</button>`}
    </div>
  </section>`;
}

async function acceptAll(isReady, onAccept) {
  try {
    const hint = isReady ? nothing : html`<p>Not every device is scanned completely. Open ports that are found later
      will count as unexpected.</p>`;
    const accept = await confirmAccepting(await get("v1/diff?by=device"), "all devices", hint);
    if (!accept) return;
    await accept();
    say("The present state is the baseline.");
    onAccept();
  } catch (error) {
    fail(error);
  }
}
