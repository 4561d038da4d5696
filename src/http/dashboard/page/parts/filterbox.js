// The field for a filter, with completion (a combobox, WAI-ARIA Authoring Practices) and help.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { complete } from "../complete.js";
import { TERMS } from "../filter.js";

/**
 * @param {object} box
 * @param {(text: string) => void} box.onInput called when the filter has changed
 * @param {() => void} box.redraw
 */
export function filterBox({ onInput, redraw }) {
  let offered = null;
  let active = -1;

  function offer(input, devices) {
    offered = complete(input.value, input.selectionStart, devices);
    active = -1;
    redraw();
  }

  function close() {
    offered = null;
    redraw();
  }

  function take(input, { text }, devices) {
    const { start, end } = offered;
    input.setRangeText(text, start, end, "end");
    input.focus();
    onInput(input.value);
    // A term such as `port:` is followed by its value.
    if (text.endsWith(":")) offer(input, devices);
    else close();
  }

  function pressed(event, devices) {
    const input = event.target;
    const choices = offered?.choices ?? [];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && choices.length) active = (active + step + choices.length + (active < 0 && step < 0 ? 1 : 0)) % choices.length;
    else if (event.key === "ArrowDown") return offer(input, devices);
    else if (event.key === "Enter" && choices[active]) take(input, choices[active], devices);
    else if (event.key === "Escape" && choices.length) close();
    else return;
    event.preventDefault();
    redraw();
  }

  /**
   * @param {string} text
   * @param {import("../filter.js").Fault|null} fault
   * @param {import("../filter.js").Device[]} devices
   */
  return function view(text, fault, devices) {
    const choices = offered?.choices ?? [];
    const open = choices.length > 0;
    return html`<div class="filter" role="search">
      <label for="filter" class="hidden-text">Filter</label>
      <div class="combo">
        <input id="filter" type="text" role="combobox" autocomplete="off" autocapitalize="none" spellcheck="false"
          placeholder="Filter: nas   port:22,8000-8100   state:rogue   -vendor:sony" .value=${text}
          aria-autocomplete="list" aria-controls="filter-choices" aria-expanded=${open}
          aria-activedescendant=${active >= 0 && open ? `filter-choice-${active}` : nothing}
          aria-invalid=${fault ? "true" : nothing} aria-describedby="filter-fault"
          @input=${({ target }) => (onInput(target.value), offer(target, devices))}
          @keydown=${(event) => pressed(event, devices)} @blur=${close}>
        <ul id="filter-choices" role="listbox" aria-label="Completions" ?hidden=${!open}>
          ${choices.map((choice, at) => html`<li id="filter-choice-${at}" role="option" aria-selected=${at === active}
            @mousedown=${(event) => {
              // Without this, the field loses the focus, and the choices close.
              event.preventDefault();
              take(document.getElementById("filter"), choice, devices);
            }}><span>${choice.text}</span> <span class="muted">${choice.hint}</span></li>`)}
        </ul>
      </div>
      <p id="filter-fault" class="error" role="status">${fault ? html`${where(text, fault)}: ${fault.message}.` : nothing}</p>
      <details><summary>Filter help</summary>${help()}</details>
    </div>`;
  };
}

function where(text, { start, end }) {
  return start < end ? html`At <code>${text.slice(start, end)}</code>` : "At the end";
}

const help = () => html`
  <p>A word is searched in names, vendor and note. Terms beside each other must all hold for the same port;
    <code>or</code> and parentheses combine, <code>-</code> negates, commas separate alternatives, quotes keep spaces:
    <code>addr:10.0.0.0/24 port:1-1024,8080 -proto:udp or name:"my nas"</code></p>
  <dl class="facts">${Object.entries(TERMS).map(([term, { help, example }]) => html`
    <dt><code>${term}:${example}</code></dt><dd>${help}</dd>`)}</dl>`;
