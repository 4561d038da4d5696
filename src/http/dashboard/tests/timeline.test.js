import assert from "node:assert/strict";
import { test } from "node:test";
import { history, ticks, within } from "../page/timeline.js";

const at = (day, hour = 0) => `2026-03-${String(day).padStart(2, "0")}T${String(hour).padStart(2, "0")}:00:00Z`;
const ms = (day, hour) => Date.parse(at(day, hour));
const NOW = ms(20);
const change = (kind, day, more = {}) => ({ kind, time: at(day), protocol: "tcp", ...more });
const open = (port, day) => ({ port, protocol: "tcp", since: at(day) });
const shown = (host, changes) => {
  const { tracks, absences } = history({ first_seen: at(1), last_seen: at(19), ports: [], ...host }, changes, NOW);
  const dates = ({ from, to, lasts }) => `${new Date(from).getUTCDate()}-${lasts ? "" : new Date(to).getUTCDate()}`;
  return [tracks.map(({ label, spans }) => `${label} ${spans.map(dates).join(" ")}`), absences.map(dates)];
};

test("a port is open from its opening to its closing", () => {
  assert.deepEqual(shown({}, [change("opened", 3, { port: 22 }), change("closed", 5, { port: 22 })]), [["22/tcp 3-5"], []]);
});

test("a port that was open at first is open since then, one that is open now lasts", () => {
  const changes = [change("new", 1), change("closed", 5, { port: 23 }), change("opened", 9, { port: 23 }), change("opened", 7, { port: 80 })];
  assert.deepEqual(shown({ ports: [open(80, 7), open(22, 1), open(23, 9)] }, changes), [["22/tcp 1-", "23/tcp 1-5 9-", "80/tcp 7-"], []]);
});

test("protocols are separate tracks, many ports at once are one", () => {
  const changes = [
    change("opened", 3, { port: 53 }), { ...change("opened", 4, { port: 53 }), protocol: "udp" },
    change("opened", 6, { ports: "1-65535" }), change("closed", 7, { ports: "1-65535" }),
  ];
  assert.deepEqual(shown({ ports: [open(53, 3)] }, changes), [["1-65535/tcp 6-7", "53/tcp 3-", "53/udp 4-19"], []]);
});

test("a device that is gone may come back", () => {
  assert.deepEqual(shown({}, [change("gone", 4), change("back", 6), change("gone", 9), change("moved", 9)]), [[], ["4-6", "9-"]]);
  assert.deepEqual(shown({}, [change("back", 6)]), [[], []]);
});

test("a period is cut out", () => {
  const spans = [{ from: ms(1), to: ms(3), lasts: false }, { from: ms(5), to: ms(9), lasts: true }];
  const [track, ...others] = within([{ label: "22/tcp", order: 22, spans }, { label: "1/tcp", order: 1, spans: spans.slice(0, 1) }], ms(4), ms(7));
  assert.deepEqual(others, []);
  assert.deepEqual(track.spans, [{ from: ms(5), to: ms(7), lasts: true }]);
});

test("the axis has a few round marks", () => {
  for (const hours of [1, 5, 20, 30, 24 * 3, 24 * 30, 24 * 400, 24 * 9000]) {
    const marks = ticks(NOW - hours * 3600_000, NOW);
    assert.ok(marks.length <= 9 && (hours < 2 || marks.length >= 1), `${hours} h: ${marks.length}`);
    assert.ok(marks.every(({ at }) => at >= NOW - hours * 3600_000 && at <= NOW));
  }
});
