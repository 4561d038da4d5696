// What ports and devices were identified as, in words. Pure.

/** The kinds of device, as the API calls them, with the sign of each. */
export const TYPES = {
  router: "🌐", "access-point": "📶", switch: "🔀", nas: "🗄", printer: "🖨", camera: "📷", television: "📺",
  "media-player": "🎞", speaker: "🔊", console: "🎮", hub: "🏠", light: "💡", power: "🔌", appliance: "🧹",
  "desk-phone": "☎", phone: "📱", tablet: "📱", computer: "💻", server: "🖥", microcontroller: "🎛", controller: "🏭",
  ups: "🔋",
};

/** How something was learned, by the API's names. */
const METHODS = {
  "dns-sd": "announced by the device", upnp: "its UPnP description", greeting: "its greeting", tls: "its TLS handshake",
  "ssh-key": "its SSH host key", http: "its web page",
};

/** The longest name of a service on a chip, in characters. */
const LONGEST = 40;

/** An announcement may be forged by another device. */
const isCertain = ({ method }) => method !== "dns-sd" && method !== "upnp";

/**
 * What a port is called: by its own words, else with how certain that is.
 * @param {{service?: string|null, product?: string, version?: string, evidence?: {method: string}, advice?: {what: string}|null}} port
 * @returns {string|null}
 */
export function nameOf({ service, product, version, evidence, advice }) {
  const words = [product, product && version].filter(Boolean).join(" ") || (evidence && service);
  if (evidence && words && isCertain(evidence)) {
    return words.length > LONGEST ? `${words.slice(0, LONGEST)}…` : words;
  }
  return advice?.what ?? (service ? `usually ${service}` : null);
}

/** What evidence rests on. */
export const methodOf = ({ method }) => METHODS[method] ?? method;

/**
 * The end of a certificate, in words.
 * @param {string} end
 * @param {number} now in milliseconds
 */
export function expiry(end, now) {
  const days = Math.floor((Date.parse(end) - now) / 864e5);
  const date = end.slice(0, 10);
  if (days < 0) return `expired on ${date}`;
  return days < 90 ? `expires on ${date}, in ${days} ${days === 1 ? "day" : "days"}` : `valid until ${date}`;
}
