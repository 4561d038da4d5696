// Alerts: the channels and their tests, the messages that a receiver refused, and the latest others.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { channelView, waitingText } from "../alerts.js";
import { get, part, send } from "../api.js";
import { directory } from "../directory.js";
import { deviceLink } from "../parts/devicelink.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";
import { fail, say } from "../parts/toast.js";

/** The interval of requests, in milliseconds: the states of channels are no events. */
const AGAIN = 5_000;

/** Messages that are shown at first, and with each further step. */
const STEP = 50;

/** @type {import("../main.js").Page} */
export default {
  title: "Alerts",
  open(place) {
    let alerts = null;
    let find = directory([]);
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
    const dismiss = ({ id }) => act(async () => {
      await send("POST", `v1/alerts/${id}/ack`);
      say("Dismissed.");
    });

    return {
      async load(isWhole) {
        const [now, hosts] = await Promise.all([get("v1/alerts"), isWhole ? get("v1/hosts") : null]);
        alerts = now;
        if (hosts) find = directory(hosts);
      },
      heard: ({ kind }) => kind === "change" && place.reload(false),
      close: () => clearInterval(timer),
      view: () => {
        const { channels, parked, history } = alerts;
        const device = (key) => (key ? deviceLink(find(key), key) : "several, or none");
        const about = (message) => html`<div>${message.title}</div>`;
        return html`<h1>Alerts</h1>
          ${channels.length ? list(channels, tests, test) : howTo}
          ${parked.length ? html`<h2>Refused messages</h2>
            ${rows("Refused messages", ["Message", "Channel", "Since", "Reason", "Actions"], parked.map((message) => [
              about(message), message.channel, since(message.time), message.reason ?? "",
              html`<div class="actions">
                <button aria-label="Retry: ${message.title}" @click=${retry(message)}>Retry</button>
                <button aria-label="Dismiss: ${message.title}" @click=${dismiss(message)}>Dismiss</button></div>`,
            ]))}` : nothing}
          ${channels.length ? html`<h2>History</h2>
            <p class="muted">The latest 200 messages of each channel are kept.</p>
            ${history.length
              ? rows("Messages, the latest first", ["Message", "Channel", "Device", "State", "Time"],
                  history.slice(0, most).map((message) =>
                    [about(message), message.channel, device(message.device), message.state, since(message.time)]))
              : html`<p>No message was delivered yet. Nothing is sent before the present state was accepted for the first
                  time.</p>`}
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

const answer = ({ ok, answer }) => (ok === undefined ? answer : `${ok ? "delivered" : "failed"}${answer && `: ${answer}`}`);

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
