import assert from "node:assert/strict";
import { test } from "node:test";
import { devicesOf, viewer } from "../page/devices.js";

const NOW = Date.parse("2026-03-10T12:00:00Z");
const OLD = "2026-01-01T00:00:00Z";
const RECENT = "2026-03-10T11:00:00Z";

const host = (more) => ({
  mac: "00:11:32:00:00:01", address: "10.0.0.7", vendor: "Synology", locally_administered: false, name: "nas",
  names: [{ name: "NAS", source: "mdns" }], note: null, first_seen: OLD, last_seen: RECENT, ipv6: [], ports: [], ...more,
});
const open = (port, since = OLD) => ({ port, protocol: "tcp", service: null, since, scan_id: 1 });
const differs = (address, port, expected_state, actual_state) => ({ address, port, protocol: "tcp", expected_state, actual_state });
const shown = ({ ports }) => ports.map(({ port, states }) => `${port} ${states.join(" ")}`);

test("ports are as they should be, rogue, missing or new", () => {
  const differences = [
    differs("10.0.0.7", 8080, "", "open"), differs("10.0.0.7", 443, "open", "closed"),
    differs("10.0.0.7", 25, "open", ""), differs("10.0.0.7", 161, "", "open|filtered"),
    differs("10.0.0.7", 80, "closed", "filtered"), differs("10.0.0.99", 22, "open", ""),
  ];
  const [nas] = devicesOf([host({ ports: [open(8080), open(22), open(23, RECENT)] })], differences, NOW);
  assert.deepEqual(shown(nas), [
    "22 open", "23 open new", "25 missing never seen", "161 open|filtered rogue", "443 missing closed", "8080 open rogue",
  ]);
});

test("a port has a title in words", () => {
  const [nas] = devicesOf([host({ ports: [open(22)] })], [differs("10.0.0.7", 22, "closed", "open"), differs("10.0.0.7", 25, "open", "")], NOW);
  assert.match(nas.ports[0].title, /^22\/tcp: open, unexpected, since \d{4}-\d\d-\d\d \d\d:\d\d$/);
  assert.equal(nas.ports[1].title, "25/tcp: missing, never seen");
});

test("advice takes the place of the service", () => {
  const advice = { level: "act", what: "usually Telnet", why: "", remedy: "" };
  const [nas] = devicesOf([host({ ports: [{ ...open(23), service: "telnet", advice }, { ...open(7), service: "echo", advice: null }] })], [], NOW);
  assert.deepEqual(nas.ports.map(({ label }) => label), ["usually echo", "usually Telnet"]);
  assert.equal(nas.ports[1].service, "telnet", "the filter knows it");
  assert.match(nas.ports[1].title, /^23\/tcp: open, since .*; usually Telnet \(act\)$/);
});

test("a port says at which addresses of its device it is open, and differs once", () => {
  const addresses = [{ address: "10.0.0.7", present: true }, { address: "10.0.0.8", present: true }];
  const ports = [{ ...open(22), addresses: ["10.0.0.7", "10.0.0.8"] }, { ...open(80), addresses: ["10.0.0.8"] }];
  const differences = [differs("10.0.0.7", 22, "", "open"), differs("10.0.0.8", 22, "", "open"), differs("10.0.0.8", 80, "", "open")];
  const [nas] = devicesOf([host({ addresses, ports })], differences, NOW);
  assert.deepEqual(shown(nas), ["22 open rogue", "80 open rogue"]);
  assert.match(nas.ports[1].title, /, at 10\.0\.0\.8$/);
  assert.deepEqual(nas.addresses, ["10.0.0.7", "10.0.0.8"]);
});

test("what was open when a device was first seen is not new, the device is", () => {
  const guest = host({ mac: "02:00:00:00:00:02", address: "10.0.0.8", first_seen: RECENT, ports: [open(22, RECENT)] });
  const [nas, other] = devicesOf([host({}), guest], [], NOW);
  assert.deepEqual([nas.isNew, other.isNew, shown(other)], [false, true, ["22 open"]]);
});

test("on the appliance's first day no device is new", () => {
  const devices = devicesOf([host({ first_seen: RECENT }), host({ mac: null, address: "10.0.0.8", first_seen: "2026-03-10T11:20:00Z" })], [], NOW);
  assert.deepEqual(devices.map(({ isNew }) => isNew), [false, false]);
});

test("an address means the device that has it now, a MAC always the same one", () => {
  const before = host({ mac: "00:11:32:00:00:09", last_seen: OLD, ports: [open(22)] });
  const holder = host({ ports: [open(22), open(80)] });
  const differences = [differs("10.0.0.7", 80, "", "open"), differs("00:11:32:00:00:09", 22, "", "open")];
  const [first, second] = devicesOf([before, holder], differences, NOW);
  assert.deepEqual([shown(first), shown(second)], [["22 open rogue"], ["22 open", "80 open rogue"]]);
});

test("a device has a title, and is found by its MAC, or its address", () => {
  const [named, made, bare] = devicesOf([host({}), host({ name: null, mac: null }), host({ name: null, vendor: null, mac: null })], [], NOW);
  assert.deepEqual([named.title, made.title, bare.title], ["nas", "unnamed (Synology)", "unnamed"]);
  assert.deepEqual([named.key, bare.key, named.mac], ["00:11:32:00:00:01", "10.0.0.7", "001132000001"]);
});

test("a port that waits for a second look is unconfirmed, and not new", () => {
  const port = { ...open(22, RECENT), unconfirmed: true };
  const [nas] = devicesOf([host({ ports: [port] })], [differs("10.0.0.7", 22, "", "open")], NOW);
  assert.deepEqual(shown(nas), ["22 open unconfirmed rogue"]);
  assert.match(nas.ports[0].title, /open, unconfirmed until a second look finds it open, too, unexpected, since/);
});

test("a later version of a device keeps its differences, and knows the services of the others", () => {
  const other = host({ mac: null, address: "10.0.0.8", ports: [{ ...open(80), service: "http" }] });
  const view = viewer([host({}), other], [differs("10.0.0.7", 22, "", "open")], NOW);
  const nas = view(host({ ports: [open(22), { port: 80, protocol: "tcp", since: RECENT, scan_id: 1, unconfirmed: true }] }));
  assert.deepEqual(shown(nas), ["22 open rogue", "80 open unconfirmed"]);
  assert.equal(nas.ports[1].service, "http");
});

test("a device says how far its scan is", () => {
  const [nas] = devicesOf([host({ scanned: null, scanning: { done: 450, total: 1000 }, presence: "unknown" })], [], NOW);
  assert.equal(nas.state, "scanning 45 %");
});
