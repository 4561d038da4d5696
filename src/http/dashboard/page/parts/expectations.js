// What is expected, as a table that is searched, and the questions that change it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { key, ports, STATES } from "../expected.js";
import { count } from "../format.js";
import { ask } from "./dialog.js";
import { port } from "./port.js";
import { rows } from "./rows.js";
import { fail } from "./toast.js";
import { deviceLink } from "./devicelink.js";

/** Rows that are shown at once; who looks for another searches. */
const MOST = 200;

/** @typedef {import("../expected.js").Row} Row */

/**
 * @param {object} given
 * @param {Row[]} given.expected
 * @param {string} given.search
 * @param {(text: string) => void} given.onSearch
 * @param {(key: string) => import("../directory.js").Host|null} given.find
 * @param {(row: Row) => void} given.onEdit
 * @param {(row: Row) => void} given.onRemove
 * @returns {any} a template
 */
export function expectations({ expected, search, onSearch, find, onEdit, onRemove }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (row) => `${find(row.address)?.name ?? ""} ${row.address} ${row.port}/${row.protocol} ${row.state} ${row.comment}`;
  const meant = expected.filter((row) => {
    const here = text(row).toLowerCase();
    return words.every((word) => here.includes(word));
  });
  return html`
    <label>Search <input type="search" .value=${search} @input=${({ target }) => onSearch(target.value)}></label>
    <p role="status">${count(meant.length, "port")}${meant.length > MOST ? `, of which the first ${MOST} are shown` : nothing}</p>
    ${meant.length ? rows("What is expected", ["Device", "Port", "State", "Comment", "Change"], meant.slice(0, MOST).map((row) => [
      deviceLink(find(row.address), row.address, row.address),
      port(row, find(row.address)),
      row.state,
      row.comment,
      html`<span class="actions">
        <button aria-label="Edit ${key(row)}" @click=${() => onEdit(row)}>Edit</button>
        <button aria-label="Delete ${key(row)}" @click=${() => onRemove(row)}>Delete</button>
      </span>`,
    ])) : nothing}`;
}

const stateField = (state) => html`<label>State <select name="state">${STATES.map((word) =>
  html`<option ?selected=${word === state}>${word}</option>`)}</select></label>`;

const commentField = (comment) =>
  html`<label>Comment <input name="comment" maxlength="1000" .value=${comment} autocomplete="off"></label>`;

/**
 * Asks what a port should be instead.
 * @param {Row} row
 * @returns {Promise<Row|null>}
 */
export async function edit(row) {
  const content = html`<p class="mono">${row.address} ${row.port}/${row.protocol}</p>
    ${stateField(row.state)}${commentField(row.comment)}`;
  const filled = await ask({ title: "What is expected", content, action: "Save" });
  return filled && { ...row, state: filled.state, comment: filled.comment.trim() };
}

/**
 * Asks for ports that are to be expected.
 * @param {import("../directory.js").Host[]} hosts to choose from
 * @returns {Promise<Row[]|null>}
 */
export async function add(hosts) {
  const filled = await ask({
    title: "Expect something",
    action: "Expect",
    content: html`
      <label>Device, by MAC or address <input name="address" list="devices" required autofocus autocomplete="off"></label>
      <datalist id="devices">${hosts.map((host) =>
        html`<option value=${host.mac ?? host.address}>${host.name ?? host.address}</option>`)}</datalist>
      <label>Ports <input name="ports" placeholder="22, 80, 8000-8100" required autocomplete="off"></label>
      <label>Protocol <select name="protocol">${["tcp", "udp", "sctp", "ip"].map((word) => html`<option>${word}</option>`)}</select></label>
      ${stateField("open")}${commentField("")}`,
  });
  if (!filled) return null;
  const { address, protocol, state, comment } = filled;
  try {
    return ports(filled.ports).map((port) =>
      ({ address: address.trim(), port, protocol, state, comment: comment.trim() }));
  } catch (error) {
    fail(error);
    return null;
  }
}
