// The replay view: rankings made before the test days, compared with the purchases in those days.

import { get, newest } from "./api.js";
import { card, label, skeletons } from "./cards.js";
import { announce, byId, count, day, h, icon, plural, shortId } from "./dom.js";
import { empty, isAbort, showProblem } from "./status.js";
import { store } from "./store.js";

const EARLIER = 10; // earlier purchases shown
const next = newest();
/** @type {any} the answer of GET /replay */
let replay = null;
/** @type {number[]} numbers of the customers to page through */
let chosen = [];
let place = 0;

const body = () => byId("replay-body");

export function mountReplay() {
  byId("view-replay").replaceChildren(
    h("div", { class: "stage full" },
      h("div", { class: "stage-head" }, h("h2", {}, "Was it right?"), h("p", { class: "lede" }, "A replay of the evaluation: rankings made before the test days, compared with what was then bought.")),
      h("div", { id: "replay-body" }, h("ul", { class: "cards small", "aria-busy": "true" }, ...skeletons(12))),
    ),
  );
}

export async function showReplay() {
  if (replay) return;
  try {
    if (!store.model.replay) return body().replaceChildren(empty("This model has no replay", "Publish a new model with “make run”."));
    replay = await get("/replay");
    frame();
    await choose(members("differ").length ? "differ" : "all");
  } catch (error) {
    showProblem(body(), error, showReplay);
  }
}

/** Names of the rankings, the model's first. */
const names = () => replay.rankings;

/** @type {Record<string, [string, (model: number, popular: number) => boolean]>} by the hits of both rankings */
const GROUPS = {
  all: ["Everyone drawn", () => true],
  differ: ["Different hits", (model, popular) => model !== popular],
  model: ["The model hit", (model) => model > 0],
  only: ["Only the model", (model, popular) => model > 0 && !popular],
  popular: ["Only best-sellers", (model, popular) => !model && popular > 0],
  neither: ["Neither hit", (model, popular) => !model && !popular],
};

/** @param {string} group */
const members = (group) =>
  replay.customers.filter((/** @type {any} */ { hits }) => GROUPS[group][1](hits[names()[0]], hits[names()[1]]));

function frame() {
  const { first_day, last_day, drawn_from, count: n } = replay;
  const draw = n < drawn_from ? `${count(n)} of the ${count(drawn_from)} customers who bought then, drawn at random, whatever the result` : `all ${count(n)} customers who bought then`;
  const intro = [
    `A model without any data from ${day(first_day)} on made its rankings that morning, and so did the baselines. The purchases until ${day(last_day)} show how right they were.`,
    `Below are ${draw}.`,
    "The served model was then trained on those days too, so it would remember them, not predict them. These rankings are from before that training.",
    ...(store.model.verdict ? [`${store.model.verdict.reason}.`, ...store.model.verdict.against] : []),
    ...("oracle" in store.model.metrics ? ["The oracle is no baseline: it knows the probabilities that this synthetic data was drawn from."] : []),
  ];
  body().replaceChildren(
    h("div", { class: "verdict" }, h("div", { class: "intro" }, ...intro.map((text) => h("p", {}, text))), scores()),
    h("div", { class: "chips wide", role: "group", "aria-label": "Which customers" },
      ...Object.entries(GROUPS).map(([key, [title]]) =>
        h("button", { type: "button", class: "chip", "data-group": key, "aria-pressed": "false", onclick: () => choose(key) }, title, h("b", {}, count(members(key).length))),
      ),
    ),
    h("div", { class: "leaf" },
      turn(-1, "left", "Previous customer"), h("p", { id: "replay-who", "aria-live": "polite" }), turn(1, "right", "Next customer"),
      h("p", { id: "replay-totals", class: "hint" }, totals()),
    ),
    h("div", { id: "replay-one", tabindex: -1 }),
  );
}

/** The hits of both rankings over all customers drawn. */
function totals() {
  const [model, popular] = names().map((/** @type {string} */ name) => {
    const hits = replay.customers.map((/** @type {any} */ customer) => customer.hits[name]);
    return `${plural(hits.reduce((/** @type {number} */ sum, /** @type {number} */ n) => sum + n, 0), "hit")} at ${plural(hits.filter(Boolean).length, "customer")}`;
  });
  return `All ${count(replay.count)} drawn: the model ${model}, best-sellers ${popular}`;
}

/** @param {number} by @param {"left" | "right"} arrow @param {string} title */
const turn = (by, arrow, title) =>
  h("button", { type: "button", class: "round", "aria-label": title, onclick: () => { place = (place + by + chosen.length) % Math.max(chosen.length, 1); showOne(); } }, icon(arrow));

/** The held-out test's means, as bars with intervals. */
function scores() {
  const rows = Object.entries(store.model.metrics)
    .filter(([, figures]) => figures["MAP@12"]?.mean !== null)
    .sort(([, a], [, b]) => b["MAP@12"].mean - a["MAP@12"].mean);
  const most = Math.max(...rows.map(([, figures]) => figures["MAP@12"].high ?? figures["MAP@12"].mean), 1e-9);
  const cell = (/** @type {any} */ figure) => (figure?.mean === null || figure === undefined ? "–" : figure.mean.toFixed(4));
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "The evaluation’s table" },
    h("table", {},
      h("caption", {}, `All ${count(store.model.tested_customers ?? 0)} customers of the test, the whole catalogue ranked.`, h("span", { class: "bars-note" }, " Bars are MAP@12 with its 95 % interval.")),
      h("thead", {}, h("tr", {}, ...["Ranking", "MAP@12", "", "recall@12", "recall@100"].map((text) => h("th", { scope: "col" }, text || h("span", { class: "hidden" }, "Bar"))))),
      h("tbody", {},
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
  chosen = members(key).map((/** @type {any} */ customer) => customer.number);
  place = 0;
  for (const chip of body().querySelectorAll("[data-group]")) chip.setAttribute("aria-pressed", String(chip.dataset.group === key));
  await showOne();
}

async function showOne() {
  const panel = byId("replay-one");
  if (!chosen.length) {
    byId("replay-who").textContent = "";
    return panel.replaceChildren(empty("Nobody", "No drawn customer is in this group."));
  }
  try {
    const customer = await get(`/replay/${chosen[place]}`, { signal: next() });
    byId("replay-who").replaceChildren(
      h("b", {}, `${count(place + 1)} of ${count(chosen.length)}`),
      ` · customer ${shortId(customer.customer_id)} · ${customer.purchases_before ? plural(customer.purchases_before, "earlier purchase") : "had never bought"} · then bought ${plural(customer.bought, "article")}`,
    );
    panel.replaceChildren(
      h("div", { class: "replay" },
        h("section", { class: "column" }, h("h3", {}, "They had bought"), customer.before.length ? h("ul", {}, ...customer.before.slice(0, EARLIER).map((/** @type {any} */ { article, date }) => row(article, day(date)))) : empty("Nothing", "Only the customer’s attributes are known."), customer.purchases_before > EARLIER && h("p", { class: "hint" }, `and ${count(customer.purchases_before - EARLIER)} before`)),
        ...customer.lists.map(column),
        h("section", { class: "column" }, h("h3", {}, "They then bought"), h("ul", {}, ...customer.then_bought.map((/** @type {any} */ article) => row(article, customer.lists.map((/** @type {any} */ ranking) => rankText(ranking, article)).join(" · "), customer.lists.some((/** @type {any} */ ranking) => find(ranking, article)))))),
      ),
    );
  } catch (error) {
    if (!isAbort(error)) showProblem(panel, error, showOne);
  }
}

/** @param {any} ranking @param {any} article */
const find = (ranking, { article_id: id }) => ranking.articles.find((/** @type {any} */ { article }) => article.article_id === id);

/** @param {any} ranking @param {any} article */
function rankText(ranking, article) {
  const hit = find(ranking, article);
  return `${ranking.ranking === names()[0] ? "model" : "best-sellers"}: ${hit ? `rank ${hit.rank}` : "not in 12"}`;
}

/** @param {any} article @param {string} line @param {boolean} [hit] */
const row = (article, line, hit = false) => h("li", { class: hit ? "bought hit" : "bought" }, ...label(article, line));

/** @param {any} ranking @param {number} at */
function column(ranking, at) {
  const hits = ranking.articles.filter((/** @type {any} */ { hit }) => hit).length;
  return h("section", { class: "column ranking" },
    h("h3", {}, at ? "Best-sellers showed" : "The model showed"),
    h("p", { class: "hint" }, `${ranking.ranking} · ${plural(hits, "hit")} · AP@12 ${ranking.average_precision.toFixed(3)}`),
    h("ol", { class: "cards tiny" },
      ...ranking.articles.map((/** @type {any} */ { rank, hit, bought_before: again, article }) => {
        const marks = /** @type {[string, string][]} */ ([hit && ["hit", "Bought it"], again && ["again", "Again"]].filter(Boolean));
        const element = card(article, { rank, marks, actions: false });
        if (hit) element.classList.add("was-hit");
        return element;
      }),
    ),
  );
}
