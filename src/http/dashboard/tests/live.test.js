import assert from "node:assert/strict";
import { test } from "node:test";
import { withOpenPort, withProgress } from "../page/live.js";

const TIME = "2026-03-01T12:00:00Z";
const host = (mac, address, ports = []) => ({ mac, address, name: null, last_seen: TIME, scanning: null, ports });
const NAS = host("00:11:32:00:00:01", "10.0.0.7", [{ port: 22, protocol: "tcp", scan_id: 1 }]);
const LAMP = host(null, "10.0.0.8");
const HOSTS = [NAS, LAMP];
const found = (mac, address, port) => ({ mac, address, protocol: "tcp", port, scan_id: 2 });

test("a port that was just found is open and unconfirmed, and no other device changes", () => {
  const [nas, lamp] = withOpenPort(HOSTS, found(NAS.mac, "10.0.0.7", 80), TIME);
  assert.deepEqual(nas.ports[1], { port: 80, protocol: "tcp", scan_id: 2, since: TIME, unconfirmed: true });
  assert.deepEqual(nas.scanning, { done: 0, total: 0 });
  assert.equal(lamp, LAMP);
  assert.equal(NAS.ports.length, 1, "the former version stays as it was");
  assert.equal(withOpenPort(HOSTS, found(null, "10.0.0.8", 80), TIME)[1].ports.length, 1);
});

test("a port that is known to be open changes nothing, an unknown device takes a request", () => {
  assert.equal(withOpenPort(HOSTS, found(NAS.mac, "10.0.0.7", 22), TIME), HOSTS);
  assert.equal(withOpenPort(HOSTS, found("00:11:32:00:00:09", "10.0.0.9", 22), TIME), null);
});

test("the progress of the runs is that of their devices", () => {
  const runs = [{ progress: { devices: [{ mac: null, address: "10.0.0.8", ports: { done: 3, total: 9 } }] } }, { progress: null }];
  const [nas, lamp] = withProgress(HOSTS, runs);
  assert.equal(nas, NAS);
  assert.deepEqual(lamp.scanning, { done: 3, total: 9 });
  assert.equal(withProgress([nas, lamp], runs)[1], lamp, "without progress it stays the same");
  assert.deepEqual(withProgress([nas, lamp], [])[1], LAMP);
});
