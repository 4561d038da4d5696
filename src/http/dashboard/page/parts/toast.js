// A word in the corner, read out by screen readers, gone after a while.

/** How long it stays, in milliseconds; longer if something went wrong. */
const STAYS = 6_000;

/**
 * Says that something is done.
 * @param {string} text
 */
export const say = (text) => show(text, "", STAYS);

/**
 * Says what went wrong.
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
