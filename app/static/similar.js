// Similar articles in a dialog. The browser keeps the focus in it and returns it afterwards.

import { get, newest } from "./api.js";
import { articleDetails, basketButton, card, skeletons } from "./cards.js";
import { byId, h, icon } from "./dom.js";
import { isAbort, showProblem } from "./status.js";

const SHOWN = 12;
const next = newest();

/** @param {import("./store.js").Article} article */
export async function openSimilar(article) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("similar"));
  const list = h("ul", { class: "cards small", "aria-busy": "true" }, ...skeletons(SHOWN));
  const place = h("div", {}, list);
  dialog.replaceChildren(
    h("div", { class: "dialog-head" },
      h("h2", { id: "similar-title", tabindex: -1 }, "Similar articles"),
      h("button", { type: "button", class: "round", "aria-label": "Close", onclick: () => dialog.close() }, icon("close")),
    ),
    articleDetails(article, article.section, [basketButton(article)], article.description ?? "The catalogue has no description."),
    h("p", { class: "note" }, "Bought by the same people, whatever the name: the closest embeddings, by cosine similarity."),
    place,
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  byId("similar-title").focus();
  const load = async () => {
    try {
      const { similar } = await get(`/articles/${encodeURIComponent(article.article_id)}/similar?top_k=${SHOWN}`, { signal: next() });
      list.replaceChildren(...similar.map((/** @type {any} */ found) => card(found, { figures: [["cosine", found.cosine.toFixed(2)]] })));
      list.removeAttribute("aria-busy");
      place.replaceChildren(list);
    } catch (error) {
      if (!isAbort(error)) showProblem(place, error, load);
    }
  };
  await load();
}
