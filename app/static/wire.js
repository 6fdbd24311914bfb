// The line at the foot of the page: the last request, its time, and its curl command.

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
    // A recommendation stays visible: the lookups that follow it do not replace it.
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
  const copy = h("button", { type: "button", class: "quiet", onclick: () => copyText(command) }, icon("copy"), "Copy curl");
  byId("wire-more").replaceChildren(
    h("div", { class: "wire-head" }, h("p", {}, `Answered in ${last.ms.toFixed(1)} ms, measured by this browser from the request to the first byte.`), copy),
    h("pre", { tabindex: 0, "aria-label": "The command" }, command),
  );
}

/** @param {string} command */
async function copyText(command) {
  try {
    await navigator.clipboard.writeText(command);
    announce("Copied", true);
  } catch {
    // Without https a browser may have no clipboard. The command is then selected, to be copied by hand.
    getSelection()?.selectAllChildren(byId("wire-more").querySelector("pre"));
    announce("Selected: copy it with your keyboard", true);
  }
}

/** @param {{resolve: () => void, refuse: () => void, wrong: boolean}} request */
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
