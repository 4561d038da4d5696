// The expected state as a table that can be searched, and the dialogs that change it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { key, ports, STATES } from "../expected.js";
import { count } from "../format.js";
import { ask } from "./dialog.js";
import { port } from "./port.js";
import { rows } from "./rows.js";
import { fail } from "./toast.js";
import { deviceLink } from "./devicelink.js";

/** The most rows that are shown; the search finds the others. */
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
  const found = expected.filter((row) => {
    const here = text(row).toLowerCase();
    return words.every((word) => here.includes(word));
  });
  return html`
    <label>Search <input type="search" .value=${search} @input=${({ target }) => onSearch(target.value)}></label>
    <p role="status">${count(found.length, "port")}${found.length > MOST ? `, of which the first ${MOST} are shown` : nothing}</p>
    ${found.length ? rows("Expected state", ["Device", "Port", "State", "Comment", "Change"], found.slice(0, MOST).map((row) => [
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
 * Asks for the new expected state of a port.
 * @param {Row} row
 * @returns {Promise<Row|null>}
 */
export async function edit(row) {
  const content = html`<p class="mono">${row.address} ${row.port}/${row.protocol}</p>
    ${stateField(row.state)}${commentField(row.comment)}`;
  const filled = await ask({ title: "Expected state", content, action: "Save" });
  return filled && { ...row, state: filled.state, comment: filled.comment.trim() };
}

/**
 * Asks for ports to add to the expected state.
 * @param {import("../directory.js").Host[]} hosts to choose from
 * @returns {Promise<Row[]|null>}
 */
export async function add(hosts) {
  const filled = await ask({
    title: "Add to the expected state",
    action: "Add",
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
