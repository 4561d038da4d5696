import assert from "node:assert/strict";
import { test } from "node:test";
import { addressesOf, directory } from "../page/directory.js";

test("a device is found by its MAC and by the address that it has", () => {
  const nas = { mac: "B8:27:EB:AC:14:3E", address: "10.0.0.7", name: "nas", last_seen: "2026-03-01T12:00:00Z" };
  const old = { mac: "B8:27:EB:AC:14:3F", address: "10.0.0.7", name: "old", last_seen: "2026-02-01T12:00:00Z" };
  const far = { mac: null, address: "10.9.0.1", name: null, last_seen: "2026-03-01T12:00:00.5Z" };
  const find = directory([nas, old, far]);
  assert.equal(find(nas.mac), nas);
  assert.equal(find(old.mac), old);
  assert.equal(find("10.0.0.7"), nas, "the device that was last seen there");
  assert.equal(find("10.9.0.1"), far);
  assert.equal(find("10.0.0.9"), null);
});

test("a device is found by every address that it has now, and by none that it had", () => {
  const addresses = [{ address: "10.0.0.8", present: true }, { address: "10.0.0.7", present: true }, { address: "10.0.0.9", present: false }];
  const nas = { mac: "B8:27:EB:AC:14:3E", address: "10.0.0.7", name: "nas", last_seen: "2026-03-01T12:00:00Z", addresses };
  const find = directory([nas]);
  assert.equal(find("10.0.0.8"), nas);
  assert.equal(find("10.0.0.9"), null);
  assert.deepEqual(addressesOf(nas), ["10.0.0.7", "10.0.0.8"]);
});
