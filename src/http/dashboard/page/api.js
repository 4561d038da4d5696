// The appliance's API: JSON in, JSON out, and the token for what changes something.

import { html } from "./vendor/lit-html/lit-html.js";
import { ask } from "./parts/dialog.js";

/** Where the token stays until this tab is closed. */
const TOKEN = "portscan-token";

/** A "no" of the appliance's, in its own words. */
export class Refused extends Error {
  /**
   * @param {number} status HTTP's; 0 if there was no answer at all
   * @param {string} message what is wrong, and how to mend it
   * @param {any} [said] the whole answer
   */
  constructor(status, message, said = null) {
    super(message);
    this.status = status;
    this.said = said;
  }
}

/**
 * Reads something.
 * @param {string} path relative, such as `v1/hosts`
 * @returns {Promise<any>}
 */
export async function get(path) {
  return content(await request("GET", path));
}

/**
 * Changes something. Whoever has to show the token is asked for it, once a session.
 * @param {"POST"|"PATCH"|"DELETE"} method
 * @param {string} path relative
 * @param {any} [body] sent as JSON
 * @returns {Promise<any>} what is answered; `null` if that is nothing
 */
export async function send(method, path, body) {
  let answer = await request(method, path, body);
  while (answer.status === 401) {
    await newToken(sessionStorage.getItem(TOKEN));
    answer = await request(method, path, body);
  }
  return content(answer);
}

/**
 * What stands in a path for a device, a scan or the like.
 * @param {string|number} part
 */
export const part = (part) => encodeURIComponent(part);

async function request(method, path, body) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = {
    ...(body !== undefined && { "Content-Type": "application/json" }),
    // Reads are everybody's: the token stays at home.
    ...(token && method !== "GET" && { Authorization: `Bearer ${token}` }),
  };
  try {
    return await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused(0, "The appliance does not answer. Is it on, and are you on its network?");
  }
}

async function content(answer) {
  const text = await answer.text();
  const said = parsed(text);
  if (!answer.ok) {
    throw new Refused(answer.status, said?.error ?? `The answer was ${answer.status} ${answer.statusText}.`, said);
  }
  return said;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The dialog that is open: requests at the same time wait for one token. */
let asked = null;

/** @param {string|null} refused the token that did not do */
async function newToken(refused) {
  // Another request may have got one meanwhile.
  if (sessionStorage.getItem(TOKEN) !== refused) return;
  asked ??= ask({
    title: "This changes something",
    action: "Go on",
    content: html`
      ${refused ? html`<p class="error" role="alert">That token is not the right one.</p>` : ""}
      <p>The appliance wants its token, which <code>portscan token</code> prints there. It is kept in this tab
        until that is closed.</p>
      <label>Token <input name="token" type="password" autocomplete="off" required autofocus></label>`,
  }).finally(() => (asked = null));
  const filled = await asked;
  if (!filled) throw new Refused(401, "Nothing was changed: that takes the token.");
  sessionStorage.setItem(TOKEN, filled.token.trim());
}
