// A message in the corner: read out, never in a click's way, gone after a while.

/** In milliseconds; an error stays longer. */
const STAYS = 6_000;

/**
 * Confirms an action.
 * @param {string} text
 */
export const say = (text) => show(text, "", STAYS);

/**
 * Shows an error.
 * @param {Error} error
 */
export const fail = (error) => show(error.message, "error", 3 * STAYS);

function show(text, kind, stays) {
  const toast = document.createElement("p");
  toast.textContent = text;
  toast.className = kind;
  document.getElementById("toasts").append(toast);
  setTimeout(() => toast.remove(), stays);
}
