// What a channel of alerts does, in words. Pure.

import { count, span } from "./format.js";

/** @typedef {{label: string, kind: "" | "warn" | "rogue" | "new", detail: string}} ChannelView */

const KINDS = { delivering: "new", paused: "warn", failing: "rogue" };

/**
 * A channel of /v1/alerts: a word for its chip, the chip's class, and a sentence.
 * @param {any} channel
 * @returns {ChannelView}
 */
export function channelView(channel) {
  const { state, next_seconds: next, failing_seconds: failing, error, template_error: template } = channel;
  const soon = next === null ? "" : next > 0 ? `in ${span(next)}` : "now";
  const details = {
    idle: "everything is delivered",
    delivering: "a message is on its way",
    waiting: `collects further events; sends ${soon}`,
    paused: `too many messages; sends one with all that waits ${soon}`,
    quiet: "held until the quiet hours end",
    failing: `for ${span(failing ?? 0)}${soon && `; tries again ${soon}`}`,
  };
  // An error outlasts its attempt until something is delivered: the owner may not have seen it.
  const detail = [details[state], error, template && `sent with the built-in text: ${template}`];
  return { label: state, kind: KINDS[state] ?? "", detail: detail.filter(Boolean).join(": ") };
}

/**
 * What waits: "nothing", "1 event", "12 events, the oldest for 5 min".
 * @param {any} channel
 */
export function waitingText({ pending, oldest_seconds: oldest }) {
  if (!pending) return "nothing";
  return count(pending, "event") + (oldest ? `, the oldest for ${span(oldest)}` : "");
}
