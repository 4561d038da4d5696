import assert from "node:assert/strict";
import { test } from "node:test";
import { addressKey, ago, bytes, count, figure, span, when } from "../page/format.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");

test("a duration has its largest unit", () => {
  assert.equal(ago("2026-03-01T11:59:30Z", NOW), "now");
  assert.equal(ago("2026-03-01T11:55:00Z", NOW), "5 min ago");
  assert.equal(ago("2026-02-28T12:00:00Z", NOW), "24 h ago");
  assert.equal(ago("2026-02-19T12:00:00Z", NOW), "10 d ago");
  assert.equal(ago("2026-03-01T13:00:00Z", NOW), "in 1 h");
  assert.equal(ago("nonsense", NOW), "never");
  assert.equal(span(0.4), "0 s");
  assert.equal(span(59), "59 s");
  assert.equal(when("nonsense"), "never");
  assert.match(when(NOW), /^2026-03-01 \d\d:\d\d$/);
});

test("a noun is singular for one, plural otherwise", () => {
  assert.equal(count(1, "device"), "1 device");
  assert.equal(count(2500, "port"), "2,500 ports");
  assert.deepEqual([0, 999, 1000, 1234567].map(figure), ["0", "999", "1,000", "1,234,567"]);
  assert.equal(count(0, "box", "boxes"), "0 boxes");
});

test("sizes have a fitting unit", () => {
  assert.deepEqual([0, 999, 1500, 150_000, 2.5e9].map(bytes), ["0 B", "999 B", "1.5 kB", "150 kB", "2.5 GB"]);
});

test("addresses sort by their numbers", () => {
  const sorted = ["fe80::1%eth0", "10.0.0.10", "10.0.0.9", "9.0.0.1"].sort((a, b) => (addressKey(a) < addressKey(b) ? -1 : 1));
  assert.deepEqual(sorted, ["9.0.0.1", "10.0.0.9", "10.0.0.10", "fe80::1%eth0"]);
});
