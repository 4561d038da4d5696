// Numbers and times for people. Pure: `now` is always given, in milliseconds.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * The age of a time: "now", "5 min ago", "3 h ago", "12 d ago"; "in 5 min" for the future.
 * @param {string|number|Date} time
 * @param {number} now
 */
export function ago(time, now) {
  const seconds = (now - new Date(time)) / 1000;
  if (Number.isNaN(seconds)) return "never";
  const text = span(Math.abs(seconds));
  if (Math.abs(seconds) < MINUTE) return "now";
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/**
 * A duration in its largest unit: "40 s", "5 min", "3 h", "12 d".
 * @param {number} seconds
 */
export function span(seconds) {
  if (seconds < MINUTE) return `${Math.round(seconds)} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.floor(seconds / HOUR)} h`;
  return `${Math.floor(seconds / DAY)} d`;
}

/**
 * Day and time by this browser's clock: "2026-03-01 10:05".
 * @param {string|number|Date} time
 */
export function when(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return "never";
  return `${day(date)} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/**
 * The day by this browser's clock: "2026-03-01".
 * @param {string|number|Date} time
 */
export function day(time) {
  const date = new Date(time);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/**
 * The time of a moment of today, "14:05"; of another day with the day.
 * @param {string|number|Date} time
 * @param {number} now
 */
export const clock = (time, now) => (day(time) === day(now) ? when(time).slice(11) : when(time));

/** Two digits. @param {number} number */
export const two = (number) => String(number).padStart(2, "0");

/**
 * A number with its noun: "1 device", "2,500 ports".
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export function count(number, one, many = `${one}s`) {
  return `${figure(number)} ${number === 1 ? one : many}`;
}

/**
 * A whole number in groups of three: "2,500". The first call of `toLocaleString` would be slow.
 * @param {number} number
 */
export const figure = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/**
 * A size in octets: "512 B", "1.5 MB".
 * @param {number} octets
 */
export function bytes(octets) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (octets >= 1000 && unit < units.length - 1) {
    octets /= 1000;
    unit += 1;
  }
  return `${unit === 0 || octets >= 100 ? Math.round(octets) : octets.toFixed(1)} ${units[unit]}`;
}

/**
 * A key that sorts addresses by their numbers: 10.0.0.9 before 10.0.0.10, IPv4 before IPv6.
 * @param {string} address
 */
export function addressKey(address) {
  if (address.includes(":")) return `~${address}`;
  return address.replace(/\d+/g, (number) => number.padStart(3, "0"));
}
