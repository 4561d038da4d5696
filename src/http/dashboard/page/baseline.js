// When the page offers to accept the present state as the baseline. Pure.

import { isFull, secondsToFullScan, timeLeft } from "./runs.js";

/**
 * @param {import("./devicestate.js").Known[]} hosts
 * @param {import("./runs.js").Run[]} runs
 * @param {boolean} baseline whether there is one
 * @returns {{isReady: boolean, text: string}|null} `null`: there is nothing to offer
 */
export function baselineStep(hosts, runs, baseline) {
  if (baseline || !hosts.length) return null;
  if (isScannedOnce(hosts, runs)) return { isReady: true, text: "The first full scan is through." };
  const left = secondsToFullScan(runs);
  const when = left === null ? "" : `, in ${timeLeft(left)}`;
  return { isReady: false, text: `Available when the first full scan is through${when}.` };
}

/**
 * Whether the first full scan is through. A device that was never scanned counts only while a full scan runs that may
 * reach it: one that is excluded, or that only an import names, would keep the baseline away for ever.
 */
function isScannedOnce(hosts, runs) {
  const isOpen = ({ presence, scanned }) =>
    presence === "online" ? !scanned?.complete : presence === "unknown" && !scanned && runs.some(isFull);
  return hosts.some(({ scanned }) => scanned?.complete) && !hosts.some(isOpen);
}
