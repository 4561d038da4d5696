// A question that waits for its answer. <dialog> handles the focus and Escape.

import { html, render } from "../vendor/lit-html/lit-html.js";

/**
 * Asks, and returns what was filled in.
 * @param {object} question
 * @param {string} question.title
 * @param {any} [question.content] a template, its fields with a `name`
 * @param {string} [question.action] the label of the button
 * @param {boolean} [question.danger] whether the action cannot be undone
 * @returns {Promise<Record<string, string>|null>} the fields by name; `null` if the user cancels
 */
export function ask({ title, content = "", action = "OK", danger = false }) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "dialog-title");
  render(
    html`<form method="dialog">
      <h2 id="dialog-title">${title}</h2>
      ${content}
      <div class="actions">
        <button type="button" @click=${() => dialog.close()}>Cancel</button>
        <button class=${danger ? "danger" : "primary"} value="yes">${action}</button>
      </div>
    </form>`,
    dialog,
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answered) => {
    dialog.addEventListener("close", () => {
      const fields = Object.fromEntries(new FormData(dialog.querySelector("form")));
      dialog.remove();
      answered(dialog.returnValue === "yes" ? fields : null);
    });
  });
}
