// The map view: every article as a point, articles bought by the same people close together.

import { bytes, get } from "./api.js";
import { articleDetails, basketButton, kindOf, nameOf, requestSimilar } from "./cards.js";
import { announce, byId, count, h, later, price } from "./dom.js";
import { EXTENT, finder, painter, unpack } from "./mapdraw.js";
import { empty, showProblem } from "./status.js";
import { changes, store } from "./store.js";

const MAX_ZOOM = 60; // relative to the whole map
const REACH = 16; // pixels from a point that still select it
const MAX_BOUGHT = 30; // latest purchases marked
const STEP = 70; // pixels per arrow key

/** @type {import("./mapdraw.js").Points} */
let points;
/** @type {import("./mapdraw.js").Painter} */
let paint;
/** @type {ReturnType<typeof finder>} */
let find;
/** @type {Map<string, number>} */
let rows;
const view = { x: EXTENT / 2, y: EXTENT / 2, k: 0.01 };
let fit = 0.01;
let ratio = 1;
let waiting = false;
const inks = { ink: "", paper: "", accent: "", onAccent: "" };
/** @type {Map<string, any>} */
const articles = new Map();
/** @type {{i: number, kind: "bought" | "shown", label: string}[]} */
let marks = [];
let pinned = -1;

const canvas = () => /** @type {HTMLCanvasElement} */ (byId("map-points"));
const over = () => /** @type {HTMLCanvasElement} */ (byId("map-marks"));

export async function showMap() {
  const place = byId("view-map");
  if (points) return refresh();
  if (!store.model.map) return place.replaceChildren(empty("This model has no map", "Publish a new model with “make run”."));
  try {
    points = unpack(await bytes("/map"));
    find = finder(points);
    rows = new Map(points.ids.map((id, i) => [id, i]));
    place.replaceChildren(frame());
    paint = painter(canvas(), points);
    canvas().dataset.painter = paint.name;
    listen();
    new ResizeObserver(measure).observe(byId("map-stage"));
    changes.addEventListener("theme", () => (colour(), draw()));
    measure();
    refresh();
  } catch (error) {
    showProblem(place, error, showMap);
  }
}

function frame() {
  const keys = "Drag or use the arrow keys to move. Scroll, pinch or press + and − to zoom, 0 for the whole map. Enter names the article in the middle.";
  return h("div", { class: "stage full map" },
    h("div", { class: "stage-head" }, h("h2", {}, "The map of articles"), h("p", { class: "lede", id: "map-intro" }, `${count(points.n)} articles by their embeddings, projected onto a plane. Articles bought by the same people lie close together; long distances mean little.`)),
    h("div", { class: "map-body" },
      h("div", {},
        h("div", { id: "map-stage" },
          h("canvas", { id: "map-points", "aria-hidden": "true" }),
          h("canvas", { id: "map-marks", tabindex: 0, role: "application", "aria-label": "Map of the articles", "aria-describedby": "map-intro map-keys" }),
          h("div", { id: "map-cross", "aria-hidden": "true" }),
          h("div", { id: "map-tip", hidden: true }),
          h("div", { class: "map-buttons" },
            ...[["+", "Zoom in", 1.6], ["−", "Zoom out", 1 / 1.6]].map(([text, label, by]) => h("button", { type: "button", class: "round", "aria-label": label, onclick: () => zoom(Number(by)) }, text)),
            h("button", { type: "button", class: "round", "aria-label": "The whole map", onclick: whole }, "0"),
          ),
        ),
        h("p", { class: "hint", id: "map-keys" }, keys),
      ),
      h("div", { class: "map-side" },
        h("ul", { class: "legend", "aria-label": "Colours" }, ...points.groups.map((name, i) => h("li", {}, swatch(i), name))),
        h("div", { id: "map-marked" }),
        h("div", { id: "map-named" }),
      ),
    ),
  );
}

/** @param {number} i */
function swatch(i) {
  const element = h("i", {});
  element.style.background = `var(--group-${Math.min(i, 14)}, var(--group-none))`;
  return element;
}

/** Resolves the theme's colours: a custom property with light-dark() would be returned as text. */
function colour() {
  const probe = h("span", { hidden: true });
  byId("map-stage").append(probe);
  const resolved = (/** @type {string} */ value) => {
    probe.style.color = value;
    return getComputedStyle(probe).color;
  };
  const rgb = (/** @type {string} */ value) => (resolved(value).match(/[\d.]+/g) ?? ["0", "0", "0"]).slice(0, 3).map(Number);
  paint.colours([...Array(15).keys(), "none"].map((i) => rgb(`var(--group-${i}, var(--group-none))`)));
  [inks.ink, inks.paper, inks.accent, inks.onAccent] = ["--ink", "--paper", "--accent", "--on-accent"].map((name) => resolved(`var(${name})`));
  probe.remove();
}

/** Adapts to the size of the stage. */
function measure() {
  const { clientWidth: w, clientHeight: h } = byId("map-stage");
  if (!w || !h) return;
  ratio = Math.min(devicePixelRatio || 1, 2);
  for (const layer of [canvas(), over()]) [layer.width, layer.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  const first = fit === 0.01;
  const zoomed = view.k / fit;
  fit = (Math.min(w, h) * 0.94) / EXTENT;
  view.k = first ? fit : fit * zoomed;
  paint.resize(canvas().width, canvas().height);
  colour();
  draw();
}

/** Draws at most once per frame. */
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const wide = Math.min(9, (points.n > 30_000 ? 1.7 : 3.2) * (view.k / fit) ** 0.4) * ratio;
    paint.draw({ ...view, k: view.k * ratio }, wide);
    drawMarks();
    if (pinned >= 0) placeTip(pinned);
  });
}

/** @param {number} i @returns {[number, number]} position on the stage */
const onScreen = (i) => [
  (points.x[i] - view.x) * view.k + over().width / ratio / 2,
  (points.y[i] - view.y) * view.k + over().height / ratio / 2,
];

function drawMarks() {
  const context = /** @type {CanvasRenderingContext2D} */ (over().getContext("2d"));
  const { ink, paper, accent, onAccent } = inks;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, over().width, over().height);
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const { i, kind, label } of marks) {
    const [x, y] = onScreen(i);
    context.beginPath();
    if (kind === "bought") context.rect(x - 4.5, y - 4.5, 9, 9);
    else context.arc(x, y, 9.5, 0, 2 * Math.PI);
    context.fillStyle = kind === "bought" ? paper : accent;
    context.strokeStyle = kind === "bought" ? ink : paper;
    context.lineWidth = kind === "bought" ? 2.5 : 1.5;
    context.fill();
    context.stroke();
    if (kind === "bought") continue;
    context.fillStyle = onAccent;
    context.fillText(label, x, y + 0.5);
  }
  if (pinned < 0) return;
  const [x, y] = onScreen(pinned);
  context.beginPath();
  context.arc(x, y, 13, 0, 2 * Math.PI);
  context.strokeStyle = ink;
  context.lineWidth = 2;
  context.stroke();
}

/** Marks the current articles of the customer or visitor. */
export function refresh() {
  if (!points) return;
  const row = (/** @type {any} */ article) => rows.get(article.article_id) ?? -1;
  const bought = store.purchases.slice(0, MAX_BOUGHT).map((article) => ({ i: row(article), kind: /** @type {const} */ ("bought"), label: "", article }));
  const shown = store.recommended.map((article, at) => ({ i: row(article), kind: /** @type {const} */ ("shown"), label: String(at + 1), article }));
  const all = [...bought, ...shown].filter(({ i }) => i >= 0);
  for (const { article } of all) articles.set(article.article_id, article);
  marks = all;
  const who = store.who === "visitor" ? "the visitor" : "the customer";
  const list = (/** @type {string} */ title, /** @type {string} */ kind) => {
    const marked = all.filter((mark) => mark.kind === kind);
    return marked.length === 0 ? [] : [
      h("h3", {}, h("i", { class: `sign ${kind}`, "aria-hidden": "true" }), title),
      h("ul", { class: "marked" }, ...marked.map(({ i, article, label }) => h("li", {}, h("button", { type: "button", class: "link", onclick: () => focusOn(i) }, label && `${label}. `, [nameOf(article), article.colour_group].filter(Boolean).join(", "))))),
    ];
  };
  byId("map-marked").replaceChildren(
    ...list(`Recommended to ${who}`, "shown"),
    ...list(store.who === "visitor" ? "In the basket" : "Bought before", "bought"),
    ...(all.length ? [] : [empty("No customer yet", "Open a customer or fill a basket to mark their articles here.")]),
  );
  draw();
}

/** @param {number} i */
function focusOn(i) {
  [view.x, view.y, view.k] = [points.x[i], points.y[i], Math.max(view.k, fit * 5)];
  name(i, true);
  draw();
}

/** @param {number} by @param {number} [px] fixed point of the zoom on the stage @param {number} [py] */
function zoom(by, px = over().clientWidth / 2, py = over().clientHeight / 2) {
  const k = Math.min(Math.max(view.k * by, fit * 0.7), fit * MAX_ZOOM);
  const [dx, dy] = [px - over().clientWidth / 2, py - over().clientHeight / 2];
  view.x += dx / view.k - dx / k;
  view.y += dy / view.k - dy / k;
  view.k = k;
  draw();
}

/** @param {number} dx pixels @param {number} dy */
function move(dx, dy) {
  view.x = Math.min(Math.max(view.x - dx / view.k, 0), EXTENT);
  view.y = Math.min(Math.max(view.y - dy / view.k, 0), EXTENT);
  draw();
}

function whole() {
  [view.x, view.y, view.k] = [EXTENT / 2, EXTENT / 2, fit];
  draw();
}

/** @param {number} px @param {number} py @returns {number} the point at a position of the stage, -1 for none */
function at(px, py) {
  const x = (px - over().clientWidth / 2) / view.k + view.x;
  const y = (py - over().clientHeight / 2) / view.k + view.y;
  const marked = marks.find(({ i }) => Math.hypot(onScreen(i)[0] - px, onScreen(i)[1] - py) < 10);
  return marked ? marked.i : find(x, y, REACH / view.k);
}

/** @param {number} i */
function placeTip(i) {
  const [x, y] = onScreen(i);
  const tip = byId("map-tip");
  const left = Math.min(Math.max(x, 90), over().clientWidth - 90);
  tip.style.transform = `translate(calc(${left}px - 50%), ${y < 90 ? y + 16 : y - 16}px) translateY(${y < 90 ? 0 : -100}%)`;
}

/** Shows which article a point is.
 * @param {number} i
 * @param {boolean} [chosen] whether it was clicked, not only pointed at
 */
async function name(i, chosen = false) {
  pinned = i;
  const id = points.ids[i];
  const tip = byId("map-tip");
  try {
    if (!articles.has(id)) articles.set(id, await get(`/articles/${encodeURIComponent(id)}`, { quiet: !chosen }));
  } catch {
    return hide();
  }
  if (pinned !== i) return;
  const article = articles.get(id);
  tip.replaceChildren(h("b", {}, nameOf(article)), h("span", {}, kindOf(article)));
  tip.hidden = false;
  draw();
  if (!chosen) return;
  announce(`${nameOf(article)}, ${kindOf(article)}`);
  const similar = h("button", { type: "button", class: "quiet", onclick: requestSimilar(article) }, "Similar");
  byId("map-named").replaceChildren(articleDetails(article, article.index_group, [similar, basketButton(article)]));
}

function hide() {
  pinned = -1;
  byId("map-tip").hidden = true;
  draw();
}

function listen() {
  const stage = over();
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let moved = 0;
  const place = (/** @type {PointerEvent | WheelEvent} */ event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.x, y: event.clientY - box.y };
  };
  const hover = later((/** @type {number} */ i) => (i < 0 ? hide() : name(i)), 60);

  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    moved = 0;
  });
  stage.addEventListener("pointermove", (event) => {
    const is = place(event);
    const was = fingers.get(event.pointerId);
    if (!was) {
      const i = at(is.x, is.y);
      if (i !== pinned) hover(i);
      return;
    }
    moved += Math.hypot(is.x - was.x, is.y - was.y);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const spread = Math.hypot(was.x - other.x, was.y - other.y);
      if (spread > 1) zoom(Math.hypot(is.x - other.x, is.y - other.y) / spread, (is.x + other.x) / 2, (is.y + other.y) / 2);
    }
    move((is.x - was.x) / fingers.size, (is.y - was.y) / fingers.size);
    fingers.set(event.pointerId, is);
  });
  const up = (/** @type {PointerEvent} */ event) => {
    if (!fingers.delete(event.pointerId) || moved > 6 || event.type === "pointercancel") return;
    const { x, y } = place(event);
    const i = at(x, y);
    if (i >= 0) name(i, true);
  };
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", up);
  stage.addEventListener("pointerleave", () => hover(-1));
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const { x, y } = place(event);
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : event.ctrlKey ? 0.01 : 0.0018)), x, y);
    },
    { passive: false },
  );
  stage.addEventListener("keydown", (event) => {
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => move(STEP, 0), ArrowRight: () => move(-STEP, 0), ArrowUp: () => move(0, STEP), ArrowDown: () => move(0, -STEP),
      "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: whole,
      Enter: () => {
        const i = find(view.x, view.y, EXTENT);
        if (i >= 0) name(i, true);
      },
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
}
