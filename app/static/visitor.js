// A visitor of whom nothing is known but what is in the basket: the list follows every change of it.

import { get, newest, post } from "./api.js";
import { card, exchange, kindOf, nameOf, plate, skeletons } from "./cards.js";
import { announce, byId, h, icon, later, plural } from "./dom.js";
import { listControls } from "./filters.js";
import { empty, isAbort, showProblem } from "./status.js";
import { changes, store, toggle } from "./store.js";

const SHOWN = 10;
const nextList = newest();
const nextSearch = newest();
/** @type {Map<string, number>} article to its rank in the list before */
let before = new Map();
/** @type {ReturnType<typeof listControls>} */
let controls;
let seen = false;

export function mountVisitor() {
  controls = listControls("visitor", () => recommend());
  byId("view-visitor").replaceChildren(
    h(
      "div",
      { class: "side" },
      h(
        "form",
        { class: "finder", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); search(); } },
        h("label", { for: "article-search" }, "Put articles into the basket"),
        h("input", { type: "search", id: "article-search", autocomplete: "off", maxlength: 100, placeholder: "Words, e.g. black dress", oninput: later(search, 200) }),
        h("ul", { id: "article-found", class: "found", "aria-label": "Articles found" }),
      ),
      h("div", { class: "age" }, h("label", { for: "visitor-age" }, "Their age, if you like"), h("input", { type: "number", id: "visitor-age", min: 16, max: 99, inputmode: "numeric", placeholder: "–", oninput: later(() => recommend(), 300) })),
      h("h2", { class: "who" }, "The basket"),
      h("div", { id: "basket" }),
    ),
    h(
      "div",
      { class: "stage" },
      h("div", { class: "stage-head" }, h("h2", {}, "What the model shows now"), h("p", { class: "hint" }, "No customer id: the history tower reads the basket alone.")),
      controls.element,
      h("div", { id: "visitor-list" }, h("ul", { class: "cards", "aria-busy": "true" }, ...skeletons(SHOWN))),
    ),
  );
  changes.addEventListener("basket", () => {
    if (!seen) return;
    showBasket();
    recommend();
  });
}

/** @param {string} ids of articles, from the address */
export async function showVisitor(ids) {
  seen = true;
  const wanted = ids.split(",").filter((id) => /^[0-9]{10}$/.test(id) && !store.basket.has(id));
  const found = await Promise.allSettled(wanted.slice(0, 20).map((id) => get(`/articles/${id}`, { quiet: true })));
  for (const one of found) if (one.status === "fulfilled") store.basket.set(one.value.article_id, one.value);
  showBasket();
  changes.dispatchEvent(new Event("basket-count"));
  await recommend();
}

async function search() {
  const place = byId("article-found");
  const words = byId("article-search").value.trim();
  if (!words) return place.replaceChildren();
  try {
    const { articles } = await get(`/articles?q=${encodeURIComponent(words)}&limit=8`, { signal: nextSearch() });
    const entries = articles.map((/** @type {import("./store.js").Article} */ one) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            "aria-label": `Put ${nameOf(one)}, ${kindOf(one)}, into the basket`,
            onclick: () => announce(`${nameOf(one)} is ${toggle(one) ? "in" : "out of"} the basket`),
          },
          plate(one),
          h("span", {}, h("b", {}, nameOf(one)), h("small", {}, kindOf(one))),
        ),
      ),
    );
    place.replaceChildren(...(entries.length ? entries : [h("li", { class: "hint" }, "No article has these words.")]));
    announce(plural(articles.length, "article found", "articles found"));
  } catch (error) {
    if (!isAbort(error)) showProblem(place, error, search);
  }
}

function showBasket() {
  const entries = [...store.basket.values()].reverse().map((one) =>
    h(
      "li",
      { class: "bought" },
      plate(one),
      h("span", {}, h("b", {}, nameOf(one)), h("small", {}, kindOf(one))),
      h("button", { type: "button", class: "round small", "aria-label": `Take ${nameOf(one)} out`, onclick: () => { toggle(one); byId("article-search").focus(); } }, icon("close")),
    ),
  );
  byId("basket").replaceChildren(
    entries.length
      ? h("ul", { class: "basket" }, ...entries)
      : empty("Nothing in it yet", "Search above, or take any card’s “Basket”. Until then the list is what sells."),
  );
}

async function recommend() {
  const place = byId("visitor-list");
  const age = byId("visitor-age");
  const body = {
    history: [...store.basket.keys()],
    ...(age.value && age.checkValidity() ? { customer: { age: age.valueAsNumber } } : {}),
    top_k: SHOWN,
    ...controls.fields(),
    include: ["details", "reasons"],
  };
  try {
    const { recommendations } = await post("/recommend", body, nextList());
    show(recommendations);
  } catch (error) {
    if (!isAbort(error)) showProblem(place, error, recommend);
  }
}

/** @param {any[]} found */
function show(found) {
  const place = byId("visitor-list");
  const cards = found.map((one) => {
    const was = before.get(one.article_id);
    const move = !before.size || was === one.rank ? undefined : was === undefined ? "new" : was > one.rank ? `↑ ${was - one.rank}` : `↓ ${one.rank - was}`;
    return card(
      { article_id: one.article_id, ...one.details },
      {
        rank: one.rank,
        figures: [["score", one.score.toFixed(2)]],
        marks: one.details.new_in_shop ? [["fresh", "New in shop"]] : [],
        because: one.reasons.map((/** @type {string} */ id) => store.basket.get(id)).filter(Boolean).map(nameOf),
        move,
      },
    );
  });
  const stayed = found.filter((one) => before.has(one.article_id)).length;
  const told = before.size ? `${found.length - stayed} of ${found.length} are new` : plural(found.length, "recommendation");
  before = new Map(found.map((one) => [one.article_id, one.rank]));
  store.who = "visitor";
  store.purchases = [...store.basket.values()];
  store.recommended = found.map((one) => ({ article_id: one.article_id, ...one.details }));
  const list = place.querySelector("ul.cards") ?? h("ul", { class: "cards" });
  list.removeAttribute("aria-busy");
  if (!list.isConnected || place.children.length !== 1) place.replaceChildren(list);
  exchange(/** @type {HTMLElement} */ (list), cards);
  if (!cards.length) place.replaceChildren(empty("Nothing fits", "No article fits every filter. Take one away."));
  announce(`The list has changed: ${told}`);
}
