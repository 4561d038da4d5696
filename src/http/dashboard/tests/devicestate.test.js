import assert from "node:assert/strict";
import { test } from "node:test";
import { scannedCount, stateOf } from "../page/devicestate.js";

const NOW = new Date(2026, 2, 1, 15, 0).getTime();
const at = (hour, minute, day = 1) => new Date(2026, 2, day, hour, minute).toISOString();
const quick = { time: at(12, 0), ports: 1000, complete: false };
const complete = { time: at(12, 0), ports: 65535, complete: true };
const state = (host) => stateOf({ scanned: null, scanning: null, presence: "unknown", last_seen: at(14, 5), ports: [], ...host }, NOW);
const SSH = [{ port: 22 }];

for (const [words, host] of [
  ["not scanned yet", {}],
  ["not scanned yet", { scanned: undefined, scanning: undefined, presence: undefined }],
  ["not scanned yet, offline since 14:05", { presence: "offline" }],
  ["not scanned yet", { scanned: { ports: 0, complete: false } }],
  ["scanning", { scanning: { done: 0, total: 0 } }],
  ["scanning 45 %", { scanning: { done: 450, total: 1000 } }],
  ["scanning 99 %", { scanning: { done: 65534, total: 65535 }, scanned: quick, presence: "offline" }],
  ["1,000 of 65,535 ports", { scanned: quick, presence: "online", ports: SSH }],
  ["none open among 1,000 ports", { scanned: quick, presence: "online" }],
  ["none open among 1 port", { scanned: { ports: 1, complete: false }, presence: "online" }],
  ["no open ports", { scanned: complete, presence: "online" }],
  ["", { scanned: complete, presence: "online", ports: SSH }],
  ["offline since 14:05", { scanned: complete, presence: "offline", ports: SSH }],
  ["offline since 2026-02-27 14:05", { scanned: complete, presence: "offline", ports: SSH, last_seen: at(14, 5, -1) }],
  ["no open ports, offline since 14:05", { scanned: complete, presence: "offline" }],
]) {
  test(`a device says "${words}": ${JSON.stringify(host)}`, () => assert.equal(state(host), words));
}

test("the count of devices says how many are scanned", () => {
  const counted = (...scanned) => scannedCount(scanned.map((scanned) => ({ scanned })));
  assert.equal(counted(complete), "1 device");
  assert.equal(counted(complete, complete), "2 devices");
  assert.equal(counted(complete, quick, null), "1 of 3 devices scanned");
  assert.equal(counted(quick, quick, null), "2 of 3 devices had a quick scan");
  assert.equal(counted(null, null), "2 devices, not scanned yet");
});
