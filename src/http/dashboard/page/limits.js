// Which limits of its machine the appliance has met. Pure.

import { bytes, count } from "./format.js";

/** A firewall's table of connections is as good as full with less than this part of it free. */
const RESERVE = 1 / 16;

/** Less memory than this part of the machine's is little. */
const LITTLE = 1 / 10;

const ERRORS = {
  descriptors: "no file descriptor was left; raise LimitNOFILE in the unit",
  ports: "no local port was left to connect from",
  memory: "the kernel had no memory for sockets",
  denied: "this machine's own firewall refused",
  "no-route": "there was no way to the device",
  "self-connect": "it met itself, as happens by chance",
  other: "for another reason, which the log tells",
};

/**
 * One sentence for each limit that was met.
 * @param {object} health what /v1/health answers
 * @returns {string[]}
 */
export function limitsMet({ limits, probes, memory, local_errors }) {
  const met = [];
  // Held back, and feeling it: one that needs fewer sockets anyway has not met it.
  if (limits && probes.window < limits.sockets && probes.in_flight * 2 >= probes.window) {
    met.push(`Probes keep to ${probes.window} of ${limits.sockets} sockets: more is too much for this machine now.`);
  }
  const table = limits?.conntrack;
  if (table && table.max - table.entries < table.max * RESERVE) {
    met.push(`The firewall's table of connections is full: ${table.entries} of ${table.max}. Scans wait for room.`);
  }
  if (memory && memory.available_bytes < memory.total_bytes * LITTLE) {
    met.push(`The machine has ${bytes(memory.available_bytes)} of ${bytes(memory.total_bytes)} memory left.`);
  }
  for (const { kind, count: times } of local_errors.filter(({ count }) => count)) {
    met.push(`${count(times, "connect")} had to be made again: ${ERRORS[kind] ?? kind}.`);
  }
  return met;
}
