// Elements, built without HTML strings, so that an article's text always stays text.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {Element} element
 * @param {Record<string, any>} attributes `class`, `on…` (a listener), or any attribute; null, undefined and false
 *   are skipped
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(toNode));
  return element;
}

/** @param {Node | string | number} child */
const toNode = (child) => (child instanceof Node ? child : document.createTextNode(String(child)));

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...Child} children @returns {HTMLElement} */
export const h = (tag, attributes = {}, ...children) =>
  /** @type {HTMLElement} */ (fill(document.createElement(tag), attributes, children));

/** @param {string} tag @param {Record<string, any>} [attributes] @param {...Child} children @returns {SVGElement} */
export const s = (tag, attributes = {}, ...children) =>
  /** @type {SVGElement} */ (fill(document.createElementNS(SVG, tag), attributes, children));

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Announces a text to screen readers, and shows it for a moment if `visible`.
 * @param {string} text
 * @param {boolean} [visible]
 */
export function announce(text, visible = false) {
  byId("announcer").textContent = text;
  if (!visible) return;
  const toast = byId("toast");
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(Number(toast.dataset.timer));
  toast.dataset.timer = String(setTimeout(() => toast.classList.remove("shown"), 2600));
}

/** Debounces: calls `fn` once, `ms` after the last call.
 * @param {(...args: any[]) => void} fn
 * @param {number} ms
 */
export function later(fn, ms) {
  let timer = 0;
  return (/** @type {any[]} */ ...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn(...args), ms);
  };
}

const ICONS = {
  similar: "M4 5h9v11H4zM9 8h11v11H9z",
  basket: "M4 9h16l-2 10H6zM8 9l4-6 4 6",
  close: "M5 5l14 14M19 5L5 19",
  check: "M4 12l5 6L20 6",
  right: "M9 5l7 7-7 7",
  left: "M15 5l-7 7 7 7",
  copy: "M8 8h12v12H8zM4 16V4h12",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14A8 8 0 1110 4a6.5 6.5 0 0010 10z",
};

/** @param {keyof typeof ICONS} name */
export const icon = (name) =>
  s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, s("path", { d: ICONS[name] }));

/** An id for reading: H&M's customer ids, and others as long, are cut. @param {string} id @param {number} [length] */
export const shortId = (id, length = 10) => (id.length > 24 ? `${id.slice(0, length)}…` : id);

/** A part of the page's address, as it is if it was not encoded. @param {string} text */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {number} value */
export const count = (value) => value.toLocaleString("en");

/** @param {number | null} price in the unit of the data */
export const price = (price) => (price === null ? "–" : price.toFixed(4));

/** @param {string} iso */
export const day = (iso) =>
  new Date(`${iso}T12:00:00Z`).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
