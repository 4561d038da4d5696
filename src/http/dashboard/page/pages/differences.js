// Differences: ports that are not in their expected state. Accepts them, undoes that, and edits the expected state.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { change, confirmAccepting, lastChange, takeBack } from "../acceptance.js";
import { get } from "../api.js";
import { grouped } from "../digest.js";
import { directory } from "../directory.js";
import { accepting, key } from "../expected.js";
import { count } from "../format.js";
import { baselinePrompt } from "../parts/baselinestep.js";
import { add, edit, expectations } from "../parts/expectations.js";
import { port } from "../parts/port.js";
import { rows } from "../parts/rows.js";
import { since } from "../parts/time.js";
import { fail } from "../parts/toast.js";
import { deviceLink } from "../parts/devicelink.js";

/** With more differences than this, a device shows its own only when it is opened. */
const FEW = 60;

/** @type {import("../main.js").Page} */
export default {
  title: "Differences",
  open(place) {
    let known = { differences: [], hosts: [], expected: [], runs: [], baseline: true };
    let find = directory([]);
    let search = "";
    let busy = false;
    const opened = new Set();

    /** Makes a change, during which no other can be made. */
    const make = async (changes) => {
      busy = true;
      place.redraw();
      try {
        await changes();
      } catch (error) {
        fail(error);
      }
      busy = false;
      place.reload();
    };
    const does = {
      accept: async (differences, of) => {
        const accept = await confirmAccepting(differences, of);
        if (accept) await make(accept);
      },
      add: async () => {
        const write = await add(known.hosts);
        if (write) await make(() => change(`added ${count(write.length, "port")} of ${write[0].address}`, { write }));
      },
      edit: async (row) => {
        const changed = await edit(row);
        if (changed) await make(() => change(`changed ${key(row)}`, { write: [changed] }));
      },
      remove: ({ address, port, protocol }) =>
        make(() => change(`deleted ${address} ${protocol} ${port}`, { remove: [{ address, port, protocol }] })),
    };

    return {
      async load() {
        const paths = ["v1/diff?by=device", "v1/hosts", "v1/expected", "v1/runs", "v1/info"];
        const [differences, hosts, expected, runs, { baseline }] = await Promise.all(paths.map(get));
        known = { differences, hosts, expected, runs, baseline };
        find = directory(hosts);
      },
      // The progress of a scan changes nothing here, but its end may; without a baseline the time left is shown.
      heard: ({ kind, data }) =>
        (kind === "change" || (kind === "scan" && !(data.running && known.baseline))) && place.reload(),
      view() {
        const undo = lastChange();
        return html`<h1>Differences</h1>
          ${undo ? html`<p class="hint" role="status">${undo.isBack ? "Undone" : "Done"}: ${undo.text}.
            <button ?disabled=${busy} @click=${() => make(takeBack)}>${undo.isBack ? "Redo" : "Undo"}</button></p>` : nothing}
          ${summary(known, () => does.accept(known.differences, "all devices"), busy, place.reload)}
          ${devices(known, find, opened, does, place.redraw)}
          <h2>Expected state</h2>
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
            : html`<p>${known.baseline ? "No port is expected to be open." : "Nothing was accepted yet."}</p>`}`;
      },
    };
  },
};

function summary({ differences, hosts, runs, baseline }, acceptAll, busy, reload) {
  const ports = count(differences.length, "port");
  if (!baseline) {
    return html`${baselinePrompt({ hosts, runs, baseline }, reload)}
      <p role="status">${hosts.length
        ? `Without a baseline there are no differences. ${ports} would be accepted now.`
        : "No devices yet, so there is nothing to compare."}</p>`;
  }
  if (!differences.length) {
    const unknown = hosts.filter(({ scanned }) => !scanned).length;
    return html`<p class="hint"><b>✓ No differences.</b> ${unknown ? `${count(unknown, "device")} not scanned yet.` : nothing}</p>`;
  }
  return html`<div class="actions"><p role="status">${ports} not in the expected state.</p>
    <button class="primary" ?disabled=${busy} @click=${acceptAll}>Accept all…</button></div>`;
}

/** Every device with its differences, starting with the devices that are new altogether. */
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
    const table = () => list({ rows, host, name, baseline }, does);
    return html`<section class="card device">
      <div class="head"><h2>${deviceLink(host, key)} ${isNew ? html`<span class="chip new">new device</span>` : nothing}</h2>
        ${accepted.length ? html`<button @click=${() => does.accept(rows, name)}>
          Accept ${isNew ? "this device" : count(accepted.length, "port")}…<span class="hidden-text"> of ${name}</span></button>` : nothing}</div>
      ${differences.length <= FEW ? table() : html`<details ?open=${isOpen} @toggle=${toggle}>
        <summary>${count(rows.length, "port")}</summary>${isOpen ? table() : nothing}</details>`}
    </section>`;
  });
}

const list = ({ rows: differences, host, name, baseline }, does) => rows(
  `Differences of ${name}`,
  ["Port", "Expected", "Actual", "Seen", "Comment", "Accept"],
  differences.map((row) => [
    port(row, host),
    row.expected_state || html`<span class="muted">${baseline ? "nothing" : "not decided yet"}</span>`,
    actual(row, baseline),
    row.actual_state ? since(row.scan_id) : html`<span class="muted">not yet</span>`,
    row.comment,
    row.actual_state
      ? html`<button aria-label="Accept ${row.port}/${row.protocol} of ${name}" @click=${() => does.accept([row], name)}>Accept…</button>`
      : nothing,
  ]),
);

/** The state of a port, and how that differs. Without a baseline nothing differs. */
function actual(row, baseline) {
  if (!row.actual_state) return html`<span class="muted">not scanned yet</span>`;
  if (!row.expected_state && !baseline) return html`<span class="chip">${row.actual_state}</span>`;
  if (!row.expected_state) return html`<span class="chip rogue">${row.actual_state}, unexpected</span>`;
  const missing = row.expected_state === "open";
  return html`<span class="chip ${missing ? "missing" : "warn"}">${row.actual_state}${missing ? ", missing" : nothing}</span>`;
}
