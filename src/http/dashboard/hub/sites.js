// The sites of a hub: their states in words, and the filter. Pure.

import { span } from "../page/format.js";

/**
 * A row of /v1/sites.
 * @typedef {object} Site
 * @property {string} name
 * @property {"never"|"current"|"catching-up"|"silent"|"refused"} state
 * @property {string|null} heard
 * @property {string|null} version
 * @property {string|null} host
 * @property {string|null} refusal
 * @property {string[]} problems
 * @property {string[]} notices
 * @property {number|null} devices
 * @property {number|null} open
 * @property {number|null} rogue
 * @property {number|null} missing
 * @property {"act"|"look"|"fine"|null} worst_advice
 * @property {string} [error]
 */

/** What a level of advice is called, the gravest first. */
const ADVICE = { act: "act", look: "look", fine: "fine" };

/** States that need the owner come first. */
const ORDER = ["refused", "silent", "never", "catching-up", "current"];

/**
 * A site's state in plain words, and the class of its chip.
 * @param {Site} site
 * @param {number} now
 * @returns {{text: string, kind: string, order: number}}
 */
export function stateView({ state, heard }, now) {
  const seconds = (now - Date.parse(heard ?? "")) / 1000;
  const views = {
    never: { text: "never heard", kind: "warn" },
    current: { text: "current", kind: "new" },
    "catching-up": { text: "copies its data", kind: "" },
    silent: { text: Number.isNaN(seconds) ? "not heard" : `not heard for ${span(Math.max(0, seconds))}`, kind: "warn" },
    refused: { text: "refused", kind: "rogue" },
  };
  const view = Object.hasOwn(views, state) ? views[state] : { text: String(state), kind: "" };
  return { ...view, order: ORDER.indexOf(state) };
}

/**
 * What needs the owner: sentences that say what is wrong and how to mend it.
 * @param {Site} site
 * @returns {string[]}
 */
export const complaints = ({ refusal, error, problems }) => [refusal, error, ...problems].filter(Boolean);

/** @param {Site} site */
export const differences = ({ rogue, missing }) => (rogue === null ? null : rogue + missing);

/**
 * The gravest advice for sorting: "act" first.
 * @param {Site} site
 */
export const adviceOrder = ({ worst_advice: level }) => (level === null ? null : Object.keys(ADVICE).indexOf(level));

/**
 * Whether a site is meant by a filter: each word must be in its name, host, version, state or complaints; `site:NAME`
 * in its name alone; a word after `-` must not be.
 * @param {string} text
 * @param {number} now
 * @returns {(site: Site) => boolean}
 */
export function matcher(text, now) {
  const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => test(word, now));
  return (site) => tests.every((test) => test(site));
}

function test(word, now) {
  if (word.startsWith("-") && word.length > 1) {
    const without = test(word.slice(1), now);
    return (site) => !without(site);
  }
  if (word.startsWith("site:")) {
    const names = word.slice("site:".length).split(",").filter(Boolean);
    // While the name is still to be written, all sites are meant.
    return ({ name }) => !names.length || names.some((part) => name.includes(part));
  }
  return (site) => {
    const texts = [site.name, site.host, site.version, stateView(site, now).text, ...complaints(site), ...site.notices];
    return texts.some((text) => text?.toLowerCase().includes(word));
  };
}

/**
 * The sums over these sites; what is unknown counts as nothing.
 * @param {Site[]} sites
 */
export function totals(sites) {
  const sum = (value) => sites.reduce((sum, site) => sum + (value(site) ?? 0), 0);
  return {
    current: sites.filter(({ state }) => state === "current").length,
    devices: sum(({ devices }) => devices),
    open: sum(({ open }) => open),
    differences: sum(differences),
  };
}
