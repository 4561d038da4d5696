// What events and the progress of runs add to the devices, so that no event makes the page ask for all of them. Pure.

import { directory } from "./directory.js";

/**
 * An event `port` of /v1/events: the running scan has found a port.
 * @typedef {{mac: string|null, address: string, protocol: string, port: number, scan_id: number}} OpenEvent
 */

/**
 * The devices with a port that was just found open; those that do not change stay the same objects.
 * @template {import("./directory.js").Host} Host
 * @param {Host[]} hosts
 * @param {OpenEvent} event
 * @param {string} time of the event
 * @returns {Host[]|null} `null` if none of them is the event's device
 */
export function withOpenPort(hosts, event, time) {
  const host = directory(hosts)(event.mac ?? event.address);
  if (!host) return null;
  const isSame = ({ port, protocol }) => port === event.port && protocol === event.protocol;
  if (host.ports.some(isSame)) return hosts;
  const { port, protocol, scan_id } = event;
  const found = { port, protocol, scan_id, since: time, unconfirmed: true };
  // Its scan runs, though how far it is comes only with the progress.
  const scanning = host.scanning ?? { done: 0, total: 0 };
  return hosts.map((other) => (other === host ? { ...host, scanning, ports: [...host.ports, found] } : other));
}

/**
 * The devices with how far the runs are with each; those that do not change stay the same objects.
 * @template {import("./directory.js").Host} Host
 * @param {Host[]} hosts
 * @param {import("./runs.js").Run[]} runs
 * @returns {Host[]}
 */
export function withProgress(hosts, runs) {
  const find = directory(hosts);
  const scanning = new Map();
  for (const { address, mac, ports } of runs.flatMap(({ progress }) => progress?.devices ?? [])) {
    scanning.set(find(mac ?? address), ports);
  }
  return hosts.map((host) => {
    const progress = scanning.get(host) ?? null;
    const isSame = progress?.done === host.scanning?.done && progress?.total === host.scanning?.total;
    return isSame ? host : { ...host, scanning: progress };
  });
}
