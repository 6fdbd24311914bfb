// Which articles, and how much alike: what a list may be asked for beside whom it is for.

import { get } from "./api.js";
import { h, later } from "./dom.js";

/** @type {Promise<Record<string, string[]>> | null} */
let values = null;
const filterValues = () => (values ??= get("/filters", { quiet: true }).then((found) => found.filters));

const SELECTS = { index_group: "Group", product_type: "Type", colour_group: "Colour" };

/**
 * @param {string} prefix of the ids
 * @param {() => void} changed
 * @param {boolean} [again] whether to offer leaving out what was bought
 */
export function listControls(prefix, changed, again = false) {
  /** @type {Record<string, HTMLSelectElement>} */
  const selects = {};
  for (const [name, label] of Object.entries(SELECTS)) {
    selects[name] = /** @type {HTMLSelectElement} */ (
      h("select", { id: `${prefix}-${name}`, onchange: changed }, h("option", { value: "" }, `Any ${label.toLowerCase()}`))
    );
  }
  const [low, high] = ["min", "max"].map((end) =>
    /** @type {HTMLInputElement} */ (
      h("input", { type: "number", id: `${prefix}-${end}`, min: 0, step: 0.005, placeholder: end, inputmode: "decimal", "aria-label": `Price, ${end === "min" ? "lowest" : "highest"}`, oninput: later(changed, 350) })
    ),
  );
  const diversity = /** @type {HTMLInputElement} */ (
    h("input", { type: "range", id: `${prefix}-diversity`, min: 0, max: 1, step: 0.1, value: 0 })
  );
  const told = h("output", { for: diversity.id, class: "told" }, "off");
  const slow = later(changed, 150);
  diversity.addEventListener("input", () => {
    told.textContent = diversity.value === "0" ? "off" : diversity.value;
    diversity.setAttribute("aria-valuetext", told.textContent);
    slow();
  });
  const leaveOut = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", id: `${prefix}-again`, onchange: changed }));
  const clear = h("button", { type: "button", class: "link", hidden: true, onclick: reset }, "Clear");

  const element = h(
    "div",
    { class: "controls", role: "group", "aria-label": "Which articles" },
    ...Object.entries(SELECTS).map(([name, label]) => h("div", { class: "control" }, h("label", { for: `${prefix}-${name}` }, label), selects[name])),
    h("fieldset", { class: "control price" }, h("legend", { title: "In the data’s own unit" }, "Price"), h("div", {}, low, h("span", { "aria-hidden": "true" }, "–"), high)),
    h("div", { class: "control wide" }, h("label", { for: diversity.id }, "Diversity ", told), diversity),
    again && h("div", { class: "control tick" }, leaveOut, h("label", { for: leaveOut.id }, "New to them only")),
    clear,
  );

  function reset() {
    for (const select of Object.values(selects)) select.value = "";
    low.value = high.value = "";
    diversity.value = "0";
    told.textContent = "off";
    leaveOut.checked = false;
    changed();
  }

  async function load() {
    const found = await filterValues();
    for (const [name, select] of Object.entries(selects)) {
      select.append(...found[name].map((value) => h("option", { value }, value)));
    }
  }
  load().catch(() => (values = null)); // without them the list is as good; the next view tries again

  /** @returns {Record<string, any>} fields of POST /recommend */
  function fields() {
    /** @type {Record<string, any>} */
    const filters = {};
    for (const [name, select] of Object.entries(selects)) if (select.value) filters[name] = [select.value];
    const [min, max] = [low, high].map((input) => (input.value === "" || !(input.valueAsNumber >= 0) ? undefined : input.valueAsNumber));
    if (min !== undefined || max !== undefined) filters.price = { min, max };
    /** @type {Record<string, any>} */
    const found = {};
    if (Object.keys(filters).length) found.filters = filters;
    if (diversity.value !== "0") found.diversity = diversity.valueAsNumber;
    if (leaveOut.checked) found.exclude_purchased = true;
    clear.hidden = !Object.keys(found).length;
    return found;
  }
  return { element, fields };
}
