// What is said of runs. Pure.

const REASONS = {
  run: "by schedule",
  seen: "devices just seen",
  manual: "asked for",
  confirm: "second looks",
  import: "imported",
};

/**
 * Why a run is made.
 * @param {string} kind as the appliance has it
 */
export const reason = (kind) => REASONS[kind] ?? kind;

/**
 * The seconds that a run took; `null` while it is under way.
 * @param {{started: string, finished: string|null}} run
 */
export const took = ({ started, finished }) =>
  finished === null ? null : Math.max(0, Date.parse(finished) - Date.parse(started)) / 1000;
