import assert from "node:assert/strict";
import { test } from "node:test";
import { address, Fault, parse } from "../page/filter.js";
import { complete } from "../page/complete.js";

const NOW = Date.parse("2026-03-01T12:00:00Z");
const port = (port, states = ["open"], service = null, protocol = "tcp") => ({ port, protocol, service, states });

const NAS = {
  texts: ["nas", "synology", "in the cellar"], names: ["nas"], vendor: "synology", note: "in the cellar",
  mac: "001132000001", addresses: ["10.0.0.7", "fd00::7"], seen: NOW - 60_000, type: "nas", tags: ["critical", "floor-2"],
  ports: [port(22, ["open", "new"], "ssh"), port(8080, ["open", "rogue"], "http-alt"), port(53, ["open"], "domain", "udp"),
    port(443, ["missing", "closed"], "https")],
};
const BARE = { texts: ["lamp"], names: ["lamp"], vendor: "", note: "", mac: "", addresses: ["fe80::1%eth0"], seen: NOW - 3 * 864e5, type: null, tags: [], ports: [] };

/** The ports of NAS that a filter selects, and whether it selects the lamp. */
const chosen = (text) => {
  const matches = parse(text, NOW);
  return [NAS.ports.filter((port) => matches(NAS, port)).map(({ port }) => port).join(" "), matches(BARE, null)];
};

const ALL = "22 8080 53 443";

for (const [text, ports, lamp] of [
  ["", ALL, true],
  ["   ", ALL, true],
  ["addr:10.0.0.0/24", ALL, false],
  ["addr:10.0.0.0/24 port:1-1024,8080 state:open -proto:udp", "22 8080", false],
  ["addr:10.0.0.8/32", "", false],
  ["addr:10.0.0.1-6", "", false],
  ["addr:10.0.0.1-7", ALL, false],
  ["addr:10.0.0.1-10.0.1.0", ALL, false],
  ["addr:fd00::/64", ALL, false],
  ["addr:0.0.0.0/0", ALL, false],
  ["addr:fe80::1", "", true],
  ["addr:10.9.9.9,fe80::/10", "", true],
  ["port:22", "22", false],
  ["port:ssh", "22", false],
  ["-port:22", "8080 53 443", true],
  ["tag:critical", ALL, false],
  ["tag:floor", "", false],
  ["-tag:critical", "", true],
  ["type:nas port:22", "22", false],
  ["has:22 port:443", "443", false],
  ["-has:22", "", true],
  ["state:missing", "443", false],
  ["state:closed", "443", false],
  ["state:ROGUE or state:new", "22 8080", false],
  ["port:22 or port:53 -proto:udp", "22", false],
  ["(port:22 or port:53) -proto:udp", "22", false],
  ["-(port:22 or port:53)", "8080 443", true],
  ["--port:22", "22", false],
  ["vendor:SYNO", ALL, false],
  ["name:lamp,nas", ALL, true],
  ['note:"the cellar"', ALL, false],
  ['"the cellar"', ALL, false],
  ["mac:00:11:32", ALL, false],
  ["mac:0011-32", ALL, false],
  ["seen:1d", ALL, false],
  ["-seen:1d", "", true],
  ["nas", ALL, false],
  ["NAS 22", "22", false],
  ["22", "22", false],
  ["10.0.0", ALL, false],
  ["00:11:32:00", ALL, false],
  ["fd00::7", ALL, false],
  ["nas or lamp", ALL, true],
  ["or-chid", "", false],
]) {
  test(`the filter ${JSON.stringify(text)}`, () => assert.deepEqual(chosen(text), [ports, lamp]));
}

for (const [text, at, says] of [
  ["addr:10.0.0", "addr:10.0.0", "no address"],
  ["addr:10.0.0.0/33", "addr:10.0.0.0/33", "no address"],
  ["addr:10.0.0.9-3", "addr:10.0.0.9-3", "no address"],
  ["addr:10.0.0.256", "addr:10.0.0.256", "no address"],
  ["addr:fd00::/129", "addr:fd00::/129", "no address"],
  ["nas port:70000", "port:70000", "65535"],
  ["port:9-3", "port:9-3", "range"],
  ["port:22,", null],
  ["port:", "port:", "For example port:1-1024,8080"],
  ["adr:10.0.0.1", "adr", "there are addr, port"],
  ["constructor:1", "constructor", "unknown"],
  ["state:opne", "state:opne", "none of open"],
  ["proto:icmp", "proto:icmp", "none of tcp"],
  ["mac:xyz", "mac:xyz", "MAC"],
  ["seen:soon", "seen:soon", "30m"],
  ["nas or", "", "missing"],
  ["or nas", "or", "missing"],
  ["nas or or nas", "or", "missing"],
  ["(nas", "(", "not closed"],
  ["nas)", ")", "never opened"],
  ["()", ")", "missing"],
  ["-(", "", "missing"],
]) {
  test(`the fault in ${JSON.stringify(text)}`, () => {
    if (at === null) return void parse(text, NOW);
    assert.throws(() => parse(text, NOW), (fault) => {
      assert.ok(fault instanceof Fault && fault.message.includes(says), fault.message);
      assert.equal(text.slice(fault.start, fault.end), at);
      return true;
    });
  });
}

test("any text is parsed to a filter or a fault", () => {
  const pieces = ["addr:", "port:", "10.0.0.1", "-", "(", ")", '"', ",", " or ", " ", "/", "::", "%", "a".repeat(999), "1-", "\u202e", "<b>"];
  let seed = 1;
  const next = () => (seed = (seed * 48271) % 2147483647);
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: next() % 9 }, () => pieces[next() % pieces.length]).join("");
    try {
      parse(text, NOW)(NAS, NAS.ports[0]);
    } catch (error) {
      assert.ok(error instanceof Fault, `${text}: ${error.stack}`);
      assert.ok(error.start >= 0 && error.start <= error.end && error.end <= text.length, text);
    }
  }
});

test("addresses are parsed", () => {
  assert.equal(address("::").number, 0n);
  assert.equal(address("1::").number, 1n << 112n);
  assert.equal(address("fe80::1%eth0").number, (0xfe80n << 112n) + 1n);
  for (const text of ["", "1:2:3", "1::2::3", "1:2:3:4:5:6:7:8:9", "::12345", "1.2.3", "1.2.3.4.5", "a.b.c.d"]) assert.equal(address(text), null, text);
});

test("terms and values are completed", () => {
  const offered = (text, caret = text.length) => complete(text, caret, [NAS, BARE]).choices.map(({ text }) => text);
  assert.deepEqual(offered("po"), ["port:"]);
  assert.deepEqual(offered("nas -st"), ["state:"]);
  assert.equal(offered("").length, 12);
  assert.deepEqual(offered("tag:"), ["critical", "floor-2"]);
  assert.deepEqual(offered("type:"), ["nas"]);
  assert.deepEqual(offered("state:m"), ["missing", "unconfirmed"]);
  assert.deepEqual(offered("name:"), ["nas", "lamp"]);
  assert.deepEqual(offered("name:nas,l"), ["lamp"]);
  assert.deepEqual(offered("(port:ss"), ["ssh"]);
  assert.deepEqual(offered("port:ssh"), []);
  assert.deepEqual(offered("pr tcp", 2), ["proto:"]);
  const { start, end } = complete("name:nas,l", 10, [NAS, BARE]);
  assert.deepEqual([start, end], [9, 10]);
});
