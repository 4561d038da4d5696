// Differences: where what is differs from what is expected; accepts it, takes that back, and edits what is expected.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { get, send } from "../api.js";
import { grouped } from "../digest.js";
import { directory } from "../directory.js";
import { accepting, key, pieces, undoing } from "../expected.js";
import { count } from "../format.js";
import { ask } from "../parts/dialog.js";
import { add, edit, expectations } from "../parts/expectations.js";
import { port } from "../parts/port.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";
import { fail } from "../parts/toast.js";
import { deviceLink } from "../parts/devicelink.js";

/** With more differences than this, each device shows its own only when it is opened. */
const FEW = 60;

/** Ports named in the question whether to accept them. */
const NAMED = 12;

/** What takes the last change back; it outlives the page, for whoever looks at a device first. */
let undo = null;

/** @type {import("../main.js").Page} */
export default {
  title: "Differences",
  open(place) {
    let known = { differences: [], hosts: [], expected: [], baseline: true };
    let find = directory([]);
    let search = "";
    let busy = false;
    const opened = new Set();

    /** Changes what is expected, and remembers how it was. */
    const change = async (said, { write = [], remove = [], isBaseline = false, isBack = false }) => {
      busy = true;
      place.redraw();
      try {
        const former = await get("v1/expected");
        const back = undoing(former, [...write, ...remove]);
        // From the first piece on: what was written before one failed can be taken back, too.
        await put({ write, remove, isBaseline }, () => (undo = { said, isBack, ...back }));
      } catch (error) {
        fail(error);
      }
      busy = false;
      place.reload();
    };
    const takeBack = async () => {
      const { said, isBack, write, remove } = undo;
      await change(said, { write, remove, isBack: !isBack });
    };
    const accept = async (differences, whom) => {
      const found = accepting(differences, "");
      const filled = await ask({
        title: found.length ? `Accept ${count(found.length, "port")} of ${whom}?` : "Accept that nothing is open?",
        action: "Accept",
        content: question(found),
      });
      if (!filled) return;
      const said = `accepted ${count(found.length, "port")} of ${whom}`;
      await change(said, { write: accepting(differences, filled.comment.trim()), isBaseline: true });
    };
    const does = {
      accept,
      add: async () => {
        const write = await add(known.hosts);
        if (write) await change(`expected ${count(write.length, "port")} of ${write[0].address}`, { write });
      },
      edit: async (row) => {
        const changed = await edit(row);
        if (changed) await change(`changed ${key(row)}`, { write: [changed] });
      },
      remove: ({ address, port, protocol }) =>
        change(`deleted ${address} ${protocol} ${port}`, { remove: [{ address, port, protocol }] }),
    };

    return {
      async load() {
        const paths = ["v1/diff?by=device", "v1/hosts", "v1/expected", "v1/info"];
        const [differences, hosts, expected, { baseline }] = await Promise.all(paths.map(get));
        known = { differences, hosts, expected, baseline };
        find = directory(hosts);
      },
      // How far a scan is changes nothing here, its end may.
      heard: ({ kind, data }) => (kind === "change" || !data.running) && place.reload(),
      view: () => html`<h1>Differences</h1>
        ${undo ? html`<p class="hint" role="status">${undo.isBack ? "Taken back" : "Done"}: ${undo.said}.
          <button ?disabled=${busy} @click=${takeBack}>${undo.isBack ? "Do it again" : "Undo"}</button></p>` : nothing}
        ${summary(known, () => does.accept(known.differences, "all devices"), busy)}
        ${devices(known, find, opened, does, place.redraw)}
        <h2>What is expected</h2>
        <div class="actions"><button ?disabled=${busy} @click=${does.add}>Add…</button></div>
        ${known.expected.length
          ? expectations({
              expected: known.expected,
              search,
              onSearch: (text) => ((search = text), place.redraw()),
              find,
              onEdit: does.edit,
              onRemove: does.remove,
            })
          : html`<p>Nothing yet.</p>`}`,
    };
  },
};

/** Sends what is to be written, then what is to go, in pieces that are taken; tells after each. */
async function put({ write, remove, isBaseline }, tell) {
  const writes = pieces(write);
  // Accepting nothing says something, too: from now on there is a baseline.
  if (isBaseline && !writes.length) writes.push([]);
  for (const [method, all] of [["PATCH", writes], ["DELETE", pieces(remove)]]) {
    for (const piece of all) {
      await send(method, "v1/expected", piece);
      tell();
    }
  }
}

const question = (found) => html`
  ${devicesIn(found) > 1 ? html`<p>They are on ${devicesIn(found)} devices.</p>` : named(found)}
  <label>Comment, why that is all right <input name="comment" maxlength="1000" autocomplete="off"></label>`;

const named = (found) => html`<ul class="chips">
  ${found.slice(0, NAMED).map((row) => html`<li class="chip"><b>${row.port}</b>/${row.protocol} ${row.state}</li>`)}
  ${found.length > NAMED ? html`<li>and ${found.length - NAMED} more</li>` : nothing}
</ul>`;

const devicesIn = (found) => new Set(found.map(({ address }) => address)).size;

function summary({ differences, baseline }, acceptAll, busy) {
  const button = html`<button class="primary" ?disabled=${busy} @click=${acceptAll}>Accept all…</button>`;
  const found = count(differences.length, "port");
  if (!baseline) {
    return html`<div class="hint"><p><b>Nothing was accepted yet.</b> If what is open now is all right, accept it: from
      then on what differs is news, and alarming.</p><p>${found} so far.</p>${button}</div>`;
  }
  if (!differences.length) return html`<p class="hint"><b>✓ Everything is as expected.</b></p>`;
  return html`<div class="actions"><p role="status">${found} not as expected.</p>${button}</div>`;
}

/** Every device with its differences; the devices that are new as a whole come first. */
function devices({ differences, expected, baseline }, find, opened, does, redraw) {
  const of = (address) => find(address)?.mac ?? address;
  const known = new Set(expected.map(({ address }) => of(address)));
  const groups = grouped(differences, ({ address }) => address).map((group) =>
    ({ ...group, isNew: baseline && !known.has(of(group.key)) }));
  groups.sort((a, b) => Number(b.isNew) - Number(a.isNew));
  return groups.map(({ key, rows, isNew }) => {
    const isOpen = differences.length <= FEW || opened.has(key);
    const toggle = ({ target }) => {
      if (target.open === opened.has(key)) return;
      opened[target.open ? "add" : "delete"](key);
      redraw();
    };
    const host = find(key);
    const name = host?.name ?? key;
    const accepted = accepting(rows, "");
    return html`<section class="card device">
      <div class="head"><h2>${deviceLink(host, key)} ${isNew ? html`<span class="chip new">new device</span>` : nothing}</h2>
        ${accepted.length ? html`<button @click=${() => does.accept(rows, name)}>
          Accept ${isNew ? "this device" : count(accepted.length, "port")}…<span class="hidden-text"> of ${name}</span></button>` : nothing}</div>
      ${differences.length <= FEW ? list(rows, host, name, does) : html`<details ?open=${isOpen} @toggle=${toggle}>
        <summary>${count(rows.length, "port")}</summary>${isOpen ? list(rows, host, name, does) : nothing}</details>`}
    </section>`;
  });
}

const list = (differences, host, name, does) => rows(
  `Differences of ${name}`,
  ["Port", "Expected", "Actual", "Seen", "Comment", "Accept"],
  differences.map((row) => [
    port(row, host),
    row.expected_state || html`<span class="muted">nothing</span>`,
    actual(row),
    row.actual_state ? since(row.scan_id) : nothing,
    row.comment,
    row.actual_state
      ? html`<button aria-label="Accept ${row.port}/${row.protocol} of ${name}" @click=${() => does.accept([row], name)}>Accept…</button>`
      : nothing,
  ]),
);

/** What a port is, with a word on how that differs. */
function actual(row) {
  if (!row.actual_state) return html`<span class="muted">never looked at</span>`;
  if (!row.expected_state) return html`<span class="chip rogue">${row.actual_state}, not expected</span>`;
  const missing = row.expected_state === "open";
  return html`<span class="chip ${missing ? "missing" : "warn"}">${row.actual_state}${missing ? ", missing" : nothing}</span>`;
}
