// The devices as the pages show them: /v1/hosts, joined with the differences from the expected state. Pure.

import { stateOf } from "./devicestate.js";
import { addressesOf, directory } from "./directory.js";
import { addressKey, when } from "./format.js";
import { nameOf } from "./identity.js";

/** The age below which something is new, in milliseconds. */
const NEW = 24 * 3600 * 1000;

/**
 * @typedef {object} PortView
 * @property {number} port
 * @property {string} protocol
 * @property {string|null} service
 * @property {{level: string, what: string, why: string, remedy: string}|null} advice of the API
 * @property {string|null} label what it says of itself, else what is known of it
 * @property {string[]} states first `open` or `missing`, then what else applies
 * @property {string} title all of it in words, with the time since when it is open
 */

/**
 * @typedef {object} DeviceView what the filter looks at (see filter.js), and what is shown
 * @property {string} key the MAC or the address that the API knows the device by
 * @property {string} title its name, or a substitute
 * @property {boolean} isNew
 * @property {string} state how much of it is scanned, and whether it is offline
 * @property {any} host as /v1/hosts has it
 * @property {PortView[]} ports
 */

/**
 * @param {any[]} hosts of /v1/hosts
 * @param {any[]} differences of /v1/diff; none without a baseline, when nothing is unexpected
 * @param {number} now in milliseconds
 * @returns {DeviceView[]}
 */
export const devicesOf = (hosts, differences, now) => hosts.map(viewer(hosts, differences, now));

/**
 * Makes the function that makes a device's view, also that of a later version of one of these hosts.
 * @param {any[]} hosts
 * @param {any[]} differences
 * @param {number} now
 * @returns {(host: any) => DeviceView}
 */
export function viewer(hosts, differences, now) {
  const first = hosts.reduce((first, host) => Math.min(first, Date.parse(host.first_seen)), Infinity);
  const differing = byDevice(hosts, differences);
  const services = new Map(hosts.flatMap(({ ports }) => ports.filter(({ evidence }) => !evidence).map(({ port, protocol, service }) => [`${port}/${protocol}`, service])));
  return (host) => deviceOf(host, differing.get(keyOf(host)) ?? [], { first, now, services });
}

function deviceOf(host, differences, { first, now, services }) {
  const seen = Date.parse(host.last_seen);
  const began = Date.parse(host.first_seen);
  const names = host.names.map(({ name }) => name.toLowerCase());
  const vendor = (host.vendor ?? "").toLowerCase();
  const note = (host.note ?? "").toLowerCase();
  const { type = null, tags = [], maker = "", model = "" } = host;
  return {
    key: keyOf(host),
    title: titleOf(host),
    // On the appliance's own first day every device is.
    isNew: now - began < NEW && began - first > NEW / 24,
    state: stateOf(host, now),
    host,
    texts: [...names, vendor, note, type ?? "", ...tags, maker.toLowerCase(), model.toLowerCase()],
    type,
    tags,
    names,
    vendor,
    note,
    mac: (host.mac ?? "").toLowerCase().replaceAll(":", ""),
    addresses: [...new Set([...addressesOf(host), ...host.ipv6])],
    order: addressKey(host.address),
    seen,
    ports: portsOf(host, differences, { began, now, services }),
  };
}

/** @param {any} host */
export const keyOf = (host) => host.mac ?? host.address;

/** @param {any} host */
export const titleOf = (host) => host.name ?? (host.vendor ? `unnamed (${host.vendor})` : "unnamed");

function portsOf(host, differences, { began, now, services }) {
  const ports = new Map();
  for (const { port, protocol, service, since, unconfirmed, advice = null, addresses: at = [], ...found } of host.ports) {
    const key = `${port}/${protocol}`;
    const opened = Date.parse(since);
    const states = ["open"];
    // What was open when the device was first seen is as new as the device.
    if (now - opened < NEW && opened > began && !unconfirmed) states.push("new");
    if (unconfirmed) states.push("unconfirmed");
    ports.set(key, { port, protocol, service: service ?? services.get(key) ?? null, states, since: opened, at, advice, ...identity(found) });
  }
  for (const { port, protocol, expected_state: expected, actual_state: actual } of differences) {
    const key = `${port}/${protocol}`;
    const known = ports.get(key);
    // The API names the service of open ports only; another device may have this one open.
    const extra = (states) => ports.set(key, { port, protocol, service: services.get(key) ?? null, states, since: null });
    if (known) known.states.includes("rogue") || known.states.push("rogue");
    else if (expected === "open") extra(["missing", actual || "never seen"]);
    else if (expected === "") extra([actual, "rogue"]);
  }
  return [...ports.values()].map(withTitle).sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

const identity = ({ product, version, evidence }) => (evidence ? { product, version, evidence } : {});

const WORDS = { rogue: "unexpected", unconfirmed: "unconfirmed until a second look finds it open, too" };

/** Composed once, because each key in the filter draws the chips. */
function withTitle({ since, at = [], advice = null, ...port }) {
  const words = port.states.map((state) => WORDS[state] ?? state).join(", ");
  const told = advice ? `; ${advice.what} (${advice.level})` : "";
  const title = `${port.port}/${port.protocol}: ${words}${since ? `, since ${when(since)}` : ""}${at.length ? `, at ${at.join(", ")}` : ""}${told}`;
  return { ...port, advice, label: nameOf({ ...port, advice }), title };
}

/** A difference names its device by the MAC, or by an address, which means the device that was last seen there. */
function byDevice(hosts, differences) {
  const find = directory(hosts);
  const grouped = new Map(hosts.map((host) => [keyOf(host), []]));
  for (const difference of differences) {
    const host = find(difference.address);
    if (host) grouped.get(keyOf(host)).push(difference);
  }
  return grouped;
}
