import assert from "node:assert/strict";
import { test } from "node:test";
import { sorted } from "../page/sort.js";

const COLUMNS = [{ key: "name", value: ({ name }) => name }, { key: "note" }];
const ROWS = [{ name: "b", at: 1 }, { name: null, at: 2 }, { name: "a", at: 3 }, { name: "b", at: 4 }];
const order = (by, down) => sorted(ROWS, COLUMNS, { by, down }).map(({ at }) => at);

test("rows without a value come last in both directions, equal rows keep their order", () => {
  assert.deepEqual(order("name", false), [3, 1, 4, 2]);
  assert.deepEqual(order("name", true), [1, 4, 3, 2]);
});

test("a column that does not sort changes nothing, and the given rows stay as they are", () => {
  assert.deepEqual(order("note", true), [1, 2, 3, 4]);
  assert.deepEqual(order("unknown", true), [1, 2, 3, 4]);
  assert.deepEqual(ROWS.map(({ at }) => at), [1, 2, 3, 4]);
});
