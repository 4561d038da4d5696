// What is known of a device's ports and how far its scan is, in words. Pure.

import { clock, count, figure } from "./format.js";

/** All TCP ports of a device. */
const ALL = 65_535;

/**
 * What a row of /v1/hosts says about its own state.
 * @typedef {object} Known
 * @property {{time: string, ports: number, complete: boolean}|null} scanned
 * @property {{done: number, total: number}|null} scanning
 * @property {"online"|"offline"|"unknown"} presence
 * @property {string} last_seen
 * @property {any[]} ports open ones
 */

/**
 * What to say beside the open ports of a device; empty when it is online and scanned completely, with open ports.
 * @param {Known} host
 * @param {number} now in milliseconds
 */
export function stateOf({ scanned, scanning, presence, last_seen: seen, ports }, now) {
  if (scanning) return scanning.total ? `scanning ${percent(scanning)} %` : "scanning";
  const words = [extentOf(scanned, ports.length)];
  if (presence === "offline") words.push(`offline since ${clock(seen, now)}`);
  return words.filter(Boolean).join(", ");
}

/** How much of the device is scanned. "No open ports" takes a complete scan. */
function extentOf(scanned, open) {
  if (!scanned?.ports && !scanned?.complete) return "not scanned yet";
  if (scanned.complete) return open ? "" : "no open ports";
  return open ? `${figure(scanned.ports)} of ${figure(ALL)} ports` : `none open among ${count(scanned.ports, "port")}`;
}

/** Rounded down: 100 % is for what is finished. */
const percent = ({ done, total }) => Math.floor((100 * done) / total);

/**
 * How many of the devices are scanned, for the top of the page.
 * @param {Known[]} hosts at least one
 */
export function scannedCount(hosts) {
  const devices = count(hosts.length, "device");
  const complete = hosts.filter(({ scanned }) => scanned?.complete).length;
  const partial = hosts.filter(({ scanned }) => scanned && !scanned.complete).length;
  if (complete === hosts.length) return devices;
  if (complete) return `${figure(complete)} of ${devices} scanned`;
  return partial ? `${figure(partial)} of ${devices} had a quick scan` : `${devices}, not scanned yet`;
}
