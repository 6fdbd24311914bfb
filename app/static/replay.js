// Was it right? Lists that were made before the test days, beside what was then bought.

import { get, newest } from "./api.js";
import { card, kindOf, nameOf, plate, skeletons } from "./cards.js";
import { announce, byId, count, day, h, icon, plural } from "./dom.js";
import { empty, isAbort, showProblem } from "./status.js";
import { store } from "./store.js";

const EARLIER = 10; // purchases that are shown
const next = newest();
/** @type {any} what GET /replay says */
let replay = null;
/** @type {number[]} of the customers that are leafed through */
let chosen = [];
let place = 0;

const body = () => byId("replay-body");

export function mountReplay() {
  byId("view-replay").replaceChildren(
    h(
      "div",
      { class: "stage full" },
      h("div", { class: "stage-head" }, h("h2", {}, "Was it right?"), h("p", { class: "lede" }, "A replay of the evaluation: lists that were made before the test days, beside what was then bought.")),
      h("div", { id: "replay-body" }, h("ul", { class: "cards small", "aria-busy": "true" }, ...skeletons(12))),
    ),
  );
}

export async function showReplay() {
  if (replay) return;
  try {
    if (!store.model.replay) return body().replaceChildren(empty("This model has no replay", "Publish one anew with “make run”."));
    replay = await get("/replay");
    frame();
    await choose("all");
  } catch (error) {
    showProblem(body(), error, showReplay);
  }
}

/** The model's list is the first. */
const names = () => replay.rankings;

/** @type {Record<string, [string, (one: any) => boolean]>} */
const GROUPS = {
  all: ["Everyone drawn", () => true],
  model: ["The model hit", (one) => one.hits[names()[0]] > 0],
  only: ["Only the model", (one) => one.hits[names()[0]] > 0 && !one.hits[names()[1]]],
  popular: ["Only best-sellers", (one) => !one.hits[names()[0]] && one.hits[names()[1]] > 0],
  neither: ["Neither hit", (one) => !one.hits[names()[0]] && !one.hits[names()[1]]],
};

function frame() {
  const { first_day, last_day, drawn_from, count: n } = replay;
  const draw = n < drawn_from ? `${count(n)} of the ${count(drawn_from)} customers who bought then, drawn at random, whatever came of it` : `all ${count(n)} customers who bought then`;
  const said = [
    `A model that had seen nothing from ${day(first_day)} on made its lists that morning, and so did its rivals. What people then bought until ${day(last_day)} says how right they were.`,
    `Below are ${draw}.`,
    "The model that is served now was then trained on those days too: asked about them it would remember, not predict. So these lists are not its own.",
    ...("oracle" in store.model.metrics ? ["The oracle is no rival: it knows the probabilities that this synthetic data was drawn from."] : []),
  ];
  body().replaceChildren(
    h("div", { class: "verdict" }, h("div", { class: "said" }, ...said.map((text) => h("p", {}, text))), scores()),
    h(
      "div",
      { class: "chips wide", role: "group", "aria-label": "Which customers" },
      ...Object.entries(GROUPS).map(([key, [label, fits]]) =>
        h("button", { type: "button", class: "chip", "data-group": key, "aria-pressed": "false", onclick: () => choose(key) }, label, h("b", {}, count(replay.customers.filter(fits).length))),
      ),
    ),
    h("div", { class: "leaf" }, turn(-1, "left", "Previous customer"), h("p", { id: "replay-who", "aria-live": "polite" }), turn(1, "right", "Next customer")),
    h("div", { id: "replay-one" }),
  );
}

/** @param {number} by @param {"left" | "right"} arrow @param {string} label */
const turn = (by, arrow, label) =>
  h("button", { type: "button", class: "round", "aria-label": label, onclick: () => { place = (place + by + chosen.length) % Math.max(chosen.length, 1); showOne(); } }, icon(arrow));

/** The held-out test's means, as bars with their intervals. */
function scores() {
  const rows = Object.entries(store.model.metrics)
    .filter(([, figures]) => figures["MAP@12"]?.mean !== null)
    .sort(([, a], [, b]) => b["MAP@12"].mean - a["MAP@12"].mean);
  const most = Math.max(...rows.map(([, figures]) => figures["MAP@12"].high ?? figures["MAP@12"].mean), 1e-9);
  const cell = (/** @type {any} */ figure) => (figure?.mean === null || figure === undefined ? "–" : figure.mean.toFixed(4));
  return h(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": "The evaluation’s table" },
    h(
      "table",
      {},
      h("caption", {}, `All ${count(store.model.tested_customers ?? 0)} customers of the test, the whole catalogue ranked. Bars are MAP@12 with its 95 % interval.`),
      h("thead", {}, h("tr", {}, ...["Ranking", "MAP@12", "", "recall@12", "recall@100"].map((text) => h("th", { scope: "col" }, text || h("span", { class: "hidden" }, "Bar"))))),
      h(
        "tbody",
        {},
        ...rows.map(([name, figures]) => {
          const { mean, low, high } = figures["MAP@12"];
          const bar = h("span", { class: "bar" }, h("i", {}), low !== null && h("em", {}));
          bar.style.setProperty("--mean", `${(100 * mean) / most}%`);
          bar.style.setProperty("--low", `${(100 * (low ?? mean)) / most}%`);
          bar.style.setProperty("--high", `${(100 * (high ?? mean)) / most}%`);
          return h("tr", { class: names().includes(name) ? "ours" : "" }, h("th", { scope: "row" }, name), h("td", {}, cell(figures["MAP@12"])), h("td", { class: "bars" }, bar), h("td", {}, cell(figures["recall@12"])), h("td", {}, cell(figures["recall@100"])));
        }),
      ),
    ),
  );
}

/** @param {string} key of GROUPS */
async function choose(key) {
  chosen = replay.customers.filter(GROUPS[key][1]).map((/** @type {any} */ one) => one.number);
  place = 0;
  for (const chip of body().querySelectorAll("[data-group]")) chip.setAttribute("aria-pressed", String(chip.dataset.group === key));
  await showOne();
}

async function showOne() {
  const one = byId("replay-one");
  if (!chosen.length) {
    byId("replay-who").textContent = "";
    return one.replaceChildren(empty("Nobody", "No customer of the draw is of this kind."));
  }
  try {
    const found = await get(`/replay/${chosen[place]}`, { signal: next() });
    byId("replay-who").replaceChildren(
      h("b", {}, `${count(place + 1)} of ${count(chosen.length)}`),
      ` · customer ${found.customer_id.slice(0, 10)}… · ${found.purchases_before ? plural(found.purchases_before, "earlier purchase") : "had never bought"} · then bought ${plural(found.bought, "article")}`,
    );
    one.replaceChildren(
      h(
        "div",
        { class: "replay" },
        h("section", { class: "column" }, h("h3", {}, "They had bought"), found.before.length ? h("ul", { class: "basket" }, ...found.before.slice(0, EARLIER).map((/** @type {any} */ one) => row(one.article, day(one.date)))) : empty("Nothing", "A customer of whom only attributes are known."), found.purchases_before > EARLIER && h("p", { class: "hint" }, `and ${count(found.purchases_before - EARLIER)} before`)),
        ...found.lists.map((list, at) => column(list, at)),
        h("section", { class: "column" }, h("h3", {}, "They then bought"), h("ul", { class: "basket" }, ...found.then_bought.map((article) => row(article, found.lists.map((list) => rankIn(list, article)).join(" · "), found.lists.some((list) => list.articles.some((s) => s.article.article_id === article.article_id)))))),
      ),
    );
  } catch (error) {
    if (!isAbort(error)) showProblem(one, error, showOne);
  }
}

/** @param {any} list @param {any} article */
function rankIn(list, article) {
  const hit = list.articles.find((/** @type {any} */ one) => one.article.article_id === article.article_id);
  return `${short(list.ranking)}: ${hit ? `place ${hit.rank}` : "not in 12"}`;
}

/** @param {string} name */
const short = (name) => (name === names()[0] ? "model" : "best-sellers");

/** @param {any} article @param {string} under @param {boolean} [hit] */
const row = (article, under, hit = false) =>
  h("li", { class: hit ? "bought hit" : "bought" }, plate(article), h("span", {}, h("b", {}, nameOf(article)), h("small", {}, kindOf(article)), h("small", {}, under)));

/** @param {any} list @param {number} at */
function column(list, at) {
  const hits = list.articles.filter((/** @type {any} */ one) => one.hit).length;
  return h(
    "section",
    { class: "column lists" },
    h("h3", {}, at ? "Best-sellers showed" : "The model showed"),
    h("p", { class: "hint" }, `${list.ranking} · ${plural(hits, "hit")} · AP@12 ${list.average_precision.toFixed(3)}`),
    h(
      "ol",
      { class: "cards tiny" },
      ...list.articles.map((/** @type {any} */ { rank, hit, bought_before: again, article }) => {
        const marks = /** @type {[string, string][]} */ ([hit && ["hit", "Bought it"], again && ["again", "Again"]].filter(Boolean));
        const one = card(article, { rank, marks, actions: false });
        if (hit) one.classList.add("was-hit");
        return one;
      }),
    ),
  );
}
