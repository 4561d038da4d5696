// The devices as the pages show them: what /v1/hosts says, joined with how that differs from what is expected. Pure.

import { addressesOf, directory } from "./directory.js";
import { addressKey, when } from "./format.js";

/** What is younger than this is new, in milliseconds. */
const NEW = 24 * 3600 * 1000;

/**
 * @typedef {object} PortView
 * @property {number} port
 * @property {string} protocol
 * @property {string|null} service
 * @property {string[]} states first `open` or `missing`, then what else is to be said of it
 * @property {string} told all of it in words, with since when it is open
 */

/**
 * @typedef {object} DeviceView what the filter looks at (see filter.js), and what is shown
 * @property {string} key its MAC, or its address: what the API knows it by
 * @property {string} title its name, or what there is in place of one
 * @property {boolean} isNew
 * @property {any} host as /v1/hosts has it
 * @property {PortView[]} ports
 */

/**
 * @param {any[]} hosts of /v1/hosts
 * @param {any[]} differences of /v1/diff; none before anything is expected, for then nothing is alarming
 * @param {number} now in milliseconds
 * @returns {DeviceView[]}
 */
export function devicesOf(hosts, differences, now) {
  const first = hosts.reduce((first, host) => Math.min(first, Date.parse(host.first_seen)), Infinity);
  const differing = byHost(hosts, differences);
  const services = new Map(hosts.flatMap(({ ports }) => ports.map(({ port, protocol, service }) => [`${port}/${protocol}`, service])));
  return hosts.map((host) => deviceOf(host, differing.get(host), { first, now, services }));
}

function deviceOf(host, differences, { first, now, services }) {
  const seen = Date.parse(host.last_seen);
  const began = Date.parse(host.first_seen);
  const names = host.names.map(({ name }) => name.toLowerCase());
  const vendor = (host.vendor ?? "").toLowerCase();
  const note = (host.note ?? "").toLowerCase();
  return {
    key: keyOf(host),
    title: titleOf(host),
    // On the appliance's own first day all are.
    isNew: now - began < NEW && began - first > NEW / 24,
    host,
    texts: [...names, vendor, note],
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
  for (const { port, protocol, service = null, since, addresses: at = [] } of host.ports) {
    const opened = Date.parse(since);
    // What was open when the device was first seen is as new as the device.
    const states = now - opened < NEW && opened > began ? ["open", "new"] : ["open"];
    ports.set(`${port}/${protocol}`, { port, protocol, service, states, since: opened, at });
  }
  for (const { port, protocol, expected_state: expected, actual_state: actual } of differences) {
    const key = `${port}/${protocol}`;
    const known = ports.get(key);
    // What usually listens there is told of open ports; somebody else may have it open.
    const extra = (states) => ports.set(key, { port, protocol, service: services.get(key) ?? null, states, since: null });
    if (known) known.states.includes("rogue") || known.states.push("rogue");
    else if (expected === "open") extra(["missing", actual || "never seen"]);
    else if (expected === "") extra([actual, "rogue"]);
  }
  return [...ports.values()].map(withWords).sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

/** Once, for the filter draws a chip at every key. */
function withWords({ since, at = [], ...port }) {
  const words = port.states.map((state) => (state === "rogue" ? "not expected" : state)).join(", ");
  return { ...port, told: `${port.port}/${port.protocol}: ${words}${since ? ` since ${when(since)}` : ""}${at.length ? `, at ${at.join(", ")}` : ""}` };
}

/** A difference names its device by the address, which whoever was seen there last has, or by the MAC. */
function byHost(hosts, differences) {
  const find = directory(hosts);
  const grouped = new Map(hosts.map((host) => [host, []]));
  for (const difference of differences) grouped.get(find(difference.address))?.push(difference);
  return grouped;
}
