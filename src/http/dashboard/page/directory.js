// Who is meant by a MAC or an address. Pure.

/**
 * @typedef {object} Host what is needed of a row of /v1/hosts
 * @property {string|null} mac
 * @property {string} address
 * @property {string|null} name
 * @property {string} last_seen
 * @property {{address: string, present: boolean}[]} [addresses] that it has or had
 * @property {{port: number, protocol: string, service?: string}[]} ports open ones
 */

/** Every address that a device has now, the one that it is shown at first. */
export function addressesOf({ address, addresses = [] }) {
  const others = addresses.filter((known) => known.present && known.address !== address);
  return [address, ...others.map((known) => known.address)];
}

/**
 * Finds devices by MAC, or by an address that they have now.
 * @param {Host[]} hosts
 * @returns {(key: string) => Host|null}
 */
export function directory(hosts) {
  const known = new Map();
  // Two may have had an address: it is whose who was seen there last.
  for (const host of [...hosts].sort((a, b) => Date.parse(a.last_seen) - Date.parse(b.last_seen))) {
    if (host.mac) known.set(host.mac, host);
    for (const address of addressesOf(host)) known.set(address, host);
  }
  return (key) => known.get(key) ?? null;
}
