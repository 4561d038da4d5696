import assert from "node:assert/strict";
import { test } from "node:test";
import { limitsReached } from "../page/limits.js";

const healthy = {
  probes: { window: 700, in_flight: 700 },
  limits: { sockets: 700, conntrack: { entries: 100, max: 1600 } },
  memory: { available_bytes: 5e8, total_bytes: 1e9 },
  local_errors: [{ kind: "ports", count: 0 }],
};

test("a machine without trouble has reached no limit", () => {
  assert.deepEqual(limitsReached(healthy), []);
  assert.deepEqual(limitsReached({ ...healthy, limits: null, memory: null }), []);
  assert.deepEqual(limitsReached({ ...healthy, probes: { window: 100, in_flight: 3 } }), []);
});

test("each limit that was reached has a sentence with its figures", () => {
  const met = limitsReached({
    probes: { window: 16, in_flight: 12 },
    limits: { sockets: 700, conntrack: { entries: 1501, max: 1600 } },
    memory: { available_bytes: 5e7, total_bytes: 1e9 },
    local_errors: [{ kind: "ports", count: 1 }, { kind: "of later days", count: 2000 }],
  });
  assert.match(met[0], /16 of 700 sockets/);
  assert.match(met[1], /1501 of 1600/);
  assert.match(met[2], /50\.0 MB of 1\.0 GB/);
  assert.match(met[3], /1 connect .*local port/);
  assert.match(met[4], /2,000 connects .*of later days/);
  assert.equal(met.length, 5);
});
