import assert from "node:assert/strict";
import { test } from "node:test";
import { dayName, deviceKey, folded, grouped, isUnexpected, lastNight, tally } from "../page/digest.js";

const MAC = "B8:27:EB:AC:14:3E";
let id = 0;
const change = (kind, time, more = {}) => ({ id: ++id, time, kind, address: "10.0.0.7", mac: MAC, alert: false, ...more });
const tcp = (port) => ({ protocol: "tcp", port });

test("a port that opened and closed again is one row, with the time that it was open", () => {
  const changes = [
    change("opened", "2026-03-01T02:00:00Z", { ...tcp(22), alert: true }),
    change("opened", "2026-03-01T02:00:00Z", tcp(80)),
    change("closed", "2026-03-01T02:10:00Z", { ...tcp(22), address: "10.0.0.9" }),
    change("closed", "2026-03-01T02:10:00Z", { ...tcp(80), mac: null }),
    change("closed", "2026-03-01T02:20:00Z", tcp(22)),
    change("opened", "2026-03-01T02:30:00Z", { protocol: "tcp", ports: "1-100" }),
    change("closed", "2026-03-01T02:31:00Z", { protocol: "tcp", ports: "1-100" }),
  ];
  const rows = folded(changes);
  const summary = rows.map(({ kind, port, lasted }) => [kind, port, lasted]);
  assert.deepEqual(summary, [
    ["opened", undefined, 60],
    ["closed", 22, undefined],
    ["closed", 80, undefined],
    ["opened", 80, undefined],
    ["opened", 22, 600],
  ]);
  assert.equal(changes[0].over, undefined, "the given rows stay as they were");
  const { of, brief, alerts } = tally(rows);
  const counted = { opened: of("opened"), closed: of("closed"), moved: of("moved"), brief, alerts };
  assert.deepEqual(counted, { opened: 3, closed: 2, moved: 0, brief: 2, alerts: 1 });
});

test("what was found of a port is an alert, and no unexpected change", () => {
  const found = { ...tcp(23), alert: true, to: "usually Telnet." };
  assert.equal(isUnexpected(change("opened", "2026-03-01T02:00:00Z", found)), true);
  for (const kind of ["advice", "certificate-expires"]) {
    assert.equal(isUnexpected(change(kind, "2026-03-01T02:00:00Z", found)), false);
  }
});

test("the key of a device is its MAC where that is known", () => {
  assert.equal(deviceKey(change("new", "", {})), MAC);
  assert.equal(deviceKey(change("new", "", { mac: null })), "10.0.0.7");
});

test("groups come in the order of their first rows", () => {
  assert.deepEqual(grouped(["b1", "a1", "b2"], ([letter]) => letter), [
    { key: "b", rows: ["b1", "b2"] },
    { key: "a", rows: ["a1"] },
  ]);
  assert.deepEqual(grouped([], String), []);
});

test("last night is the one that has begun", () => {
  const at = (hour, day = 5) => new Date(2026, 2, day, hour).getTime();
  assert.deepEqual(lastNight(at(8)), { from: at(18, 4), to: at(9) });
  assert.deepEqual(lastNight(at(17)), { from: at(18, 4), to: at(9) });
  assert.deepEqual(lastNight(at(18)), { from: at(18), to: at(9, 6) });
  assert.equal(dayName("2026-03-05", at(8)), "Today");
  assert.equal(dayName("2026-03-04", at(8)), "Yesterday");
  assert.equal(dayName("2026-03-03", at(8)), "2026-03-03");
});
