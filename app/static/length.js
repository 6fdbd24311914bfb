// How many recommendations are shown: ten at first, and more on request.

import { h, plural } from "./dom.js";

export const FIRST = 10;
const STEP = 20;
const MOST = 100; // of one request: the service's limit

/** @param {() => void} changed */
export function listLength(changed) {
  const button = h("button", { type: "button", class: "chip", hidden: true, onclick: () => { length.wanted = Math.min(length.wanted + STEP, MOST); changed(); } });
  const note = h("p", { class: "hint", hidden: true }, `A request returns ${MOST} at most.`);
  const length = {
    element: h("div", { class: "more" }, button, note),
    wanted: FIRST,
    /** Says how much is shown, and offers more.
     * @param {number} shown
     * @param {number} total articles that were ranked
     * @param {boolean} filtered
     */
    tell(shown, total, filtered) {
      const more = Math.min(total, MOST) - shown;
      button.hidden = more <= 0;
      button.textContent = `Show ${Math.min(more, STEP)} more`;
      note.hidden = more > 0 || shown === total;
      const all = `${plural(total, "article")}${filtered ? " that fit" : ""}`;
      if (!total) return "";
      return shown < total ? `The first ${shown} of ${all}` : `All ${all}`;
    },
  };
  return length;
}
