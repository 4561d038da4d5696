// The order of a table's rows. Pure.

/** @typedef {{by: string, down: boolean}} Sort the key of a column, and whether the greatest value comes first */

/**
 * The sorted rows; equal ones keep their order.
 * @template Row
 * @param {Row[]} rows
 * @param {{key: string, value?: (row: Row) => string|number|null}[]} columns
 * @param {Sort} sort
 */
export function sorted(rows, columns, sort) {
  const value = columns.find((column) => column.key === sort.by)?.value;
  if (!value) return rows;
  const sign = sort.down ? -1 : 1;
  const keyed = rows.map((row) => ({ row, key: value(row) }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
    return sign * (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  });
  return keyed.map(({ row }) => row);
}
