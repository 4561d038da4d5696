// Which device a MAC or an address means. Pure.

/**
 * @typedef {object} Host what is needed of a row of /v1/hosts
 * @property {string|null} mac
 * @property {string} address
 * @property {string|null} name
 * @property {string} last_seen
 * @property {{address: string, present: boolean}[]} [addresses] that it has or had
 * @property {{port: number, protocol: string, service?: string}[]} ports open ones
 */

/** Every address that a device has now, starting with the one that is shown. */
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
  // Of two devices that had an address, it belongs to the one that was last seen there.
  for (const host of [...hosts].sort((a, b) => Date.parse(a.last_seen) - Date.parse(b.last_seen))) {
    if (host.mac) known.set(host.mac, host);
    for (const address of addressesOf(host)) known.set(address, host);
  }
  return (key) => known.get(key) ?? null;
}
