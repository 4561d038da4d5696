// What is accepted becomes what is expected, and back. Pure.

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
 * A row of /v1/diff?by=device: its `address` is what an expectation is best kept under, which the appliance decides.
 * @typedef {object} Difference
 * @property {string} address
 * @property {number} port
 * @property {string} protocol
 * @property {string} expected_state
 * @property {string} actual_state
 * @property {string} comment
 */

/** The most that is sent at once, in octets: the appliance takes 1 MB. */
const PIECE = 900_000;

/** The most ports that are added by hand at once. */
const MOST = 1000;

export const STATES = ["open", "closed", "filtered", "unfiltered", "open|filtered", "closed|filtered"];

const port = (row) => `${row.protocol} ${row.port}`;

/** What makes two rows the same expectation. */
export const key = (row) => `${row.address} ${port(row)}`;

/**
 * What accepting these writes. Ports that nobody has ever looked at stay as they are expected.
 * @param {Difference[]} differences
 * @param {string} comment if empty, that of before stays
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
 * What takes these changes back.
 *
 * Of a device that is expected to be something under its MAC and under its address, the row that was written last
 * counts. So with one that was replaced all those are written again that came after it, in their order.
 * @param {Row[]} former all that was expected before, in the order in which it was written
 * @param {{address: string, port: number, protocol: string}[]} changed what was written or removed since
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
 * The rows in pieces of which each may be sent; of none, none.
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
 * Ports as people write them: "22, 80, 8000-8100".
 * @param {string} text
 * @returns {number[]}
 * @throws {Error} says what is wrong
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
