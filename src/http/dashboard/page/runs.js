// What the page says about runs. Pure.

import { count, span } from "./format.js";

/**
 * A row of /v1/runs, as far as it matters here.
 * @typedef {object} Run
 * @property {number} id
 * @property {string} kind
 * @property {string} ports the ports asked for, such as `22,80-90`
 * @property {{done: number, total: number}} hosts
 * @property {{ports: {done: number, total: number}, seconds_left: number|null, devices: any[]}|null} progress
 */

const REASONS = {
  run: "scheduled",
  seen: "new devices",
  manual: "on request",
  confirm: "second look",
  import: "import",
};

/** A quick scan covers at most this many ports: those that the appliance ranks as the commonest. */
const COMMON = 1000;

/**
 * Why a run is made.
 * @param {string} kind as the API has it
 */
export const reason = (kind) => REASONS[kind] ?? kind;

/**
 * The seconds that a run took; `null` while it runs.
 * @param {{started: string, finished: string|null}} run
 */
export const took = ({ started, finished }) =>
  finished === null ? null : Math.max(0, Date.parse(finished) - Date.parse(started)) / 1000;

/**
 * What runs now, in one line: of several runs the one that a user waits for. `null` when nothing runs.
 * @param {Run[]} runs
 * @returns {{text: string, ports: {done: number, total: number}}|null}
 */
export function activity(runs) {
  const [run] = active(runs).sort((a, b) => urgency(a) - urgency(b) || portsLeft(b) - portsLeft(a));
  if (!run) return null;
  const { ports, seconds_left: left } = run.progress;
  return { text: `${work(run)}${left === null ? "" : `, ${timeLeft(left)} left`}`, ports };
}

/**
 * The seconds until every device is scanned completely; `null` if that cannot be estimated yet.
 * @param {Run[]} runs
 */
export function secondsToFullScan(runs) {
  const full = active(runs).filter(isFull);
  if (!full.length || full.some(({ progress }) => progress.seconds_left === null)) return null;
  return Math.max(...full.map(({ progress }) => progress.seconds_left));
}

/**
 * Whether a run scans more than the commonest ports.
 * @param {Run} run
 */
export const isFull = ({ kind, ports }) => kind !== "confirm" && portCount(ports) > COMMON;

/** "about 9 min". @param {number} seconds */
export const timeLeft = (seconds) => (seconds < 5 ? "a few seconds" : `about ${span(seconds)}`);

const active = (runs) => runs.filter(({ progress }) => progress);

function urgency(run) {
  if (run.kind === "confirm") return 3;
  if (isFull(run)) return 1;
  return run.kind === "seen" ? 0 : 2;
}

const portsLeft = ({ progress: { ports } }) => ports.total - ports.done;

function work({ kind, ports, hosts: { done, total } }) {
  if (!total) return "Starting a scan";
  const devices = done ? `${done} of ${count(total, "device")}` : count(total, "device");
  if (kind === "confirm") return `Second look: ${devices}`;
  return kind === "seen" && !isFull({ kind, ports }) ? `Quick scan: ${devices}` : `Scanning ${devices}`;
}

function portCount(ports) {
  const ranges = ports.split(",").filter(Boolean).map((range) => range.split("-").map(Number));
  return ranges.reduce((sum, [first, last = first]) => sum + last - first + 1, 0);
}
