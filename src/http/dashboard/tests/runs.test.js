import assert from "node:assert/strict";
import { test } from "node:test";
import { activity, reason, secondsToFullScan, took } from "../page/runs.js";

const run = (kind, ports, done, total, left, more = {}) => ({
  id: 1, kind, ports, hosts: { done, total },
  progress: { ports: { done: 10 * done, total: 10 * total }, seconds_left: left, devices: [] }, ...more,
});
const first = run("seen", "22,80-90,443", 12, 40, 40);
const full = run("run", "1-65535", 16, 40, 540);
const confirm = run("confirm", "22", 1, 3, 12);
const text = (...runs) => activity(runs)?.text;

test("a scan says how far it is and how long it takes", () => {
  assert.equal(text(full), "Scanning 16 of 40 devices, about 9 min left");
  assert.equal(text(first), "Quick scan: 12 of 40 devices, about 40 s left");
  assert.equal(text(confirm), "Second look: 1 of 3 devices, about 12 s left");
  assert.equal(text(run("manual", "1-65535", 0, 1, null)), "Scanning 1 device");
  assert.equal(text(run("run", "22", 0, 40, 2)), "Scanning 40 devices, a few seconds left");
  assert.equal(text(run("run", "22", 0, 0, null)), "Starting a scan");
  assert.deepEqual(activity([full]).ports, { done: 160, total: 400 });
});

test("of several scans the line says what a user waits for, and nothing when nothing runs", () => {
  const hourly = run("run", "1-1000", 1, 40, 100);
  assert.match(text(confirm, hourly, full, first), /^Quick scan/);
  assert.match(text(confirm, hourly, full), /^Scanning 16 of 40/);
  assert.match(text(confirm, hourly), /^Scanning 1 of 40/);
  assert.match(text(run("seen", "1-65535", 1, 2, 9), full), /^Scanning 16 of 40/, "the one with more to do");
  assert.equal(activity([]), null);
  assert.equal(activity([{ ...full, progress: null }]), null, "a scan that is over");
});

test("a quick scan that covers all ports is a full scan", () => {
  assert.equal(text(run("seen", "1-65535", 1, 2, 90)), "Scanning 1 of 2 devices, about 1 min left");
});

test("the time to the full scan is that of the slowest full scan, if each can be estimated", () => {
  assert.equal(secondsToFullScan([first, full, run("seen", "1-65535", 0, 2, 600)]), 600);
  assert.equal(secondsToFullScan([full, run("seen", "1-65535", 0, 2, null)]), null);
  assert.equal(secondsToFullScan([first, confirm]), null);
});

test("a run has a reason and a duration", () => {
  assert.deepEqual(["seen", "of later days"].map(reason), ["new devices", "of later days"]);
  assert.equal(took({ started: "2026-03-01T12:00:00Z", finished: "2026-03-01T12:01:30Z" }), 90);
  assert.equal(took({ started: "2026-03-01T12:00:00Z", finished: null }), null);
});
