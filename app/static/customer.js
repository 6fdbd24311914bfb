// A customer: who they are, what they bought when, and what the model would show them next.

import { get, newest, post } from "./api.js";
import { card, exchange, kindOf, nameOf, plate, skeletons } from "./cards.js";
import { announce, byId, count, day, h, later, plural, s } from "./dom.js";
import { listControls } from "./filters.js";
import { empty, isAbort, showProblem } from "./status.js";
import { store } from "./store.js";

const SHOWN = 10;
const KINDS = { frequent: "Frequent", dormant: "Dormant", young: "Young", never_bought: "Never bought", any: "Surprise me" };
const ATTRIBUTES = { age: "Age", club_member_status: "Club", fashion_news_frequency: "Fashion news", FN: "Gets news", Active: "Active" };

const panel = () => byId("view-customer");
const nextCustomer = newest();
const nextList = newest();
const nextSearch = newest();
/** @type {any} what GET /customers/{id} says */
let customer = null;
/** @type {ReturnType<typeof listControls>} */
let controls;

/** @param {(id: string) => void} go to the address of a customer */
export function mountCustomer(go) {
  controls = listControls("customer", () => customer && recommend(), true);
  const input = h("input", {
    type: "search", id: "customer-search", autocomplete: "off", spellcheck: "false", maxlength: 64,
    placeholder: "Id begins with, e.g. 00a", "aria-describedby": "customer-search-help", oninput: later(() => search(go), 200),
  });
  panel().replaceChildren(
    h(
      "div",
      { class: "side" },
      h(
        "form",
        { class: "finder", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); search(go); } },
        h("label", { for: "customer-search" }, "Find a customer"),
        input,
        h("p", { id: "customer-search-help", class: "hint" }, "An id has 64 digits, 0–9 and a–f."),
        h("ul", { id: "customer-found", class: "found", "aria-label": "Customers found" }),
        h(
          "div",
          { class: "chips", role: "group", "aria-label": "One of a kind, at random" },
          ...Object.entries(KINDS).map(([kind, label]) => h("button", { type: "button", class: kind === "any" ? "chip strong" : "chip", onclick: () => pick(kind, go) }, label)),
        ),
      ),
      h("div", { id: "customer-about", "aria-busy": "true" }),
    ),
    h(
      "div",
      { class: "stage" },
      h("div", { class: "stage-head" }, h("h2", {}, "What they would buy next"), h("p", { id: "customer-count", class: "hint" })),
      controls.element,
      h("div", { id: "customer-list" }, h("ul", { class: "cards", "aria-busy": "true" }, ...skeletons(SHOWN))),
    ),
  );
  byId("customer-about").replaceChildren(waiting());
}

/** Somebody at random, of a kind.
 * @param {string} kind
 * @param {(id: string) => void | Promise<void>} go
 */
export async function pick(kind, go) {
  try {
    const { customers } = await get(`/customers?kind=${kind}&limit=1`);
    if (customers.length) await go(customers[0].customer_id);
    else announce("There is nobody of this kind", true);
  } catch (error) {
    byId("customer-list").replaceChildren();
    showProblem(byId("customer-about"), error, () => pick(kind, go));
  }
}

/** @param {(id: string) => void} go */
async function search(go) {
  const found = byId("customer-found");
  const prefix = byId("customer-search").value.trim().toLowerCase();
  if (!/^[0-9a-f]*$/.test(prefix)) return found.replaceChildren(h("li", { class: "hint" }, "An id has the digits 0–9 and a–f alone."));
  if (!prefix) return found.replaceChildren();
  try {
    const { customers } = await get(`/customers?prefix=${prefix}&limit=6`, { signal: nextSearch() });
    const entries = customers.map((/** @type {any} */ one) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", onclick: () => { found.replaceChildren(); go(one.customer_id); } },
          h("code", {}, `${one.customer_id.slice(0, 10)}…`),
          h("span", {}, one.purchases ? plural(one.purchases, "purchase") : "never bought", one.age === null ? "" : `, ${one.age} years`),
        ),
      ),
    );
    found.replaceChildren(...(entries.length ? entries : [h("li", { class: "hint" }, "No id begins so.")]));
    announce(plural(customers.length, "customer found", "customers found"));
  } catch (error) {
    if (!isAbort(error)) showProblem(found, error, () => search(go));
  }
}

/** @param {string} id */
export async function showCustomer(id) {
  const about = byId("customer-about");
  store.customerId = id;
  customer = null;
  about.setAttribute("aria-busy", "true");
  panel().classList.add("loading");
  const signal = nextCustomer();
  // Both at once: the list does not need the attributes, but names its reasons by the purchases.
  const list = recommend(false);
  try {
    customer = await get(`/customers/${encodeURIComponent(id)}`, { signal });
    store.purchases = unique(customer.purchases.map((/** @type {any} */ one) => ({ article_id: one.article_id, ...one.details })));
    store.who = "customer";
    about.replaceChildren(...portrait());
    about.removeAttribute("aria-busy");
    show(await list);
  } catch (error) {
    if (isAbort(error)) return;
    byId("customer-list").replaceChildren();
    showProblem(about, error, () => showCustomer(id));
  } finally {
    if (!signal.aborted) panel().classList.remove("loading");
  }
}

/** @param {import("./store.js").Article[]} articles */
const unique = (articles) => [...new Map(articles.map((one) => [one.article_id, one])).values()];

/** @param {boolean} [shown] whether to show it when it is here */
async function recommend(shown = true) {
  const body = { customer_id: store.customerId, top_k: SHOWN, ...controls.fields(), include: ["details", "reasons"] };
  try {
    const answer = await post("/recommend", body, nextList());
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
  const bought = new Map(store.purchases.map((one) => [one.article_id, one]));
  const cards = answer.recommendations.map((/** @type {any} */ one) => {
    const again = bought.has(one.article_id);
    const marks = [again ? ["again", "Bought before"] : ["new", "New to them"]];
    if (one.details.new_in_shop) marks.push(["fresh", "New in shop"]);
    return card(
      { article_id: one.article_id, ...one.details },
      {
        rank: one.rank,
        figures: [["score", one.score.toFixed(2)]],
        marks: /** @type {[string, string][]} */ (marks),
        because: one.reasons.map((/** @type {string} */ id) => bought.get(id)).filter(Boolean).map(nameOf),
      },
    );
  });
  store.recommended = answer.recommendations.map((/** @type {any} */ one) => ({ article_id: one.article_id, ...one.details }));
  const list = place.querySelector("ul.cards") ?? h("ul", { class: "cards" });
  list.removeAttribute("aria-busy");
  if (!list.isConnected || place.children.length !== 1) place.replaceChildren(list);
  exchange(/** @type {HTMLElement} */ (list), cards);
  if (!cards.length) place.replaceChildren(empty("Nothing fits", "No article fits every filter. Take one away."));
  byId("customer-count").textContent = cards.length ? `The first ${cards.length} of ${count(store.model?.counts.articles ?? 0)} articles` : "";
  announce(plural(cards.length, "recommendation"));
}

/** Who they are. */
function portrait() {
  const { customer_id: id, attributes, purchases, count: total } = customer;
  const facts = Object.entries(ATTRIBUTES)
    .map(([name, label]) => [label, attributes[name]])
    .map(([label, value]) => [label, value === null || value === undefined ? "–" : typeof value === "string" ? sentence(value) : label === "Age" ? value : "Yes"]);
  return [
    h("h2", { class: "who" }, h("span", {}, "Customer "), h("code", { title: id }, `${id.slice(0, 12)}…`)),
    h("dl", { class: "facts" }, ...facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
    h("h3", {}, total ? plural(total, "purchase") : "No purchases", total > purchases.length && h("small", {}, `, the latest ${purchases.length} below`)),
    ...(total ? [strip(purchases), timeline(purchases)] : [empty("Never bought anything", "The list is from their attributes, and from what sells.")]),
  ];
}

/** @param {string} text */
const sentence = (text) => text.charAt(0) + text.slice(1).toLowerCase();

/** All of the model's days as a line, with the purchases on it.
 * @param {any[]} purchases
 */
function strip(purchases) {
  const [from, until] = [store.model.data_from, store.model.data_until].map((iso) => Date.parse(iso));
  const x = (/** @type {string} */ iso) => 4 + (292 * (Date.parse(iso) - from)) / Math.max(until - from, 1);
  const dates = new Map();
  for (const { date } of purchases) dates.set(date, (dates.get(date) ?? 0) + 1);
  return h(
    "div",
    { class: "strip" },
    s(
      "svg",
      { viewBox: "0 0 300 34", role: "img", "aria-label": `Purchases on ${plural(dates.size, "day")}, from ${day(purchases[purchases.length - 1].date)} to ${day(purchases[0].date)}` },
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
  for (const one of purchases) byDay.set(one.date, [...(byDay.get(one.date) ?? []), one]);
  return h(
    "ol",
    { class: "timeline", tabindex: 0, "aria-label": "Purchases, newest first" },
    ...[...byDay].map(([date, those]) =>
      h(
        "li",
        {},
        h("time", { datetime: date }, day(date), h("small", {}, ` ${plural(those[0].days_ago, "day")} earlier`)),
        h(
          "ul",
          {},
          ...those.map((one) =>
            h("li", { class: "bought" }, plate({ article_id: one.article_id, ...one.details }), h("span", {}, h("b", {}, nameOf(one.details)), h("small", {}, kindOf(one.details)))),
          ),
        ),
      ),
    ),
  );
}

const waiting = () => h("div", { class: "skeleton about-bones", "aria-hidden": "true" }, ...Array.from({ length: 7 }, () => h("p", { class: "bone line" })));
