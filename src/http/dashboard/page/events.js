// What happens, as it happens: one stream of /v1/events for all tabs of a browser.
//
// A browser opens six connections to a server, and the appliance has places for 32 listeners. So a shared worker
// listens for all tabs. Not Web Locks with a leader among the tabs: they need HTTPS, which an appliance on a LAN
// seldom has. Where there are no shared workers (Chrome on Android) each tab listens for itself.

/**
 * @typedef {object} Told
 * @property {"change"|"scan"|"live"|"again"} kind `change` and `scan`: as /v1/events has them. `live`: whether the
 *   stream stands. `again`: something may have been missed; ask anew.
 * @property {any} [data] the event's JSON; of `live`, true or false
 */

/** How long a stream that was refused waits, in milliseconds. One that merely broke comes back by itself. */
const RETRY = 10_000;

/**
 * Listens until the page is gone.
 * @param {(told: Told) => void} hear
 */
export function listen(hear) {
  const alone = () => stream(new URL("v1/events", document.baseURI), hear);
  if (!globalThis.SharedWorker) return void alone();
  const worker = new SharedWorker(new URL("events-worker.js", import.meta.url), { type: "module" });
  worker.onerror = alone;
  worker.port.onmessage = ({ data }) => hear(data);
  addEventListener("pagehide", () => worker.port.postMessage("bye"));
  // Back from the browser's memory, where no message arrives.
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) {
      worker.port.postMessage("hello");
      hear({ kind: "again" });
    }
  });
}

/**
 * The stream itself. The browser reconnects, and by Last-Event-ID is told what it has missed; unless there was no event
 * yet, or the stream is a new one.
 * @param {URL} url
 * @param {(told: Told) => void} tell
 * @param {boolean} [again] whether it is a new one
 */
export function stream(url, tell, again = false) {
  const source = new EventSource(url);
  for (const kind of ["change", "scan"]) {
    source.addEventListener(kind, ({ data }) => tell({ kind, data: JSON.parse(data) }));
  }
  source.onopen = () => {
    tell({ kind: "live", data: true });
    if (again) tell({ kind: "again" });
    again = true;
  };
  source.onerror = () => {
    tell({ kind: "live", data: false });
    if (source.readyState === EventSource.CLOSED) setTimeout(() => stream(url, tell, true), RETRY);
  };
}
