// The line at the foot of the page: what was asked last, how long it took, and how to ask it from a shell.

import { curl, setKey, wire } from "./api.js";
import { announce, byId, h, icon } from "./dom.js";

/** @type {import("./api.js").Exchange | null} */
let last = null;

export function mountWire() {
  const toggle = byId("wire-toggle");
  toggle.addEventListener("click", () => {
    const open = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(open));
    byId("wire-more").hidden = !open;
    if (open) detail();
  });
  wire.addEventListener("exchange", (event) => {
    const exchange = /** @type {CustomEvent} */ (event).detail;
    // A recommendation is what one wants to see, not the look-ups that come with it.
    if (last?.path === "/recommend" && exchange.path.startsWith("/customers/")) return;
    last = exchange;
    const { method, path, status, ms } = exchange;
    byId("wire-line").replaceChildren(
      h("b", {}, method), ` ${path.length > 60 ? `${path.slice(0, 57)}…` : path} `,
      h("span", { class: status < 400 ? "good" : "bad" }, status), h("span", { class: "ms" }, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`),
    );
    if (!byId("wire-more").hidden) detail();
  });
  wire.addEventListener("key", (event) => askKey(/** @type {CustomEvent} */ (event).detail));
}

function detail() {
  if (!last) return;
  const command = curl(last);
  const copy = h("button", { type: "button", class: "quiet", onclick: () => copied(command) }, icon("copy"), "Copy curl");
  byId("wire-more").replaceChildren(
    h("div", { class: "wire-head" }, h("p", {}, `Answered in ${last.ms.toFixed(1)} ms, as this browser measured it, from the request to the first byte.`), copy),
    h("pre", { tabindex: 0, "aria-label": "The command" }, command),
  );
}

/** @param {string} command */
async function copied(command) {
  try {
    await navigator.clipboard.writeText(command);
    announce("Copied", true);
  } catch {
    // Without https a browser may have no clipboard: then it is selected, to be copied by hand.
    getSelection()?.selectAllChildren(byId("wire-more").querySelector("pre"));
    announce("Selected: copy it with your keyboard", true);
  }
}

/** @param {{resolve: () => void, refuse: () => void, wrong: boolean}} asked */
function askKey({ resolve, refuse, wrong }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("key"));
  byId("key-problem").textContent = wrong ? "That was not it." : "";
  dialog.returnValue = "";
  dialog.addEventListener(
    "close",
    () => {
      if (dialog.returnValue !== "given") return refuse();
      setKey(byId("key-input").value);
      byId("key-input").value = "";
      resolve();
    },
    { once: true },
  );
  dialog.showModal();
}
