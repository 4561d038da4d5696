// The rows of the expected state that accepting writes, and that undoing it writes back. Pure.

/**
 * A row of /v1/expected.
 * @typedef {object} Row
 * @property {string} address a MAC or an address
 * @property {number} port
 * @property {string} protocol
 * @property {string} state
 * @property {string} comment
 */

/**
 * A row of /v1/diff?by=device. The API chooses the `address` under which an expectation is best kept.
 * @typedef {object} Difference
 * @property {string} address
 * @property {number} port
 * @property {string} protocol
 * @property {string} expected_state
 * @property {string} actual_state
 * @property {string} comment
 */

/** The largest request, in octets: the API takes 1 MB. */
const PIECE = 900_000;

/** The most ports that can be added at once. */
const MOST = 1000;

export const STATES = ["open", "closed", "filtered", "unfiltered", "open|filtered", "closed|filtered"];

const port = (row) => `${row.protocol} ${row.port}`;

/** What makes two rows the same expectation. */
export const key = (row) => `${row.address} ${port(row)}`;

/**
 * The rows that accept these differences. Ports without a result keep their expected state.
 * @param {Difference[]} differences
 * @param {string} comment if empty, the former comment stays
 * @returns {Row[]}
 */
export function accepting(differences, comment) {
  return differences
    .filter((row) => row.actual_state)
    .map((row) => ({
      address: row.address,
      port: row.port,
      protocol: row.protocol,
      state: row.actual_state,
      comment: comment || row.comment,
    }));
}

/**
 * The changes that undo others.
 *
 * Where both the MAC and the address of a device have a row for a port, the row that was written last holds. So all
 * rows of that port that followed a replaced one are written again, in their order.
 * @param {Row[]} former the whole expected state before, in the order in which it was written
 * @param {{address: string, port: number, protocol: string}[]} changed rows that were written or removed since
 * @returns {{write: Row[], remove: Row[]}}
 */
export function undoing(former, changed) {
  const known = new Set(former.map(key));
  const keys = new Set(changed.map(key));
  const begun = new Set();
  const write = former.filter((row) => {
    if (keys.has(key(row))) begun.add(port(row));
    return begun.has(port(row));
  });
  const remove = changed
    .filter((row) => !known.has(key(row)))
    .map(({ address, port, protocol }) => ({ address, port, protocol }));
  return { write, remove };
}

/**
 * The rows in pieces that the API takes; no piece for no rows.
 * @template Row
 * @param {Row[]} rows
 * @param {number} [most] octets
 * @returns {Row[][]}
 */
export function pieces(rows, most = PIECE) {
  const encoder = new TextEncoder();
  const found = [];
  let left = 0;
  for (const row of rows) {
    const size = encoder.encode(JSON.stringify(row)).length + 1;
    if (size > left) {
      found.push([]);
      left = most;
    }
    found.at(-1).push(row);
    left -= size;
  }
  return found;
}

/**
 * Parses ports such as "22, 80, 8000-8100".
 * @param {string} text
 * @returns {number[]}
 * @throws {Error} with what is wrong
 */
export function ports(text) {
  const found = new Set();
  for (const part of text.split(",").map((part) => part.trim()).filter(Boolean)) {
    const [, first, last = first] = /^(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/.exec(part) ?? [];
    if (first === undefined) throw new Error(`“${part}” is no port; write 22, 80, 8000-8100`);
    if (Number(last) > 65_535) throw new Error(`${last} is no port: the greatest is 65535`);
    if (Number(first) > Number(last)) throw new Error(`${part} is the wrong way round`);
    for (let port = Number(first); port <= Number(last); port += 1) found.add(port);
    if (found.size > MOST) throw new Error(`more than ${MOST} ports at once; use portscan expected set`);
  }
  if (!found.size) throw new Error("no port is named; write 22, 80, 8000-8100");
  return [...found].sort((a, b) => a - b);
}
