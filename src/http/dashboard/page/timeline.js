// A device's history, made from its changes: which port was open when. Pure.

import { day, two } from "./format.js";

const HOUR = 3600 * 1000;
const DAY = 24 * HOUR;

/**
 * @typedef {object} Span
 * @property {number} from in milliseconds
 * @property {number} to
 * @property {boolean} lasts whether it still holds
 *
 * @typedef {object} Track
 * @property {string} label a port, `22/tcp`, or several that changed at once, `1-65535/tcp`
 * @property {number} order
 * @property {Span[]} spans the times when it was open
 *
 * @typedef {object} History
 * @property {Track[]} tracks by port
 * @property {Span[]} absences the times when the device was gone
 */

/**
 * @param {any} host as /v1/hosts has it
 * @param {any[]} changes as /v1/changes has them: the oldest first
 * @param {number} now in milliseconds
 * @returns {History}
 */
export function history(host, changes, now) {
  const first = Date.parse(host.first_seen);
  const last = Date.parse(host.last_seen);
  const tracks = new Map();
  const track = (which, protocol) => {
    const label = `${which}/${protocol}`;
    if (!tracks.has(label)) tracks.set(label, { label, order: parseInt(which, 10), spans: [], since: null });
    return tracks.get(label);
  };
  const absences = [];
  let gone = null;
  for (const { kind, time, port, ports, protocol } of changes) {
    const at = Date.parse(time);
    if (kind === "opened") track(port ?? ports, protocol).since ??= at;
    if (kind === "closed") {
      const closed = track(port ?? ports, protocol);
      // A port that closed without an opening was open when the device was first seen.
      closed.spans.push({ from: closed.since ?? closed.spans.at(-1)?.to ?? Math.min(first, at), to: at, lasts: false });
      closed.since = null;
    }
    if (kind === "gone") gone = at;
    if (kind === "back" && gone !== null) {
      absences.push({ from: gone, to: at, lasts: false });
      gone = null;
    }
  }
  if (gone !== null) absences.push({ from: gone, to: now, lasts: true });
  for (const { port, protocol, since } of host.ports) {
    const open = track(port, protocol);
    open.spans.push({ from: open.since ?? Date.parse(since), to: now, lasts: true });
    open.since = null;
  }
  for (const open of tracks.values()) {
    // Opened, and neither closed nor open now: it closed among many others, or after the device was last seen.
    if (open.since !== null) open.spans.push({ from: open.since, to: Math.max(open.since, last), lasts: false });
  }
  const sorted = [...tracks.values()].sort((a, b) => a.order - b.order || (a.label < b.label ? -1 : 1));
  return { tracks: sorted.map(({ label, order, spans }) => ({ label, order, spans })), absences };
}

/**
 * The tracks within a period: spans are cut to it, and tracks without a span in it are left out.
 * @param {Track[]} tracks
 * @param {number} from
 * @param {number} to
 * @returns {Track[]}
 */
export function within(tracks, from, to) {
  const cut = (span) => ({ ...span, from: Math.max(span.from, from), to: Math.min(span.to, to) });
  return tracks
    .map((track) => ({ ...track, spans: track.spans.filter((span) => span.to >= from && span.from <= to).map(cut) }))
    .filter(({ spans }) => spans.length > 0);
}

/**
 * The marks of the axis, at round times of this browser's clock: at most eight.
 * @param {number} from
 * @param {number} to
 * @returns {{at: number, label: string}[]}
 */
export function ticks(from, to) {
  const step = [HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY]
    .find((step) => (to - from) / step <= 8) ?? (to - from) / 8;
  const start = new Date(from);
  start.setHours(0, 0, 0, 0);
  const marks = [];
  for (let at = start.getTime(); at <= to; at += step) {
    if (at < from) continue;
    const date = new Date(at);
    const label = step < DAY && date.getHours() ? `${two(date.getHours())}:${two(date.getMinutes())}` : day(at).slice(5);
    marks.push({ at, label });
  }
  return marks;
}
