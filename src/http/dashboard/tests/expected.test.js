import assert from "node:assert/strict";
import { test } from "node:test";
import { accepting, pieces, ports, undoing } from "../page/expected.js";

const MAC = "B8:27:EB:AC:14:3E";
const row = (address, port, state = "open", comment = "") => ({ address, port, protocol: "tcp", state, comment });
const difference = (port, actual_state, comment = "") =>
  ({ address: MAC, port, protocol: "tcp", expected_state: "", actual_state, comment, scan_id: "x" });

test("a port is accepted in its actual state, and not accepted without a result", () => {
  const found = [difference(22, "open"), difference(80, "closed", "web"), difference(443, "", "never seen")];
  assert.deepEqual(accepting(found, ""), [row(MAC, 22), row(MAC, 80, "closed", "web")]);
  assert.deepEqual(accepting(found, "all right"), [row(MAC, 22, "open", "all right"), row(MAC, 80, "closed", "all right")]);
});

/** The expected state after these requests: a row that is written again becomes the last. */
function after(rows, { write, remove }) {
  const same = (a) => (b) => a.address === b.address && a.port === b.port && a.protocol === b.protocol;
  for (const written of write) rows = [...rows.filter((row) => !same(written)(row)), written];
  return rows.filter((row) => !remove.some((gone) => same(gone)(row)));
}

/** The row that holds for the device with this MAC at this address. */
const counts = (rows, port) => rows.filter((row) => row.port === port && [MAC, "10.0.0.7"].includes(row.address)).at(-1);

test("undoing restores the expected state, and the row that holds for each port", () => {
  const former = [row(MAC, 22, "closed", "before"), row("10.0.0.7", 22), row("10.0.0.8", 22), row(MAC, 80)];
  for (const changed of [[row(MAC, 22)], [row(MAC, 443)], [row(MAC, 80, "closed"), row(MAC, 81)], former, []]) {
    const accepted = after(former, { write: changed, remove: [] });
    const undone = after(accepted, undoing(former, changed));
    const sorted = (rows) => rows.map((row) => JSON.stringify(row)).sort();
    assert.deepEqual(sorted(undone), sorted(former));
    for (const port of [22, 80]) assert.deepEqual(counts(undone, port), counts(former, port));
  }
  const deleted = after(former, { write: [], remove: [former[0]] });
  assert.deepEqual(counts(after(deleted, undoing(former, [former[0]])), 22), former[1]);
  assert.deepEqual(undoing(former, [row(MAC, 443)]), { write: [], remove: [{ address: MAC, port: 443, protocol: "tcp" }] });
});

test("no piece is larger than the API takes", () => {
  const rows = Array.from({ length: 100 }, (_, port) => row(MAC, port, "open", "ä".repeat(port)));
  const cut = pieces(rows, 2000);
  assert.deepEqual(cut.flat(), rows);
  assert.ok(cut.every((piece) => piece.length && Buffer.byteLength(JSON.stringify(piece)) <= 2001));
  assert.deepEqual(pieces([]), []);
});

test("ports are parsed as people write them", () => {
  assert.deepEqual(ports("80, 22,8000-8002,22"), [22, 80, 8000, 8001, 8002]);
  assert.deepEqual(ports("0"), [0]);
  for (const [text, why] of [["", /no port/], ["x", /“x”/], ["70000", /65535/], ["9-1", /wrong way/], ["1-60000", /1000/], ["1;2", /“1;2”/]]) {
    assert.throws(() => ports(text), why);
  }
});
