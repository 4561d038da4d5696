// Now: the devices and what is open on them.

import { html } from "../vendor/lit-html/lit-html.js";
import { get } from "../api.js";
import { addressKey, count } from "../format.js";
import { table } from "../parts/table.js";
import { since } from "../parts/time.js";

/** @type {import("../parts/table.js").Column<any>[]} */
const COLUMNS = [
  { key: "name", title: "Name", cell: (host) => host.name ?? "", value: (host) => host.name?.toLowerCase() ?? null },
  { key: "address", title: "Address", cell: (host) => host.address, value: (host) => addressKey(host.address) },
  { key: "ports", title: "Open ports", cell: (host) => host.ports.map(({ port }) => port).join(" "), value: (host) => host.ports.length },
  { key: "seen", title: "Last seen", cell: (host) => since(host.last_seen), value: (host) => host.last_seen },
];

/** @type {import("../main.js").Page} */
export default {
  title: "Now",
  open(place) {
    let hosts = [];
    let sort = { by: "address", down: false };
    return {
      async load() {
        hosts = await get("v1/hosts");
      },
      heard: ({ kind }) => kind === "change" && place.reload(),
      view: () => html`<h1>Now</h1>
        <p>${count(hosts.length, "device")}</p>
        ${table({
          caption: "Devices",
          columns: COLUMNS,
          rows: hosts,
          id: (host) => host.mac ?? host.address,
          sort,
          onSort: (wanted) => {
            sort = wanted;
            place.redraw();
          },
        })}`,
    };
  },
};
