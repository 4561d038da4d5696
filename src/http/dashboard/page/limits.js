// The limits of its machine that the appliance has reached. Pure.

import { bytes, count } from "./format.js";

/** A firewall's connection table counts as full when less than this share of it is free. */
const RESERVE = 1 / 16;

/** Less available memory than this share of the machine's is worth a word. */
const LITTLE = 1 / 10;

const ERRORS = {
  descriptors: "no file descriptor was left; raise LimitNOFILE in the unit",
  ports: "no local port was left to connect from",
  memory: "the kernel had no memory for sockets",
  denied: "this machine's own firewall refused",
  "no-route": "there was no route to the device",
  "self-connect": "it connected to itself, as happens by chance",
  other: "another error, which the log names",
};

/**
 * One sentence for each limit that was reached.
 * @param {object} health the answer of /v1/health
 * @returns {string[]}
 */
export function limitsReached({ limits, probes, memory, local_errors }) {
  const reached = [];
  // A smaller window is a limit only if probes fill it at least half.
  if (limits && probes.window < limits.sockets && probes.in_flight * 2 >= probes.window) {
    reached.push(`Probes use only ${probes.window} of ${limits.sockets} sockets, because this machine cannot keep up with more now.`);
  }
  const table = limits?.conntrack;
  if (table && table.max - table.entries < table.max * RESERVE) {
    reached.push(`The firewall's connection table is full: ${table.entries} of ${table.max}. Scans wait until entries are free.`);
  }
  if (memory && memory.available_bytes < memory.total_bytes * LITTLE) {
    reached.push(`The machine has ${bytes(memory.available_bytes)} of ${bytes(memory.total_bytes)} memory available.`);
  }
  for (const { kind, count: times } of local_errors.filter(({ count }) => count)) {
    reached.push(`${count(times, "connect")} had to be repeated: ${ERRORS[kind] ?? kind}.`);
  }
  return reached;
}
