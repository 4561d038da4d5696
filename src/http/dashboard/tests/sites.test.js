import assert from "node:assert/strict";
import { test } from "node:test";
import { adviceOrder, complaints, differences, matcher, stateView, totals } from "../hub/sites.js";

const NOW = Date.parse("2026-03-04T10:00:00Z");

const site = (name, more = {}) => ({
  name, state: "current", heard: "2026-03-04T09:59:00Z", version: "0.3.0", host: null, refusal: null, problems: [],
  notices: [], devices: 2, open: 3, rogue: 1, missing: 0, worst_advice: null, ...more,
});

const SITES = [
  site("house-1", { host: "pi<b>" }),
  site("house-12", { state: "silent", heard: "2026-03-01T10:00:00Z", worst_advice: "act" }),
  site("shop", { state: "refused", refusal: "the card was copied", devices: null, open: null, rogue: null, missing: null }),
];

const found = (text) => SITES.filter(matcher(text, NOW)).map(({ name }) => name);

test("a state is told in plain words", () => {
  const text = (state, heard) => stateView({ state, heard }, NOW).text;
  assert.equal(text("current", "2026-03-04T09:59:00Z"), "current");
  assert.equal(text("silent", "2026-03-01T10:00:00Z"), "not heard for 3 d");
  assert.equal(text("silent", "2026-03-04T11:00:00Z"), "not heard for 0 s");
  assert.equal(text("silent", null), "not heard");
  assert.equal(text("catching-up", null), "copies its data");
  assert.equal(text("never", null), "never heard");
  assert.equal(text("constructor", null), "constructor");
});

test("sites that need the owner sort first", () => {
  const order = ["current", "refused", "silent"].sort((a, b) => stateView({ state: a }, NOW).order - stateView({ state: b }, NOW).order);
  assert.deepEqual(order, ["refused", "silent", "current"]);
  assert.equal(adviceOrder(SITES[0]), null);
  assert.equal(adviceOrder(SITES[1]), 0);
});

test("a filter takes words, names of sites and negations", () => {
  assert.deepEqual(found(""), ["house-1", "house-12", "shop"]);
  assert.deepEqual(found("site:house"), ["house-1", "house-12"]);
  assert.deepEqual(found("site:house-12,shop"), ["house-12", "shop"]);
  assert.deepEqual(found("site:"), ["house-1", "house-12", "shop"]);
  assert.deepEqual(found("PI<B>"), ["house-1"]);
  assert.deepEqual(found("house not heard"), ["house-12"]);
  assert.deepEqual(found("copied"), ["shop"]);
  assert.deepEqual(found("-site:house"), ["shop"]);
  assert.deepEqual(found("-"), ["house-1", "house-12"]);
});

test("what is unknown is no zero, and adds nothing to a sum", () => {
  assert.equal(differences(SITES[2]), null);
  assert.deepEqual(totals(SITES), { current: 1, devices: 4, open: 6, differences: 2 });
  assert.deepEqual(complaints(SITES[2]), ["the card was copied"]);
  assert.deepEqual(complaints(site("x", { error: "a", problems: ["b"] })), ["a", "b"]);
});
