// Articles as cards and as short labels; placeholders for cards that are still loading.

import { picture } from "./api.js";
import { colourOf } from "./colours.js";
import { announce, h, icon, price } from "./dom.js";
import { garment } from "./garments.js";
import { empty } from "./status.js";
import { changes, store, toggle } from "./store.js";

/** @typedef {import("./store.js").Article} Article */

/**
 * @typedef {object} Extras
 * @property {number} [rank]
 * @property {[string, string][]} [figures] names and values, beside the price
 * @property {[string, string][]} [marks] class and text
 * @property {string[]} [because] names of articles
 * @property {boolean} [actions]
 * @property {string} [move] change of the rank
 */

/** The article's photo if it has one, else a drawing. @param {Article} article */
export function plate(article) {
  const element = h("span", { class: "plate" }, garment(article));
  element.style.setProperty("--tint", colourOf(article.colour_group));
  if (store.model?.images) {
    const img = h("img", { alt: "", loading: "lazy", decoding: "async", width: 300, height: 360 });
    // The drawing stays where an article has no photo.
    img.addEventListener("load", () => element.classList.add("has-photo"));
    img.addEventListener("error", () => img.remove());
    element.append(img);
    picture(`/images/${encodeURIComponent(article.article_id)}`).then((address) => img.setAttribute("src", address), () => img.remove());
  }
  return element;
}

/** @param {Article} article */
export const kindOf = (article) => [article.product_type, article.colour_group].filter(Boolean).join(" · ");

/** @param {Article} article */
export const nameOf = (article) => article.name ?? article.article_id;

/** An article of an answer that has its details apart.
 * @param {{article_id: string, details: any}} item
 * @returns {Article}
 */
export const articleOf = ({ article_id, details }) => ({ article_id, ...details });

/** Picture, name, type and colour, and further lines.
 * @param {Article} article
 * @param {...string} lines
 */
export const label = (article, ...lines) => [
  plate(article),
  h("span", {}, h("b", {}, nameOf(article)), ...[kindOf(article), ...lines].map((text) => h("small", {}, text))),
];

/** A click handler that requests similar articles; main.js opens them. @param {Article} article */
export const requestSimilar = (article) => (/** @type {Event} */ event) =>
  event.currentTarget?.dispatchEvent(new CustomEvent("similar", { bubbles: true, detail: article }));

/** @param {Article} article @param {Extras} [extras] */
export function card(article, { rank, figures = [], marks = [], because = [], actions = true, move } = {}) {
  const name = nameOf(article);
  return h("li", { class: "card", "data-article": article.article_id },
    h("article", { "aria-label": rank === undefined ? name : `${rank}. ${name}` },
      h("div", { class: "card-top" },
        plate(article),
        rank !== undefined && h("span", { class: "rank", "aria-hidden": "true" }, rank),
        move && h("span", { class: "move" }, move),
        marks.length > 0 && h("ul", { class: "marks", "aria-label": "Marks" }, ...marks.map(([kind, text]) => h("li", { class: `mark ${kind}` }, text))),
      ),
      h("h3", { class: "card-name" }, name),
      h("p", { class: "card-kind" }, kindOf(article)),
      h("dl", { class: "figures" },
        ...[["price", price(article.price)], ...figures].map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
      ),
      because.length > 0 && h("p", { class: "because" }, h("span", {}, "because of "), because.join(", ")),
      actions && buttons(article),
    ),
  );
}

/** Names of articles with their colours, each name once.
 * @param {Article[]} articles
 */
function namesOf(articles) {
  /** @type {Map<string, Set<string>>} */
  const colours = new Map();
  for (const article of articles) {
    const name = nameOf(article);
    const known = colours.get(name) ?? new Set();
    colours.set(name, article.colour_group ? known.add(article.colour_group) : known);
  }
  return [...colours].map(([name, known]) => (known.size ? `${name} in ${[...known].join(" and ")}` : name));
}

/** A recommendation of an answer, with its reasons.
 * @param {any} item with details and reasons
 * @param {Map<string, Article>} known the articles that may be reasons
 * @param {Extras} [extras]
 */
export const recommendationCard = (item, known, { marks = [], move } = {}) =>
  card(articleOf(item), {
    rank: item.rank,
    figures: [["score", item.score.toFixed(2)]],
    marks: item.details.new_in_shop ? [...marks, ["fresh", "New in shop"]] : marks,
    because: [
      ...(item.reasons.includes(item.article_id) ? ["an earlier purchase"] : []),
      ...namesOf(item.reasons.filter((/** @type {string} */ id) => id !== item.article_id).map((/** @type {string} */ id) => known.get(id)).filter(Boolean)),
    ],
    move,
  });

/** All of one article: picture, facts, `text` if there is one, and buttons.
 * @param {Article} article
 * @param {string | null} part of the shop
 * @param {Node[]} actions
 * @param {string} [text]
 */
export const articleDetails = (article, part, actions, text) =>
  h("div", { class: "about" },
    plate(article),
    h("div", {},
      h("p", { class: "about-name" }, nameOf(article)),
      h("p", { class: "card-kind" }, [kindOf(article), article.appearance, part].filter(Boolean).join(" · ")),
      text !== undefined && h("p", { class: "about-text" }, text),
      h("p", { class: "card-kind" }, `Article ${article.article_id} · price ${price(article.price)}`),
      h("div", { class: "card-actions" }, ...actions),
    ),
  );

/** @param {Article} article */
function buttons(article) {
  const name = nameOf(article);
  return h("div", { class: "card-actions" },
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": `Similar to ${name}`,
        onclick: requestSimilar(article),
      },
      icon("similar"),
      "Similar",
    ),
    basketButton(article),
  );
}

/** @param {Article} article */
export function basketButton(article) {
  const name = nameOf(article);
  const button = h("button", {
    type: "button",
    class: "quiet in-basket",
    onclick: () => announce(toggle(article) ? `${name} is in the visitor's basket` : `${name} is out of the basket`, true),
  });
  const show = () => {
    const inside = store.basket.has(article.article_id);
    button.setAttribute("aria-pressed", String(inside));
    button.setAttribute("aria-label", `Basket: ${name}`);
    button.replaceChildren(icon(inside ? "check" : "basket"), inside ? "In basket" : "Basket");
  };
  show();
  // Until its card has left the page.
  const listen = () => (button.isConnected ? show() : changes.removeEventListener("basket", listen));
  changes.addEventListener("basket", listen);
  return button;
}

/** Placeholders of the same size, for `n` cards that are loading. @param {number} n */
export const skeletons = (n) =>
  Array.from({ length: n }, () =>
    h("li", { class: "card skeleton", "aria-hidden": "true" },
      h("div", { class: "card-top" }, h("span", { class: "plate" })),
      ...["name", "kind", "line", "line"].map((part) => h("p", { class: `bone ${part}` })),
    ),
  );

/** Shows cards in `place`. Cards that were there move to their new position, unless reduced motion is preferred.
 * @param {HTMLElement} place
 * @param {HTMLElement[]} cards
 */
export function showCards(place, cards) {
  if (!cards.length) return place.replaceChildren(empty("Nothing fits", "No article fits every filter. Take one away."));
  const list = /** @type {HTMLElement} */ (place.querySelector("ul.cards") ?? h("ul", { class: "cards" }));
  list.removeAttribute("aria-busy");
  if (!list.isConnected || place.children.length !== 1) place.replaceChildren(list);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  /** @type {Map<string, DOMRect>} */
  const before = new Map();
  if (!still) {
    for (const old of list.querySelectorAll(":scope > .card[data-article]")) {
      before.set(/** @type {HTMLElement} */ (old).dataset.article ?? "", old.getBoundingClientRect());
    }
  }
  list.replaceChildren(...cards);
  if (!before.size) return;
  for (const next of cards) {
    const was = before.get(next.dataset.article ?? "");
    const is = next.getBoundingClientRect();
    const timing = { duration: 320, easing: "cubic-bezier(.2,.7,.2,1)" };
    if (was) next.animate([{ transform: `translate(${was.x - is.x}px,${was.y - is.y}px)` }, { transform: "none" }], timing);
    else next.animate([{ opacity: 0, transform: "scale(.96)" }, { opacity: 1, transform: "none" }], timing);
  }
}
