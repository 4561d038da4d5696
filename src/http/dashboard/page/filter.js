// The language of the filter: `addr:10.0.0.0/24 port:1-1024,8080 -proto:udp or name:nas`. Pure.
//
// It selects ports, as portmantool's does: all terms of one side of an `or` must hold for the same port. A term about
// the device holds for all its ports, and for a device without any. TERMS lists the terms, also for the help and the
// completion.

import { TYPES } from "./identity.js";

/**
 * @typedef {object} Port
 * @property {number} port
 * @property {string} protocol
 * @property {string|null} service
 * @property {string[]} states
 *
 * @typedef {object} Device
 * @property {string[]} texts that a bare word is searched in, in lower case: names, vendor, note
 * @property {string[]} names in lower case
 * @property {string} vendor in lower case
 * @property {string} note in lower case
 * @property {string|null} type
 * @property {string[]} tags
 * @property {string} mac twelve digits in lower case; empty if unknown
 * @property {string[]} addresses
 * @property {number} seen in milliseconds
 * @property {Port[]} ports
 */

/** @typedef {(device: Device, port: Port|null) => boolean} Test */

export const PROTOCOLS = ["tcp", "udp", "sctp", "ip"];
export const STATES = ["open", "rogue", "missing", "new", "unconfirmed", "closed", "filtered"];

/**
 * The terms: their help, an example of a value, and the test for a value.
 * @type {Record<string, {help: string, example: string, test: (value: string, now: number) => Test}>}
 */
export const TERMS = {
  addr: {
    help: "address, network or range",
    example: "10.0.0.0/24",
    test: (value) => {
      const { low, high } = range(value);
      return (device) => device.addresses.some((text) => within(address(text), low, high));
    },
  },
  port: {
    help: "number, range or service",
    example: "1-1024,8080",
    test: (value) => {
      const is = portTest(value);
      return (_, port) => port !== null && is(port);
    },
  },
  has: {
    help: "any such port on the device; -has: none",
    example: "22",
    test: (value) => {
      const is = portTest(value);
      return (device) => device.ports.some(is);
    },
  },
  state: {
    help: STATES.join(", "),
    example: "rogue",
    test: (value) => {
      const word = oneOf(value, [...STATES, "unfiltered", "open|filtered", "closed|filtered"]);
      return (_, port) => port !== null && port.states.includes(word);
    },
  },
  proto: {
    help: PROTOCOLS.join(", "),
    example: "udp",
    test: (value) => {
      const word = oneOf(value, PROTOCOLS);
      return (_, port) => port?.protocol === word;
    },
  },
  name: { help: "part of a name", example: "nas", test: part((device) => device.names) },
  vendor: { help: "part of the maker's name", example: "raspberry", test: part((device) => [device.vendor]) },
  note: { help: "part of your note", example: "guest", test: part((device) => [device.note]) },
  tag: {
    help: "one of your tags",
    example: "critical",
    test: (value) => (device) => device.tags.includes(value.toLowerCase()),
  },
  type: {
    help: "kind of device",
    example: "printer",
    test: (value) => {
      const word = oneOf(value, Object.keys(TYPES));
      return (device) => device.type === word;
    },
  },
  mac: {
    help: "MAC, or its beginning",
    example: "b8:27:eb",
    test: (value) => {
      const digits = value.toLowerCase().replace(/[:.-]/g, "");
      if (!/^[0-9a-f]{1,12}$/.test(digits)) throw new Error("this does not begin a MAC; write it as b8:27:eb");
      return (device) => device.mac.startsWith(digits);
    },
  },
  seen: {
    help: "within the last; -seen: longer ago",
    example: "1d",
    test: (value, now) => {
      const [, number, unit] = /^(\d{1,6})([smhd])$/.exec(value) ?? [];
      if (!unit) throw new Error("write a number and one of s, m, h, d: 30m, 1d");
      const since = now - number * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[unit];
      return (device) => device.seen >= since;
    },
  },
};

/** A fault in a filter, and its place. */
export class Fault extends Error {
  /**
   * @param {string} message
   * @param {number} start of the faulty text
   * @param {number} end
   */
  constructor(message, start, end) {
    super(message);
    this.start = start;
    this.end = end;
  }
}

/**
 * @param {string} text
 * @param {number} now in milliseconds, for `seen:`
 * @returns {Test} whether a port of a device is selected; for a device without ports, called once, with `null`
 * @throws {Fault}
 */
export function parse(text, now) {
  const tokens = [...scan(text)];
  let at = 0;
  const end = { kind: "end", start: text.length, end: text.length };
  const peek = () => tokens[at] ?? end;

  function either() {
    const sides = [every()];
    while (peek().kind === "or") {
      at += 1;
      sides.push(every());
    }
    return sides.length === 1 ? sides[0] : (device, port) => sides.some((side) => side(device, port));
  }

  function every() {
    const first = peek();
    const terms = [];
    while (["not", "open", "term"].includes(peek().kind)) terms.push(one());
    if (terms.length === 0) throw new Fault("a term is missing here", first.start, first.end);
    return terms.length === 1 ? terms[0] : (device, port) => terms.every((term) => term(device, port));
  }

  function one() {
    const token = peek();
    at += 1;
    if (token.kind === "term") return term(token, now);
    if (token.kind === "not") {
      if (!["not", "open", "term"].includes(peek().kind)) {
        throw new Fault("a minus must be followed by a term, without a space", token.start, token.end);
      }
      const not = one();
      return (device, port) => !not(device, port);
    }
    const inner = either();
    if (peek().kind !== "close") throw new Fault("this parenthesis is not closed", token.start, token.end);
    at += 1;
    return inner;
  }

  if (tokens.length === 0) return () => true;
  const test = either();
  if (at < tokens.length) throw new Fault("this parenthesis was never opened", peek().start, peek().end);
  return test;
}

/** Cuts a filter into its tokens. */
function* scan(text) {
  const piece = /\s+|[()]|-(?=\S)|(?:[^\s()"]|"[^"]*"?)+/g;
  for (const { 0: raw, index: start } of text.matchAll(piece)) {
    const end = start + raw.length;
    if (!raw.trim()) continue;
    if (raw === "(") yield { kind: "open", start, end };
    else if (raw === ")") yield { kind: "close", start, end };
    else if (raw === "-") yield { kind: "not", start, end };
    else if (raw.toLowerCase() === "or") yield { kind: "or", start, end };
    else yield { kind: "term", raw, start, end };
  }
}

/** The test of a term: any of its values, which commas separate. */
function term({ raw, start, end }, now) {
  const [, key, rest] = /^([a-z]+):(.*)$/is.exec(raw) ?? [];
  if (key === undefined || looksLikeAddress(raw)) return bare(unquoted(raw).toLowerCase());
  const known = Object.hasOwn(TERMS, key.toLowerCase()) && TERMS[key.toLowerCase()];
  if (!known) {
    throw new Fault(`"${key}:" is unknown; there are ${Object.keys(TERMS).join(", ")}`, start, start + key.length);
  }
  const values = (rest.match(/(?:[^,"]|"[^"]*"?)+/g) ?? []).map(unquoted).filter(Boolean);
  if (values.length === 0) {
    throw new Fault(`"${key}:" takes a value. For example ${key}:${known.example}`, start, end);
  }
  try {
    const tests = values.map((value) => known.test(value, now));
    return tests.length === 1 ? tests[0] : (device, port) => tests.some((test) => test(device, port));
  } catch (error) {
    throw new Fault(error.message, start, end);
  }
}

const unquoted = (text) => text.replaceAll('"', "");
/** An IPv6 address or a MAC has colons of its own. */
const looksLikeAddress = (text) => /^[0-9a-f]{1,4}:[0-9a-f:.]*$/i.test(text) && (text.match(/:/g).length > 1);

/** The test of a word without a term: a text or an address of the device, or the port. */
function bare(word) {
  const digits = word.replace(/[:-]/g, "");
  return (device, port) =>
    device.texts.some((text) => text.includes(word)) ||
    device.addresses.some((text) => text.startsWith(word)) ||
    (digits.length > 3 && device.mac.includes(digits)) ||
    (port !== null && (String(port.port) === word || (port.service?.startsWith(word) ?? false)));
}

function part(texts) {
  return (value) => {
    const wanted = value.toLowerCase();
    return (device) => texts(device).some((text) => text.includes(wanted));
  };
}

function portTest(value) {
  if (!/^\d/.test(value)) {
    const word = value.toLowerCase();
    return ({ service }) => service === word;
  }
  const [, low, high = low] = /^(\d+)(?:-(\d+))?$/.exec(value) ?? [];
  if (low === undefined || Number(high) > 65535 || Number(low) > Number(high)) {
    throw new Error("write a port from 0 to 65535, a range as 1-1024, or a service");
  }
  return ({ port }) => port >= Number(low) && port <= Number(high);
}

function oneOf(value, words) {
  const word = value.toLowerCase();
  if (!words.includes(word)) throw new Error(`"${value}" is none of ${words.join(", ")}`);
  return word;
}

/** An address, a network (CIDR), a range of two addresses, or of the last octet as 10.0.0.1-20. */
function range(value) {
  const [first, last] = value.includes("%") ? [value] : value.split("-");
  const [base, length] = first.split("/");
  const low = address(base);
  const no = () => new Error(`"${value}" is no address; write 10.0.0.1, 10.0.0.0/24, 10.0.0.1-20 or fd00::/64`);
  if (!low || (length !== undefined && last !== undefined)) throw no();
  if (length !== undefined) {
    if (!/^\d{1,3}$/.test(length) || Number(length) > low.bits) throw no();
    const mask = (1n << BigInt(low.bits - Number(length))) - 1n;
    return { low: { ...low, number: low.number & ~mask }, high: { ...low, number: low.number | mask } };
  }
  if (last === undefined) return { low, high: low };
  const high = /^\d{1,3}$/.test(last) ? address(base.replace(/\d+$/, last)) : address(last);
  if (!high || high.bits !== low.bits || high.number < low.number) throw no();
  return { low, high };
}

function within(address, low, high) {
  return address !== null && address.bits === low.bits && address.number >= low.number && address.number <= high.number;
}

/** Parsed addresses, because every key in the filter tests all of them. */
const read = new Map();

/**
 * @param {string} text
 * @returns {{bits: number, number: bigint}|null} without the interface that may follow a %
 */
export function address(text) {
  if (!read.has(text)) {
    // What is typed is parsed here, too.
    if (read.size > 100_000) read.clear();
    const plain = text.split("%")[0];
    read.set(text, plain.includes(":") ? ipv6(plain) : ipv4(plain));
  }
  return read.get(text);
}

function ipv4(text) {
  const octets = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  if (!octets || octets.some((octet) => octet > 255)) return null;
  return { bits: 32, number: octets.reduce((number, octet) => number * 256n + BigInt(octet), 0n) };
}

function ipv6(text) {
  const [head, tail, more] = text.split("::");
  const groups = (side) => (side ? side.split(":") : []);
  const [before, after] = [groups(head), groups(tail)];
  const zeros = 8 - before.length - after.length;
  if (more !== undefined || (tail === undefined ? zeros !== 0 : zeros < 1)) return null;
  const all = [...before, ...Array(zeros).fill("0"), ...after];
  if (!all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return null;
  return { bits: 128, number: all.reduce((number, group) => (number << 16n) + BigInt(`0x${group}`), 0n) };
}
