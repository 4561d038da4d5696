import assert from "node:assert/strict";
import { test } from "node:test";
import { channelView, waitingText } from "../page/alerts.js";

const channel = { state: "idle", pending: 0, oldest_seconds: null, next_seconds: null, failing_seconds: null, error: null };

test("each state of a channel is a word and a sentence", () => {
  const detail = (more) => channelView({ ...channel, ...more }).detail;
  assert.equal(detail({}), "everything is delivered");
  assert.equal(detail({ state: "waiting", next_seconds: 12 }), "collects further events; sends in 12 s");
  assert.equal(detail({ state: "paused", next_seconds: 300 }), "too many messages; sends one with all that waits in 5 min");
  assert.equal(detail({ state: "quiet" }), "held until the quiet hours end");
  const failing = channelView({ ...channel, state: "failing", failing_seconds: 90, next_seconds: 0, error: "no route" });
  assert.deepEqual(failing, { label: "failing", kind: "rogue", detail: "for 1 min; tries again now: no route" });
});

test("an error is shown until something is delivered, and an unknown state as it is called", () => {
  assert.equal(channelView({ ...channel, error: "the answer is 400" }).detail, "everything is delivered: the answer is 400");
  assert.deepEqual(channelView({ ...channel, state: "resting" }), { label: "resting", kind: "", detail: "" });
});

test("that a template failed is shown with its reason", () => {
  const view = channelView({ ...channel, template_error: "text: line 1 of the template: divided by zero" });
  assert.equal(
    view.detail,
    "everything is delivered: sent with the built-in text: text: line 1 of the template: divided by zero",
  );
});

test("what waits is counted", () => {
  assert.equal(waitingText(channel), "nothing");
  assert.equal(waitingText({ ...channel, pending: 1, oldest_seconds: 0 }), "1 event");
  assert.equal(waitingText({ ...channel, pending: 2500, oldest_seconds: 7200 }), "2,500 events, the oldest for 2 h");
});
