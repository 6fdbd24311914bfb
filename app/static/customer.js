// The customer view: attributes, purchases, and recommendations.

import { get, newest, post } from "./api.js";
import { articleOf, card, label, recommendationCard, showCards, skeletons } from "./cards.js";
import { announce, byId, count, day, h, later, plural, s, shortId } from "./dom.js";
import { recommendationControls } from "./filters.js";
import { FIRST, listLength } from "./length.js";
import { empty, isAbort, showProblem } from "./status.js";
import { store } from "./store.js";

const SEGMENTS = { frequent: "Frequent", dormant: "Dormant", young: "Young", never_bought: "Never bought", any: "Surprise me" };
/** @type {Record<string, [string, string, string]>} by ranking: name, heading, and what it is */
const OTHERS = {
  "best-sellers": ["Best-sellers", "Best-sellers of the last days", "the same for everybody"],
  "two-tower": ["Two-tower alone", "The two-tower alone", "as it was trained, without buying again"],
};
const ATTRIBUTES = { age: "Age", club_member_status: "Club", fashion_news_frequency: "Fashion news", FN: "Gets news", Active: "Active" };

const panel = () => byId("view-customer");
const nextCustomer = newest();
const nextList = newest();
const nextSearch = newest();
/** @type {any} the answer of GET /customers/{id} */
let customer = null;
/** @type {ReturnType<typeof recommendationControls>} */
let controls;
const length = listLength(() => recommend());
/** @type {string | null} the ranking of OTHERS to compare with */
let beside = null;

/** @param {(id: string) => void} go opens the address of a customer */
export function mountCustomer(go) {
  controls = recommendationControls("customer", () => customer && recommendAnew(), true);
  const input = h("input", {
    type: "search", id: "customer-search", autocomplete: "off", spellcheck: "false", maxlength: 100,
    placeholder: "Id begins with", "aria-describedby": "customer-search-help", oninput: later(() => search(go), 200),
  });
  panel().replaceChildren(
    h("div", {},
      h("form", { class: "finder", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); search(go); } },
        h("label", { for: "customer-search" }, "Find a customer"),
        input,
        h("p", { id: "customer-search-help", class: "hint" }, "The beginning of an id, as in the data."),
        h("ul", { id: "customer-found", class: "found", "aria-label": "Customers found" }),
        h("div", { class: "chips", role: "group", "aria-label": "A random customer of a segment" },
          ...Object.entries(SEGMENTS).map(([segment, title]) => h("button", { type: "button", class: segment === "any" ? "chip strong" : "chip", onclick: () => pick(segment, go) }, title)),
        ),
      ),
      h("div", { id: "customer-about", "aria-busy": "true" }),
    ),
    h("div", { class: "stage" },
      h("div", { class: "stage-head" }, h("h2", {}, "What they would buy next"), h("p", { id: "customer-count", class: "hint" })),
      controls.element,
      h("div", { class: "chips compare", role: "group", "aria-labelledby": "compare-title" },
        h("span", { id: "compare-title", class: "hint" }, "Compare with"),
        ...Object.entries(OTHERS).map(([ranking, [title]]) =>
          h("button", { type: "button", class: "chip", "data-ranking": ranking, "aria-pressed": "false", onclick: () => compare(ranking) }, title),
        ),
      ),
      h("div", { id: "customer-list", tabindex: -1 }, h("ul", { class: "cards", "aria-busy": "true" }, ...skeletons(FIRST))),
      length.element,
    ),
  );
  byId("customer-about").replaceChildren(placeholder());
}

/** Opens a random customer of a segment.
 * @param {string} segment
 * @param {(id: string) => void | Promise<void>} go
 */
export async function pick(segment, go) {
  try {
    const { customers } = await get(`/customers?segment=${segment}&limit=1`);
    if (customers.length) await go(customers[0].customer_id);
    else announce("This segment has no customer", true);
  } catch (error) {
    byId("customer-list").replaceChildren();
    showProblem(byId("customer-about"), error, () => pick(segment, go));
  }
}

/** @param {(id: string) => void} go */
async function search(go) {
  const found = byId("customer-found");
  const { hm_ids: hm } = store.model; // H&M's ids are hexadecimal digits, others any text
  const typed = byId("customer-search").value.trim();
  const prefix = hm ? typed.toLowerCase() : typed;
  if (hm && !/^[0-9a-f]*$/.test(prefix)) return found.replaceChildren(h("li", { class: "hint" }, "An id has only the digits 0–9 and a–f."));
  if (!prefix) return found.replaceChildren();
  try {
    const { customers } = await get(`/customers?prefix=${encodeURIComponent(prefix)}&limit=6`, { signal: nextSearch() });
    const entries = customers.map((/** @type {any} */ { customer_id: id, purchases, age }) =>
      h("li", {},
        h("button", { type: "button", onclick: () => { found.replaceChildren(); go(id); } },
          h("code", {}, shortId(id)),
          h("span", {}, purchases ? plural(purchases, "purchase") : "never bought", age === null ? "" : `, ${age} years`),
        ),
      ),
    );
    found.replaceChildren(...(entries.length ? entries : [h("li", { class: "hint" }, "No id begins like this.")]));
    announce(plural(customers.length, "customer found", "customers found"));
  } catch (error) {
    if (!isAbort(error)) showProblem(found, error, () => search(go));
  }
}

/** @param {string} id */
export async function showCustomer(id) {
  const about = byId("customer-about");
  store.customerId = id;
  length.wanted = FIRST;
  customer = null;
  about.setAttribute("aria-busy", "true");
  panel().classList.add("loading");
  const signal = nextCustomer();
  // Both requests at once. The recommendations are shown after the purchases, which name their reasons.
  const recommendations = recommend(false);
  try {
    customer = await get(`/customers/${encodeURIComponent(id)}`, { signal });
    store.purchases = unique(customer.purchases.map(articleOf));
    store.who = "customer";
    about.replaceChildren(...portrait());
    about.removeAttribute("aria-busy");
    show(await recommendations);
  } catch (error) {
    if (isAbort(error)) return;
    byId("customer-list").replaceChildren();
    showProblem(about, error, () => showCustomer(id));
  } finally {
    if (!signal.aborted) panel().classList.remove("loading");
  }
}

/** @param {import("./store.js").Article[]} articles */
const unique = (articles) => [...new Map(articles.map((article) => [article.article_id, article])).values()];

function recommendAnew() {
  length.wanted = FIRST;
  return recommend();
}

/** Shows another ranking beside the published one, or no longer. @param {string} ranking of OTHERS */
function compare(ranking) {
  beside = beside === ranking ? null : ranking;
  for (const chip of panel().querySelectorAll("[data-ranking]")) {
    chip.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (chip).dataset.ranking === beside));
  }
  if (customer) recommend();
}

/** @param {boolean} [shown] whether to show the answer, too */
async function recommend(shown = true) {
  const body = { customer_id: store.customerId, top_k: length.wanted, ...controls.fields(), include: ["details", "reasons", "total"] };
  try {
    const signal = nextList();
    const [answer, other] = await Promise.all([
      post("/recommend", body, signal),
      beside && post("/recommend", { ...body, ranking: beside, include: ["details"] }, signal),
    ]);
    answer.other = other;
    answer.filtered = "filters" in body || "exclude_purchased" in body;
    if (shown) show(answer);
    return answer;
  } catch (error) {
    if (isAbort(error)) return null;
    if (!shown) return { error };
    showProblem(byId("customer-list"), error, recommend);
    return null;
  }
}

/** @param {any} answer */
function show(answer) {
  if (!answer) return;
  const place = byId("customer-list");
  if (answer.error) return showProblem(place, answer.error, recommend);
  const bought = new Map(store.purchases.map((article) => [article.article_id, article]));
  const cards = answer.recommendations.map((/** @type {any} */ item) => {
    const mark = bought.has(item.article_id) ? ["again", "Bought before"] : ["new", "New to them"];
    return recommendationCard(item, bought, { marks: [/** @type {[string, string]} */ (mark)] });
  });
  store.recommended = answer.recommendations.map(articleOf);
  if (answer.other && cards.length) place.replaceChildren(pair(answer, bought));
  else showCards(place, cards);
  byId("customer-count").textContent = length.tell(cards.length, answer.total, answer.filtered);
  announce(plural(cards.length, "recommendation"));
}

/** Both rankings, side by side.
 * @param {any} answer with the other one
 * @param {Map<string, any>} bought
 */
function pair({ recommendations, other }, bought) {
  const [, title, text] = OTHERS[/** @type {string} */ (beside)];
  const ids = (/** @type {any[]} */ items) => new Set(items.map(({ article_id: id }) => id));
  const column = (/** @type {any[]} */ items, /** @type {Set<string>} */ others, /** @type {string} */ heading, /** @type {string} */ hint) =>
    h("section", { class: "column ranking" },
      h("h3", {}, heading),
      h("p", { class: "hint" }, hint),
      h("ol", { class: "cards tiny" },
        ...items.map((item) => {
          const marks = /** @type {[string, string][]} */ ([bought.has(item.article_id) && ["again", "Bought before"], others.has(item.article_id) && ["hit", "In both"]].filter(Boolean));
          return card(articleOf(item), { rank: item.rank, marks, actions: false });
        }),
      ),
    );
  const [ours, theirs] = [ids(recommendations), ids(other.recommendations)];
  const shared = [...ours].filter((id) => theirs.has(id)).length;
  return h("div", { class: "pair" },
    column(recommendations, theirs, "The published model", `${shared ? count(shared) : "None"} of ${plural(ours.size, "article")} in both lists`),
    column(other.recommendations, ours, title, text),
  );
}

/** Attributes and purchases. */
function portrait() {
  const { customer_id: id, attributes, purchases, count: total } = customer;
  const facts = Object.entries(ATTRIBUTES)
    .map(([name, title]) => [title, attributes[name]])
    .map(([title, value]) => [title, value === null || value === undefined ? "–" : typeof value === "string" ? sentence(value) : title === "Age" ? value : "Yes"]);
  return [
    h("h2", { class: "who" }, h("span", {}, "Customer "), h("code", { title: id }, shortId(id, 12))),
    h("dl", { class: "facts" }, ...facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
    h("h3", {}, total ? plural(total, "purchase") : "No purchases", total > purchases.length && h("small", {}, `, the latest ${purchases.length} below`)),
    ...(total ? [strip(purchases), timeline(purchases)] : [empty("Never bought anything", "The recommendations use their attributes and best-sellers.")]),
  ];
}

/** @param {string} text */
const sentence = (text) => text.charAt(0) + text.slice(1).toLowerCase();

/** The purchases on a line of all the model's days. @param {any[]} purchases */
function strip(purchases) {
  const [from, until] = [store.model.data_from, store.model.data_until].map((iso) => Date.parse(iso));
  const x = (/** @type {string} */ iso) => 4 + (292 * (Date.parse(iso) - from)) / Math.max(until - from, 1);
  const dates = new Map();
  for (const { date } of purchases) dates.set(date, (dates.get(date) ?? 0) + 1);
  return h("div", { class: "strip" },
    s("svg", { viewBox: "0 0 300 34", role: "img", "aria-label": `Purchases on ${plural(dates.size, "day")}, from ${day(purchases[purchases.length - 1].date)} to ${day(purchases[0].date)}` },
      s("path", { d: "M4 26H296", class: "axis" }),
      ...[...dates].map(([date, n]) => s("circle", { cx: x(date), cy: 26 - 2 - Math.min(n, 6) * 1.5, r: 2 + Math.min(n, 6) * 0.7 })),
    ),
    h("div", { class: "strip-ends", "aria-hidden": "true" }, h("span", {}, day(store.model.data_from)), h("span", {}, day(store.model.data_until))),
  );
}

/** @param {any[]} purchases newest first */
function timeline(purchases) {
  /** @type {Map<string, any[]>} */
  const byDay = new Map();
  for (const purchase of purchases) byDay.set(purchase.date, [...(byDay.get(purchase.date) ?? []), purchase]);
  return h("ol", { class: "timeline", tabindex: 0, "aria-label": "Purchases, newest first" },
    ...[...byDay].map(([date, purchases]) =>
      h("li", {},
        h("time", { datetime: date }, day(date), h("small", {}, ` ${plural(purchases[0].days_ago, "day")} earlier`)),
        h("ul", {}, ...purchases.map((purchase) => h("li", { class: "bought" }, ...label(articleOf(purchase))))),
      ),
    ),
  );
}

const placeholder = () => h("div", { class: "skeleton", "aria-hidden": "true" }, ...Array.from({ length: 7 }, () => h("p", { class: "bone line" })));
