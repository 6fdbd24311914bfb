// An article as a card; lists of cards, with places kept for those that are still on their way.

import { picture } from "./api.js";
import { colourOf } from "./colours.js";
import { announce, h, icon, price } from "./dom.js";
import { garment } from "./garments.js";
import { changes, store, toggle } from "./store.js";

/** @typedef {import("./store.js").Article} Article */

/**
 * @typedef {object} Extras
 * @property {number} [rank]
 * @property {[string, string][]} [figures] name and value, beside the price
 * @property {[string, string][]} [marks] class and text
 * @property {string[]} [because] names
 * @property {boolean} [actions]
 * @property {string} [move] how the rank changed
 */

/** The drawing, or the photo if there is one.
 * @param {Article} article
 */
export function plate(article) {
  const element = h("span", { class: "plate" }, garment(article));
  element.style.setProperty("--tint", colourOf(article.colour_group));
  if (store.model?.images) {
    const img = h("img", { alt: "", loading: "lazy", decoding: "async", width: 300, height: 360 });
    // Not every article has a photo: the drawing stays where there is none.
    img.addEventListener("load", () => element.classList.add("has-photo"));
    img.addEventListener("error", () => img.remove());
    element.append(img);
    picture(`/images/${article.article_id}`).then((address) => img.setAttribute("src", address), () => img.remove());
  }
  return element;
}

/** @param {Article} article */
export const kindOf = (article) => [article.product_type, article.colour_group].filter(Boolean).join(" · ");

/** @param {Article} article */
export const nameOf = (article) => article.name ?? "Without a name";

/**
 * @param {Article} article
 * @param {Extras} [extras]
 */
export function card(article, { rank, figures = [], marks = [], because = [], actions = true, move } = {}) {
  const name = nameOf(article);
  return h(
    "li",
    { class: "card", "data-article": article.article_id },
    h(
      "article",
      { "aria-label": rank === undefined ? name : `${rank}. ${name}` },
      h(
        "div",
        { class: "card-top" },
        plate(article),
        rank !== undefined && h("span", { class: "rank", "aria-hidden": "true" }, rank),
        move && h("span", { class: "move" }, move),
        marks.length > 0 && h("ul", { class: "marks", "aria-label": "Marks" }, ...marks.map(([kind, text]) => h("li", { class: `mark ${kind}` }, text))),
      ),
      h("h3", { class: "card-name" }, name),
      h("p", { class: "card-kind" }, kindOf(article)),
      h(
        "dl",
        { class: "figures" },
        ...[["price", price(article.price)], ...figures].map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
      ),
      because.length > 0 && h("p", { class: "because" }, h("span", {}, "because of "), because.join(", ")),
      actions && buttons(article),
    ),
  );
}

/** @param {Article} article */
function buttons(article) {
  const name = nameOf(article);
  return h(
    "div",
    { class: "card-actions" },
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": `Similar to ${name}`,
        onclick: async () => (await import("./similar.js")).openSimilar(article),
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
  // Until it has gone from the page with its card.
  const listen = () => (button.isConnected ? show() : changes.removeEventListener("basket", listen));
  changes.addEventListener("basket", listen);
  return button;
}

/** As many empty cards as are on their way, of the same size.
 * @param {number} n
 */
export const skeletons = (n) =>
  Array.from({ length: n }, () =>
    h(
      "li",
      { class: "card skeleton", "aria-hidden": "true" },
      h("div", { class: "card-top" }, h("span", { class: "plate" })),
      ...["name", "kind", "line", "line"].map((part) => h("p", { class: `bone ${part}` })),
    ),
  );

/** Puts new cards in the place of old ones; those that stay move over, unless motion is unwelcome.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} cards
 */
export function exchange(list, cards) {
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
