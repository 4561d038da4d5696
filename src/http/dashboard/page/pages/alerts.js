// Alerts: the channels and their tests, snoozes, the refused messages, and the latest others.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { channelView, waitingText } from "../alerts.js";
import { get, part, send } from "../api.js";
import { directory } from "../directory.js";
import { keyOf } from "../devices.js";
import { when } from "../format.js";
import { deviceLink } from "../parts/devicelink.js";
import { ask } from "../parts/dialog.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";
import { fail, say } from "../parts/toast.js";

/** In milliseconds: the states of channels are no events. */
const AGAIN = 5_000;

/** Messages shown at first, and with each step. */
const STEP = 50;

/** How long a snooze may last, for the API. */
const LENGTHS = { "1h": "1 hour", "8h": "8 hours", "1d": "1 day", "7d": "7 days", "30d": "30 days" };

/** @type {import("../main.js").Page} */
export default {
  title: "Alerts",
  open(place) {
    let alerts = null;
    let hosts = [];
    let find = directory(hosts);
    let most = STEP;
    /** What became of the tests, by channel. */
    const tests = new Map();
    const timer = setInterval(() => place.reload(false), AGAIN);

    const act = (what) => async () => {
      try {
        await what();
      } catch (error) {
        fail(error);
      }
      place.reload();
    };
    const test = ({ name }) => act(async () => {
      tests.set(name, { answer: "sending…" });
      place.redraw();
      try {
        const [attempt] = await send("POST", `v1/alerts/test/${part(name)}`);
        tests.set(name, attempt);
      } catch (error) {
        tests.delete(name);
        throw error;
      }
      place.redraw();
    });
    const retry = ({ id }) => act(async () => {
      const { ok, answer } = await send("POST", `v1/alerts/${id}/retry`);
      if (!ok) throw new Error(`Refused again: ${answer}`);
      say("Delivered.");
    });
    const acknowledge = ({ id }) => act(async () => {
      await send("POST", `v1/alerts/${id}/ack`);
      say("Acknowledged.");
    });

    const snooze = act(async () => {
      const filled = await ask({ title: "Snooze alerts", action: "Snooze", content: snoozeForm(hosts) });
      if (!filled) return;
      const { until } = await send("POST", "v1/alerts/snooze", { device: filled.device || null, for: filled.for });
      say(`Snoozed until ${when(until)}.`);
    });
    const endSnooze = ({ device }) => act(async () => {
      await send("DELETE", `v1/alerts/snooze${device ? `?device=${part(device)}` : ""}`);
      say("Alerts are on again.");
    });

    return {
      async load(isWhole) {
        const [now, all] = await Promise.all([get("v1/alerts"), isWhole ? get("v1/hosts") : hosts]);
        alerts = now;
        if (all !== hosts) find = directory((hosts = all));
      },
      heard: ({ kind }) => kind === "change" && place.reload(false),
      close: () => clearInterval(timer),
      view: () => {
        const { channels, snoozes, parked, history } = alerts;
        const device = (key) => (key ? deviceLink(find(key), key) : "several, or none");
        const about = (message) => html`<div>${message.title}</div>`;
        return html`<h1>Alerts</h1>
          ${channels.length ? html`${list(channels, tests, test)}
            <p class="actions"><button @click=${snooze}>Snooze…</button></p>` : howTo}
          ${snoozes.map((snoozed) => html`<div class="hint warn head">
            <div><b>Snoozed</b> until ${when(snoozed.until)}:
              ${snoozed.device ? device(snoozed.device) : "all alerts"}</div>
            <button @click=${endSnooze(snoozed)}>End snooze</button></div>`)}
          ${parked.length ? html`<h2>Refused messages</h2>
            ${rows("Refused messages", ["Message", "Channel", "Since", "Reason", "Actions"], parked.map((message) => [
              about(message), message.channel, since(message.time), message.reason ?? "",
              html`<div class="actions">
                ${button("Retry", message, retry)} ${button("Dismiss", message, acknowledge)}</div>`,
            ]))}` : nothing}
          ${channels.length ? html`<h2>History</h2>
            <p class="muted">The latest 200 messages of each channel are kept.</p>
            ${history.length
              ? rows("Messages, the latest first", ["Message", "Channel", "Device", "State", "Time"],
                  history.slice(0, most).map((message) => [
                    about(message), message.channel, device(message.device),
                    html`<div>${message.state}
                      ${message.state === "delivered" ? button("Acknowledge", message, acknowledge) : nothing}</div>`,
                    since(message.time)]))
              : html`<p>No message yet. Nothing is sent before you accept the present state for the first time.</p>`}
            ${history.length > most
              ? html`<button @click=${() => ((most += STEP), place.redraw())}>Show older messages</button>`
              : nothing}` : nothing}`;
      },
    };
  },
};

const list = (channels, tests, test) => rows(
  "Channels", ["Channel", "Receiver", "State", "Waiting", "Last delivered", "Test"],
  channels.map((channel) => {
    const { label, kind, detail } = channelView(channel);
    const tested = tests.get(channel.name);
    return [
      channel.name,
      html`${channel.type}, <span class="mono">${channel.url}</span>`,
      html`<div><span class="chip ${kind}">${label}</span> ${detail}</div>`,
      waitingText(channel),
      since(channel.last_delivered),
      html`<button aria-label="Test ${channel.name}" @click=${test(channel)}>Test</button>
        <div role="status" class=${tested?.ok === false ? "error" : ""}>${tested ? answer(tested) : ""}</div>`,
    ];
  }),
);

const button = (label, message, action) =>
  html`<button aria-label="${label}: ${message.title}" @click=${action(message)}>${label}</button>`;

const answer = ({ ok, answer }) =>
  ok === undefined ? answer : `${ok ? "delivered" : "failed"}${answer && `: ${answer}`}`;

const snoozeForm = (hosts) => html`
  <p>Nothing is sent until then. At the end, one message reports what still holds.</p>
  <label>About <select name="device">
    <option value="">all devices, and the appliance itself</option>
    ${hosts.map((host) => html`<option value=${keyOf(host)}>${host.name ?? host.address}</option>`)}</select></label>
  <label>For <select name="for">${Object.entries(LENGTHS).map(([length, text]) =>
    html`<option value=${length} ?selected=${length === "8h"}>${text}</option>`)}</select></label>`;

/** For an appliance without a channel. */
const howTo = html`<div class="hint">
  <h2>No channel yet</h2>
  <p>Alerts tell you of unexpected ports, missing ones, new devices and the appliance's own trouble. To get them:</p>
  <ol>
    <li>Write into <code>/etc/portscan/portscan.toml</code>:
      <code>[[channel]]</code> <code>name = "phone"</code> <code>type = "ntfy"</code> <code>url = "…"</code></li>
    <li>Load it: <code>systemctl reload portscan</code></li>
    <li>Test it here, or with <code>portscan alert test</code></li>
  </ol>
</div>`;
