// Controls of a recommendation: filters, diversity, and exclusion of earlier purchases.

import { get } from "./api.js";
import { h, later } from "./dom.js";

/** @type {Promise<Record<string, string[]>> | null} */
let values = null;
const filterValues = () => (values ??= get("/filters", { quiet: true }).then((answer) => answer.filters));

const SELECTS = { index_group: "Group", product_type: "Type", colour_group: "Colour" };

/**
 * @param {string} prefix for element ids
 * @param {() => void} changed
 * @param {boolean} [purchases] whether to offer excluding earlier purchases
 */
export function recommendationControls(prefix, changed, purchases = false) {
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
  const level = h("output", { for: diversity.id, class: "level" }, "off");
  const changedSoon = later(changed, 150);
  diversity.addEventListener("input", () => {
    level.textContent = diversity.value === "0" ? "off" : diversity.value;
    diversity.setAttribute("aria-valuetext", level.textContent);
    changedSoon();
  });
  const newOnly = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", id: `${prefix}-new-only`, onchange: changed }));
  const clear = h("button", { type: "button", class: "link", hidden: true, onclick: reset }, "Clear");

  const element = h("div", { class: "controls", role: "group", "aria-label": "Which articles" },
    ...Object.entries(SELECTS).map(([name, label]) => h("div", { class: "control" }, h("label", { for: `${prefix}-${name}` }, label), selects[name])),
    h("fieldset", { class: "control price" }, h("legend", { title: "In the data’s own unit" }, "Price"), h("div", {}, low, h("span", { "aria-hidden": "true" }, "–"), high)),
    h("div", { class: "control wide" }, h("label", { for: diversity.id }, "Diversity ", level), diversity),
    purchases && h("div", { class: "control tick" }, newOnly, h("label", { for: newOnly.id }, "New to them only")),
    clear,
  );

  function reset() {
    for (const select of Object.values(selects)) select.value = "";
    low.value = high.value = "";
    diversity.value = "0";
    level.textContent = "off";
    newOnly.checked = false;
    changed();
  }

  async function load() {
    const options = await filterValues();
    for (const [name, select] of Object.entries(selects)) {
      select.append(...options[name].map((value) => h("option", { value }, value)));
    }
  }
  load().catch(() => (values = null)); // recommendations work without filters; the next view tries again

  /** @returns {Record<string, any>} fields of POST /recommend */
  function fields() {
    /** @type {Record<string, any>} */
    const filters = {};
    for (const [name, select] of Object.entries(selects)) if (select.value) filters[name] = [select.value];
    const [min, max] = [low, high].map((input) => (input.value === "" || !(input.valueAsNumber >= 0) ? undefined : input.valueAsNumber));
    if (min !== undefined || max !== undefined) filters.price = { min, max };
    /** @type {Record<string, any>} */
    const body = {};
    if (Object.keys(filters).length) body.filters = filters;
    if (diversity.value !== "0") body.diversity = diversity.valueAsNumber;
    if (newOnly.checked) body.exclude_purchased = true;
    clear.hidden = !Object.keys(body).length;
    return body;
  }
  return { element, fields };
}
