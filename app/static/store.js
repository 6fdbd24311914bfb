// State that the views share: the model, the shown customer, and the visitor's basket.

/**
 * @typedef {object} Details
 * @property {string | null} name
 * @property {string | null} index_group
 * @property {string | null} product_group
 * @property {string | null} product_type
 * @property {string | null} colour_group
 * @property {string | null} section
 * @property {string | null} appearance
 * @property {string | null} department
 * @property {string | null} description
 * @property {number | null} price
 * @property {boolean} new_in_shop
 */
/** @typedef {Details & {article_id: string}} Article */

export const MAX_BASKET = 20; // the user tower's default history length

export const store = {
  /** @type {any} the answer of GET /model */
  model: null,
  /** @type {string | null} */
  customerId: null,
  /** @type {Article[]} of the view shown last: the customer's purchases or the basket */
  purchases: [],
  /** @type {Article[]} */
  recommended: [],
  /** @type {"customer" | "visitor"} */
  who: "customer",
  /** @type {Map<string, Article>} newest last */
  basket: new Map(),
};

/** Dispatches "basket", "basket-count" and "theme" when they change. */
export const changes = new EventTarget();

/** @param {Article} article @returns {boolean} whether it is in the basket now */
export function toggle(article) {
  if (store.basket.delete(article.article_id)) {
    changes.dispatchEvent(new Event("basket"));
    return false;
  }
  if (store.basket.size >= MAX_BASKET) store.basket.delete([...store.basket.keys()][0]);
  store.basket.set(article.article_id, article);
  changes.dispatchEvent(new Event("basket"));
  return true;
}
