// Changes of the expected state: what a user accepts or edits, and how to undo it.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { get, send } from "./api.js";
import { accepting, pieces, undoing } from "./expected.js";
import { count } from "./format.js";
import { ask } from "./parts/dialog.js";

/** Ports that the question whether to accept them lists. */
const LISTED = 12;

/** @typedef {{text: string, isBack: boolean, write: any[], remove: any[]}} Undo `isBack`: it undid something */

/** What undoes the last change. It outlives a page, because a user may look at a device first. */
let undo = null;

/** @returns {Undo|null} */
export const lastChange = () => undo;

/**
 * Changes the expected state, and remembers how it was.
 * @param {string} text what is done
 * @param {{write?: any[], remove?: any[], isBaseline?: boolean, isBack?: boolean}} what
 */
export async function change(text, { write = [], remove = [], isBaseline = false, isBack = false }) {
  const former = await get("v1/expected");
  const back = undoing(former, [...write, ...remove]);
  // From the first piece on: what was written before a later one failed can be undone, too.
  await put({ write, remove, isBaseline }, () => (undo = { text, isBack, ...back }));
}

/** Undoes the last change, or does it again. */
export async function takeBack() {
  const { text, isBack, write, remove } = undo;
  await change(text, { write, remove, isBack: !isBack });
}

/**
 * Asks whether these differences are to be accepted.
 * @param {import("./expected.js").Difference[]} differences
 * @param {string} of the device or devices
 * @param {any} [hint] a template above the question
 * @returns {Promise<(() => Promise<void>)|null>} what accepts them; `null` if the user cancels
 */
export async function confirmAccepting(differences, of, hint = nothing) {
  const found = accepting(differences, "");
  const what = count(found.length, "port");
  const filled = await ask({
    title: found.length ? `Accept ${what} of ${of}?` : "Accept that nothing is open?",
    action: "Accept",
    content: html`${hint}${found.length ? listed(found) : nothing}
      <label>Comment, why this is all right <input name="comment" maxlength="1000" autocomplete="off"></label>`,
  });
  if (!filled) return null;
  const write = accepting(differences, filled.comment.trim());
  return () => change(`accepted ${what} of ${of}`, { write, isBaseline: true });
}

function listed(found) {
  const devices = new Set(found.map(({ address }) => address)).size;
  if (devices > 1) return html`<p>They are on ${devices} devices.</p>`;
  return html`<ul class="chips">
    ${found.slice(0, LISTED).map((row) => html`<li class="chip"><b>${row.port}</b>/${row.protocol} ${row.state}</li>`)}
    ${found.length > LISTED ? html`<li>and ${found.length - LISTED} more</li>` : nothing}
  </ul>`;
}

/** Sends what is to be written, then what is to be deleted, in pieces that the API takes; calls `sent` after each. */
async function put({ write, remove, isBaseline }, sent) {
  const writes = pieces(write);
  // An empty list makes a baseline, too: from now on nothing is expected to be open.
  if (isBaseline && !writes.length) writes.push([]);
  for (const [method, all] of [["PATCH", writes], ["DELETE", pieces(remove)]]) {
    for (const piece of all) {
      await send(method, "v1/expected", piece);
      sent();
    }
  }
}
