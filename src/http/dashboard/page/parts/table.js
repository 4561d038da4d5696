// A table that sorts by its headings, and on a phone is a list of cards.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { figure } from "../format.js";
import { sorted } from "../sort.js";

/** The most rows that are drawn: more would keep a phone busy for seconds, and nobody reads them. */
const MOST = 1000;

/**
 * @template Row
 * @typedef {object} Column
 * @property {string} key identifies it in the sort, and is a class of its cells
 * @property {string} title
 * @property {(row: Row) => any} cell a text or a template
 * @property {(row: Row) => string|number|null} [value] what it sorts by; without it, the column does not sort. `null` comes last.
 */

/**
 * @template Row
 * @param {object} table
 * @param {string} table.caption for screen readers
 * @param {Column<Row>[]} table.columns the first one names its row
 * @param {Row[]} table.rows
 * @param {(row: Row) => string|number} table.id identifies a row
 * @param {import("../sort.js").Sort} table.sort
 * @param {(sort: import("../sort.js").Sort) => void} table.onSort
 * @param {(row: Row) => boolean} [table.shown] hides the others, which is faster than to leave them out
 * @param {(row: Row) => any[]} [table.depends] all values that the cells of a row are made of, where drawing them only
 *   when one of these changes is worth it
 * @param {string} [table.kind] a class, for the widths of the columns
 * @returns {any} a template
 */
export function table({ caption, columns, rows, id, sort, onSort, shown = () => true, depends, kind = "" }) {
  const cells = (row) => columns.map((column, at) => html`<td role=${at ? "cell" : "rowheader"} class=${column.key}
    data-label=${column.title}>${column.cell(row)}</td>`);
  const drawn = depends ? (row) => guard(depends(row), () => cells(row)) : cells;
  const ordered = sorted(rows, columns, sort);
  const few = ordered.length > MOST ? ordered.filter(shown) : ordered;
  // The roles are those of the elements, which they lose when a style turns them into cards.
  return html`<table role="table" class="cards ${kind}">
    <caption>${caption}</caption>
    <thead role="rowgroup"><tr role="row">${columns.map((column) => heading(column, sort, onSort))}</tr></thead>
    <tbody role="rowgroup">${repeat(few.slice(0, MOST), id, (row) => html`<tr role="row" ?hidden=${!shown(row)}>${drawn(row)}</tr>`)}</tbody>
  </table>
  ${few.length > MOST ? html`<p class="muted">and ${figure(few.length - MOST)} more</p>` : nothing}`;
}

function heading(column, sort, onSort) {
  if (!column.value) return html`<th role="columnheader" scope="col" class=${column.key}>${column.title}</th>`;
  const here = sort.by === column.key;
  const direction = here ? (sort.down ? "descending" : "ascending") : nothing;
  const next = () => onSort({ by: column.key, down: here && !sort.down });
  return html`<th role="columnheader" scope="col" class=${column.key} aria-sort=${direction}>
    <button class="sort" @click=${next}>${column.title}</button>
  </th>`;
}
