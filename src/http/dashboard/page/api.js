// Requests to the appliance's API, with the token where they change something.

import { html } from "./vendor/lit-html/lit-html.js";
import { ask } from "./parts/dialog.js";

/** The key in the storage of this tab. */
const TOKEN = "portscan-token";

/** An error of the API, with its message. */
export class Refused extends Error {
  /**
   * @param {number} status of HTTP; 0 if there was no answer
   * @param {string} message what is wrong, and how to fix it
   * @param {any} [body] the whole answer
   */
  constructor(status, message, body = null) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/**
 * Reads a resource.
 * @param {string} path relative, such as `v1/hosts`
 * @returns {Promise<any>}
 */
export async function get(path) {
  return content(await request("GET", path));
}

/**
 * Changes a resource. Asks for the token where the API wants one, once a session.
 * @param {"POST"|"PATCH"|"DELETE"} method
 * @param {string} path relative
 * @param {any} [body] sent as JSON
 * @returns {Promise<any>} the answer; `null` if it is empty
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
 * A key as a part of a path.
 * @param {string|number} part
 */
export const part = (part) => encodeURIComponent(part);

async function request(method, path, body) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = {
    ...(body !== undefined && { "Content-Type": "application/json" }),
    // Reading takes no token, so that none is sent.
    ...(token && method !== "GET" && { Authorization: `Bearer ${token}` }),
  };
  try {
    return await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused(0, "The appliance does not answer. Is it switched on, and is this browser on its network?");
  }
}

async function content(answer) {
  const text = await answer.text();
  const body = parsed(text);
  if (!answer.ok) {
    throw new Refused(answer.status, body?.error ?? `The answer was ${answer.status} ${answer.statusText}.`, body);
  }
  return body;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The open dialog: simultaneous requests wait for the same token. */
let asked = null;

/** @param {string|null} refused the token that the API refused */
async function newToken(refused) {
  // Another request may have got one meanwhile.
  if (sessionStorage.getItem(TOKEN) !== refused) return;
  asked ??= ask({
    title: "Token required",
    action: "Continue",
    content: html`
      ${refused ? html`<p class="error" role="alert">That is not the right token.</p>` : ""}
      <p>Changes take the appliance's token, which <code>portscan token</code> prints there. This tab keeps it until
        it is closed.</p>
      <label>Token <input name="token" type="password" autocomplete="off" required autofocus></label>`,
  }).finally(() => (asked = null));
  const filled = await asked;
  if (!filled) throw new Refused(401, "Nothing was changed, because the token is required.");
  sessionStorage.setItem(TOKEN, filled.token.trim());
}
