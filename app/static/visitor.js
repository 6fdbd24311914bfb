// The visitor view: recommendations from a basket alone, updated with every change.

import { get, newest, post } from "./api.js";
import { articleOf, kindOf, label, nameOf, recommendationCard, showCards, skeletons } from "./cards.js";
import { announce, byId, decoded, h, icon, later, plural } from "./dom.js";
import { recommendationControls } from "./filters.js";
import { FIRST, listLength } from "./length.js";
import { empty, isAbort, showProblem } from "./status.js";
import { MAX_BASKET, changes, store, toggle } from "./store.js";

const nextList = newest();
const nextSearch = newest();
/** @type {Map<string, number>} rank by article in the previous recommendations */
let previous = new Map();
/** @type {ReturnType<typeof recommendationControls>} */
let controls;
const length = listLength(() => recommend());
let opened = false;

export function mountVisitor() {
  controls = recommendationControls("visitor", recommendAnew);
  byId("view-visitor").replaceChildren(
    h("div", {},
      h("form", { class: "finder", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); search(); } },
        h("label", { for: "article-search" }, "Put articles into the basket"),
        h("input", { type: "search", id: "article-search", autocomplete: "off", maxlength: 100, placeholder: "Words, e.g. black dress", oninput: later(search, 200) }),
        h("ul", { id: "article-found", class: "found", "aria-label": "Articles found" }),
      ),
      h("div", { class: "age" }, h("label", { for: "visitor-age" }, "Their age, optional"), h("input", { type: "number", id: "visitor-age", min: 16, max: 99, inputmode: "numeric", placeholder: "–", oninput: later(recommendAnew, 300) })),
      h("h2", { class: "who" }, "The basket"),
      h("div", { id: "basket" }),
    ),
    h("div", { class: "stage" },
      h("div", { class: "stage-head" }, h("h2", {}, "Recommendations now"), h("p", { id: "visitor-count", class: "hint" })),
      h("p", { class: "note" }, "No customer id: the user tower reads only the basket."),
      controls.element,
      h("div", { id: "visitor-list", tabindex: -1 }, h("ul", { class: "cards", "aria-busy": "true" }, ...skeletons(FIRST))),
      length.element,
    ),
  );
  changes.addEventListener("basket", () => {
    if (!opened) return;
    showBasket();
    recommendAnew();
  });
}

function recommendAnew() {
  length.wanted = FIRST;
  return recommend();
}

/** @param {string} ids of articles, from the page's address */
export async function showVisitor(ids) {
  opened = true;
  const missing = ids.split(",").map(decoded).filter((id) => id && !store.basket.has(id));
  const answers = await Promise.allSettled(missing.slice(0, MAX_BASKET).map((id) => get(`/articles/${encodeURIComponent(id)}`, { quiet: true })));
  for (const answer of answers) if (answer.status === "fulfilled") store.basket.set(answer.value.article_id, answer.value);
  showBasket();
  changes.dispatchEvent(new Event("basket-count"));
  await recommend();
}

async function search() {
  const place = byId("article-found");
  const words = byId("article-search").value.trim();
  if (!words) return place.replaceChildren();
  try {
    const { articles, match } = await get(`/articles?q=${encodeURIComponent(words)}&limit=8`, { signal: nextSearch() });
    const entries = articles.map((/** @type {import("./store.js").Article} */ article) =>
      h("li", {},
        h(
          "button",
          {
            type: "button",
            "aria-label": `Put ${nameOf(article)}, ${kindOf(article)}, into the basket`,
            onclick: () => announce(`${nameOf(article)} is ${toggle(article) ? "in" : "out of"} the basket`),
          },
          ...label(article),
        ),
      ),
    );
    if (!entries.length) entries.push(h("li", { class: "hint" }, "No article has these words, or others that mean the same."));
    else if (match === "meaning") entries.unshift(h("li", { class: "hint" }, "No article has all these words. These come closest in meaning:"));
    place.replaceChildren(...entries);
    announce(plural(articles.length, "article found", "articles found"));
  } catch (error) {
    if (!isAbort(error)) showProblem(place, error, search);
  }
}

function showBasket() {
  const entries = [...store.basket.values()].reverse().map((article) =>
    h("li", { class: "bought" },
      ...label(article),
      h("button", { type: "button", class: "round small", "aria-label": `Take ${nameOf(article)}, ${kindOf(article)}, out`, onclick: () => { toggle(article); byId("article-search").focus(); } }, icon("close")),
    ),
  );
  byId("basket").replaceChildren(
    entries.length
      ? h("ul", {}, ...entries)
      : empty("Nothing in it yet", "Search above, or use “Basket” on any card. Until then, best-sellers are recommended."),
  );
}

async function recommend() {
  const place = byId("visitor-list");
  const age = byId("visitor-age");
  const body = {
    history: [...store.basket.keys()],
    ...(age.value && age.checkValidity() ? { customer: { age: age.valueAsNumber } } : {}),
    top_k: length.wanted,
    ...controls.fields(),
    include: ["details", "reasons", "total"],
  };
  try {
    const { recommendations, total } = await post("/recommend", body, nextList());
    show(recommendations);
    byId("visitor-count").textContent = length.tell(recommendations.length, total, "filters" in body);
  } catch (error) {
    if (!isAbort(error)) showProblem(place, error, recommend);
  }
}

/** @param {any[]} items */
function show(items) {
  const cards = items.map((item) => {
    const { article_id: id, rank } = item;
    const was = previous.get(id);
    const move = !previous.size || was === rank ? undefined : was === undefined ? "new" : was > rank ? `↑ ${was - rank}` : `↓ ${rank - was}`;
    return recommendationCard(item, store.basket, { move });
  });
  const added = items.filter((item) => !previous.has(item.article_id)).length;
  const change = previous.size ? `${added} of ${items.length} are new` : plural(items.length, "recommendation");
  previous = new Map(items.map((item) => [item.article_id, item.rank]));
  store.who = "visitor";
  store.purchases = [...store.basket.values()];
  store.recommended = items.map(articleOf);
  showCards(byId("visitor-list"), cards);
  announce(`The recommendations have changed: ${change}`);
}
