// Completion of a filter: its terms, and their values among the known devices. Pure.

import { PROTOCOLS, STATES, TERMS } from "./filter.js";

/** The most choices that are offered. */
const MOST = 8;

/**
 * @typedef {object} Completion
 * @property {number} start of what is replaced
 * @property {number} end
 * @property {{text: string, hint: string}[]} choices
 */

/**
 * @param {string} text the filter
 * @param {number} caret the position of the cursor
 * @param {import("./filter.js").Device[]} devices
 * @returns {Completion}
 */
export function complete(text, caret, devices) {
  const word = /(?:[^\s()"]|"[^"]*"?)*$/.exec(text.slice(0, caret))[0].replace(/^-/, "");
  const [, key, values] = /^([a-z]+):(.*)$/is.exec(word) ?? [];
  if (key === undefined) {
    const keys = Object.entries(TERMS).filter(([term]) => term.startsWith(word.toLowerCase()));
    const choices = keys.map(([term, { help, example }]) => ({ text: `${term}:`, hint: `${help}: ${example}` }));
    return { start: caret - word.length, end: caret, choices };
  }
  const last = /(?:[^,"]|"[^"]*"?)*$/.exec(values)[0];
  const typed = last.replaceAll('"', "").toLowerCase();
  const fitting = possible(key.toLowerCase(), devices)
    .filter(({ text }) => text.toLowerCase().includes(typed) && text.toLowerCase() !== typed)
    .slice(0, MOST);
  const choices = fitting.map(({ text, hint }) => ({ text: /[\s,()]/.test(text) ? `"${text.replaceAll('"', "")}"` : text, hint }));
  return { start: caret - last.length, end: caret, choices };
}

function possible(key, devices) {
  const words = (list) => list.map((text) => ({ text, hint: "" }));
  switch (key) {
    case "state": return words(STATES);
    case "proto": return words(PROTOCOLS);
    case "seen": return words(["1h", "1d", "7d"]);
    case "name": return counted(devices.flatMap((device) => device.names));
    case "tag": return counted(devices.flatMap((device) => device.tags));
    case "type": return counted(devices.flatMap(({ type }) => type ?? []));
    case "vendor": return counted(devices.map((device) => device.vendor));
    case "port":
    case "has": return counted(devices.flatMap(({ ports }) => ports.map(({ port, service }) => service ?? String(port))));
    default: return [];
  }
}

/** Each text once, the commonest first, with its count. */
function counted(texts) {
  const counts = new Map();
  for (const text of texts) if (text) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([text, number]) => ({ text, hint: `${number}×` }));
}
