// The page's frame: the address after the # selects the view; tabs, theme and dialogs are shared by all views.

import { get, words } from "./api.js";
import { mountCustomer, pick, showCustomer } from "./customer.js";
import { announce, byId, count, day, decoded, h, icon, plural } from "./dom.js";
import { mountReplay, showReplay } from "./replay.js";
import { showProblem } from "./status.js";
import { changes, store } from "./store.js";
import { mountVisitor, showVisitor } from "./visitor.js";
import { mountWire } from "./wire.js";

const VIEWS = ["customer", "visitor", "replay", "map"];
const TITLES = { customer: "A customer", visitor: "A visitor", replay: "Was it right?", map: "The map" };
const DAY = 86_400_000;

/** @returns {{view: string, value: string}} view and value in the address */
function address() {
  const [view, value = ""] = location.hash.slice(1).split("=");
  return VIEWS.includes(view) ? { view, value } : { view: "customer", value: "" };
}

const goTo = (/** @type {string} */ id) => (location.hash = `customer=${encodeURIComponent(id)}`);

async function route() {
  const { view, value } = address();
  document.title = `${TITLES[/** @type {keyof typeof TITLES} */ (view)]} · H&M Two-Tower`;
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    byId(`view-${name}`).hidden = name !== view;
  }
  if (view === "customer") {
    const id = decoded(value);
    if (id) return id === store.customerId && byId("customer-about").querySelector(".who") ? undefined : showCustomer(id);
    return store.customerId ? goTo(store.customerId) : pick("frequent", (id) => (location.replace(`#customer=${encodeURIComponent(id)}`)));
  }
  if (view === "visitor") return showVisitor(value);
  if (view === "replay") return showReplay();
  const map = await import("./map.js");
  await map.showMap();
  if (store.recommended.length) return;
  // No view was open before: mark the articles of a frequent customer.
  await pick("frequent", showCustomer);
  if (address().view === "map") map.refresh();
}

const visitorAddress = () => (store.basket.size ? `visitor=${[...store.basket.keys()].map(encodeURIComponent).join(",")}` : "visitor");

function tabs() {
  const all = VIEWS.map((name) => byId(`tab-${name}`));
  all.forEach((tab, at) => {
    tab.addEventListener("click", () => {
      const view = VIEWS[at];
      location.hash = view === "customer" && store.customerId ? `customer=${encodeURIComponent(store.customerId)}` : view === "visitor" ? visitorAddress() : view;
    });
    tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      all[to % all.length].focus();
      all[to % all.length].click();
    });
  });
}

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme");
  const chosen = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const show = () => {
    const other = chosen() === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${other} theme`);
    button.replaceChildren(icon(other === "dark" ? "moon" : "sun"));
    changes.dispatchEvent(new Event("theme"));
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = chosen() === "dark" ? "light" : "dark";
    localStorage.setItem("theme", chosen());
    show();
  });
  dark.addEventListener("change", show);
  show();
}

/** @param {string | null} published */
function age(published) {
  if (!published) return null;
  const ago = Date.now() - Date.parse(published);
  const units = /** @type {[number, string][]} */ ([[DAY, "day"], [DAY / 24, "hour"], [DAY / 1440, "minute"]]);
  const [length, unit] = units.find(([length]) => ago >= length) ?? units[2];
  return `published ${plural(Math.floor(ago / length), unit)} ago`;
}

function about() {
  const { version, published, data_until, counts, trained_on } = store.model;
  byId("trained-on").textContent = trained_on;
  byId("about").replaceChildren(
    ...[`Data until ${day(data_until)}`, age(published), `${count(counts.purchases)} purchases`]
      .filter(Boolean)
      .map((text) => h("span", {}, text)),
    h("span", { class: "version", title: version }, version.split("-").pop()),
  );
}

function countBasket() {
  const n = store.basket.size;
  byId("basket-count").textContent = n ? String(n) : "";
  byId("tab-visitor").setAttribute("aria-label", n ? `A visitor, ${plural(n, "article")} in the basket` : "A visitor");
  if (address().view === "visitor") history.replaceState(null, "", `#${visitorAddress()}`);
}

async function start() {
  const problem = byId("problem");
  try {
    store.model = await get("/model", { quiet: true });
  } catch (error) {
    byId("views").hidden = true;
    return showProblem(problem, error, start);
  }
  if (byId("views").hidden) announce("The service answers again");
  byId("views").hidden = false;
  problem.replaceChildren();
  about();
  await route();
}

tabs();
theme();
/** The part of each view behind its controls. */
const BEHIND = { customer: "customer-list", visitor: "visitor-list", replay: "replay-one", map: "map-marks" };
/** @param {string} link @param {() => string} target */
const skip = (link, target) =>
  byId(link).addEventListener("click", (/** @type {Event} */ event) => {
    event.preventDefault(); // the address after the # belongs to the views
    byId(target())?.focus();
  });
skip("skip", () => "views");
skip("skip-filters", () => BEHIND[/** @type {keyof typeof BEHIND} */ (address().view)]);
byId("how-open").addEventListener("click", () => byId("how").showModal());
byId("card").addEventListener("toggle", async () => {
  const text = byId("card-text");
  if (text.textContent) return;
  try {
    text.textContent = await words("/model/card");
  } catch (error) {
    text.textContent = /** @type {Error} */ (error).message;
  }
});
mountWire();
mountCustomer(goTo);
mountVisitor();
mountReplay();
for (const name of ["basket", "basket-count"]) changes.addEventListener(name, countBasket);
document.addEventListener("similar", async (event) => (await import("./similar.js")).openSimilar(/** @type {CustomEvent} */ (event).detail));
addEventListener("hashchange", () => store.model && route());
start();
