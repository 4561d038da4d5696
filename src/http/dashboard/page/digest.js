// Summaries of the changes: openings that were closed again, days, devices, the last night. Pure.

import { day } from "./format.js";

/**
 * A row of /v1/changes.
 * @typedef {object} Change
 * @property {number} id
 * @property {string} time
 * @property {string} kind one of KINDS in pages/changes.js
 * @property {string} address
 * @property {string|null} mac
 * @property {string} [protocol]
 * @property {number} [port]
 * @property {string} [ports] instead of `port`, where many changed at once
 * @property {string} [from]
 * @property {string} [to]
 * @property {boolean} alert
 */

/** @typedef {Change & {over?: number, lasted?: number}} Row `over`: of an opening, the change that ended it */

/**
 * The key of a change's device: the MAC where it is known.
 * @param {Change} change
 */
export const deviceKey = (change) => change.mac ?? change.address;

/**
 * The changes, in which an opening that was closed again has the seconds that it lasted, and its closing is left out.
 * @param {Change[]} changes oldest first
 * @returns {Row[]} newest first
 */
export function folded(changes) {
  const open = new Map();
  const rows = [];
  for (const change of changes) {
    const key = [deviceKey(change), change.protocol, change.port ?? change.ports].join(" ");
    const opening = change.kind === "closed" && open.get(key);
    if (opening) {
      Object.assign(opening, { over: change.id, lasted: (Date.parse(change.time) - Date.parse(opening.time)) / 1000 });
      open.delete(key);
      continue;
    }
    const row = { ...change };
    if (change.kind === "opened") open.set(key, row);
    rows.push(row);
  }
  return rows.reverse();
}

/**
 * The rows in groups, in the order of each group's first row.
 * @template Row
 * @param {Row[]} rows
 * @param {(row: Row) => string} key
 * @returns {{key: string, rows: Row[]}[]}
 */
export function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const found = key(row);
    groups.get(found)?.push(row) ?? groups.set(found, [row]);
  }
  return [...groups].map(([key, rows]) => ({ key, rows }));
}

/**
 * The last night that has begun: from six in the evening to nine in the morning, by this browser's clock.
 * @param {number} now
 * @returns {{from: number, to: number}}
 */
export function lastNight(now) {
  const evening = new Date(now);
  if (evening.getHours() < 18) evening.setDate(evening.getDate() - 1);
  evening.setHours(18, 0, 0, 0);
  const morning = new Date(evening);
  morning.setDate(morning.getDate() + 1);
  morning.setHours(9);
  return { from: evening.getTime(), to: morning.getTime() };
}

/**
 * The name of a day: "Today", "Yesterday", else its date.
 * @param {string} date as `day` writes it
 * @param {number} now
 */
export function dayName(date, now) {
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (date === day(now)) return "Today";
  return date === day(yesterday) ? "Yesterday" : date;
}

/**
 * Whether a change differs from the expected state. What was found of a port is an alert, and does not.
 * @param {Row} row
 */
export const isUnexpected = ({ alert, kind }) => alert && kind !== "advice" && kind !== "certificate-expires";

/**
 * The number of changes of each kind (`of`), of the unexpected ones, and of the openings that were closed again.
 * @param {Row[]} rows
 */
export function tally(rows) {
  return {
    of: (kind) => rows.filter((row) => row.kind === kind).length,
    brief: rows.filter((row) => row.over !== undefined).length,
    alerts: rows.filter(isUnexpected).length,
  };
}
