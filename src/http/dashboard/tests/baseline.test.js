import assert from "node:assert/strict";
import { test } from "node:test";
import { baselineStep } from "../page/baseline.js";

const host = (presence, complete) => ({ presence, scanned: complete === null ? null : { ports: 1000, complete } });
const full = (left) => ({ kind: "run", ports: "1-65535", progress: { seconds_left: left } });
const complete = host("online", true);
const later = (when) => ({ isReady: false, text: `Available when the first full scan is through${when}.` });

test("the step is offered when every online device is scanned completely", () => {
  for (const others of [[], [host("offline", false)], [host("offline", null)]]) {
    assert.equal(baselineStep([complete, ...others], [full(9)], false).isReady, true, JSON.stringify(others));
  }
});

test("before that it says when it will be available", () => {
  assert.deepEqual(baselineStep([complete, host("online", false)], [full(540)], false), later(", in about 9 min"));
  assert.deepEqual(baselineStep([complete, host("unknown", null)], [full(null)], false), later(""));
  assert.deepEqual(baselineStep([host("unknown", null)], [], false), later(""));
  assert.deepEqual(baselineStep([host("offline", null)], [], false), later(""));
});

test("a device that no scan reaches does not keep it away for ever", () => {
  assert.equal(baselineStep([complete, host("unknown", null)], [], false).isReady, true);
});

test("an imported device is no reason to wait", () => {
  assert.equal(baselineStep([complete, host("unknown", false)], [full(9)], false).isReady, true);
});

test("with a baseline, and without devices, nothing is offered", () => {
  assert.equal(baselineStep([complete], [], true), null);
  assert.equal(baselineStep([], [full(9)], false), null);
});
