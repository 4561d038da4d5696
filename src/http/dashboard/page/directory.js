// Who is meant by a MAC or an address. Pure.

/**
 * @typedef {object} Host what is needed of a row of /v1/hosts
 * @property {string|null} mac
 * @property {string} address
 * @property {string|null} name
 * @property {string} last_seen
 * @property {{port: number, protocol: string, service?: string}[]} ports open ones
 */

/**
 * Finds devices by MAC, or by the address that they have now.
 * @param {Host[]} hosts
 * @returns {(key: string) => Host|null}
 */
export function directory(hosts) {
  const known = new Map();
  // Two may have had an address: it is whose who was seen there last.
  for (const host of [...hosts].sort((a, b) => Date.parse(a.last_seen) - Date.parse(b.last_seen))) {
    if (host.mac) known.set(host.mac, host);
    known.set(host.address, host);
  }
  return (key) => known.get(key) ?? null;
}
