import assert from "node:assert/strict";
import { test } from "node:test";
import { expiry, nameOf } from "../page/identity.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const greeting = { method: "greeting", text: "", time: "" };

for (const [port, name] of [
  [{ service: "ssh", product: "OpenSSH", version: "9.2p1", evidence: greeting, advice: { what: "is OpenSSH 9.2p1" } }, "OpenSSH 9.2p1"],
  [{ service: "ssh", evidence: greeting, advice: null }, "ssh"],
  [{ service: "ssh", version: "7", evidence: greeting }, "ssh"],
  [{ service: "ssh", product: "Forged", evidence: { method: "dns-sd" }, advice: { what: "probably Forged" } }, "probably Forged"],
  [{ service: "ssh", advice: { what: "usually SSH" } }, "usually SSH"],
  [{ service: "ssh", advice: null }, "usually ssh"],
  [{ service: null, advice: null }, null],
  [{ product: "x".repeat(300), evidence: greeting }, `${"x".repeat(40)}…`],
]) {
  test(`a port is called ${name}`, () => assert.equal(nameOf(port), name));
}

test("a certificate says when it ends", () => {
  assert.equal(expiry("2026-02-28T12:00:00Z", NOW), "expired on 2026-02-28");
  assert.equal(expiry("2026-03-02T12:00:00Z", NOW), "expires on 2026-03-02, in 1 day");
  assert.equal(expiry("2027-03-02T12:00:00Z", NOW), "valid until 2027-03-02");
});
