// A table with rows that keep their order; on a phone a list of cards.

import { html } from "../vendor/lit-html/lit-html.js";

/**
 * @param {string} caption for screen readers
 * @param {string[]} titles the cells of the first column name their rows
 * @param {any[][]} rows texts or templates
 * @returns {any} a template
 */
export const rows = (caption, titles, rows) => html`<table role="table" class="cards plain">
  <caption>${caption}</caption>
  <thead role="rowgroup"><tr role="row">${titles.map((title) =>
    html`<th role="columnheader" scope="col">${title}</th>`)}</tr></thead>
  <tbody role="rowgroup">${rows.map((cells) => html`<tr role="row">${cells.map((cell, at) =>
    html`<td role=${at ? "cell" : "rowheader"} data-label=${titles[at]}>${cell}</td>`)}</tr>`)}</tbody>
</table>`;
