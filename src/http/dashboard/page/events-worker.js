// The shared worker that listens to the appliance for all tabs; see events.js.

import { stream } from "./events.js";

const tabs = new Set();
let live = { kind: "live", data: false };

stream(new URL("../v1/events", import.meta.url), (message) => {
  if (message.kind === "live") live = message;
  for (const tab of tabs) tab.postMessage(message);
});

self.onconnect = ({ ports: [tab] }) => {
  const welcome = () => {
    tabs.add(tab);
    tab.postMessage(live);
  };
  tab.onmessage = ({ data }) => (data === "bye" ? tabs.delete(tab) : welcome());
  welcome();
};
