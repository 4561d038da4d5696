// The appliance's events: one stream of /v1/events for all tabs of a browser.
//
// A browser opens six connections to a server, and the appliance admits 32 listeners. So a shared worker listens for
// all tabs. Web Locks with a leader among the tabs would need HTTPS, which an appliance on a LAN seldom has. Without
// shared workers (Chrome on Android) each tab listens for itself.

/**
 * @typedef {object} Message
 * @property {"change"|"scan"|"port"|"live"|"again"} kind `change`, `scan` and `port` are events of /v1/events. `live`:
 *   whether the stream is connected. `again`: events may have been missed, so that everything has to be loaded again.
 * @property {any} [data] the event's JSON; of `live`, true or false
 */

/** The wait after the stream was refused, in milliseconds. A broken connection is reopened by the browser. */
const RETRY = 10_000;

/**
 * Listens until the page is closed.
 * @param {(message: Message) => void} hear
 */
export function listen(hear) {
  const alone = () => stream(new URL("v1/events", document.baseURI), hear);
  if (!globalThis.SharedWorker) return void alone();
  const worker = new SharedWorker(new URL("events-worker.js", import.meta.url), { type: "module" });
  worker.onerror = alone;
  worker.port.onmessage = ({ data }) => hear(data);
  addEventListener("pagehide", () => worker.port.postMessage("bye"));
  // Back from the browser's cache of pages, where no message arrives.
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) {
      worker.port.postMessage("hello");
      hear({ kind: "again" });
    }
  });
}

/**
 * Opens the stream. The browser reconnects, and Last-Event-ID makes the appliance send the changes that were missed.
 * Events without an id are not sent again, so that every reconnection is followed by `again`.
 * @param {URL} url
 * @param {(message: Message) => void} tell
 * @param {boolean} [again] whether a stream was open before
 */
export function stream(url, tell, again = false) {
  const source = new EventSource(url);
  const pass = ({ type, data }) => tell({ kind: type, data: JSON.parse(data) });
  source.addEventListener("change", pass);
  source.addEventListener("scan", pass);
  source.addEventListener("port", pass);
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
