// The catalogue's graphical appearances as SVG fills of a garment.

import { s } from "./dom.js";
import { mix, over } from "./colours.js";

/** A repeated tile: its size, its rotation, and its elements.
 * @typedef {(base: string) => {w: number, h?: number, turn?: number, on: SVGElement[]}} Tile
 */

/** @param {string} d @param {string} colour @param {number} width @param {number} [opacity] */
const line = (d, colour, width, opacity = 1) =>
  s("path", { d, fill: "none", stroke: colour, "stroke-width": width, "stroke-opacity": opacity });
/** @param {string} d @param {string} colour @param {number} [opacity] */
const shape = (d, colour, opacity = 1) => s("path", { d, fill: colour, "fill-opacity": opacity });
/** @param {number} cx @param {number} cy @param {number} r @param {string} fill */
const dot = (cx, cy, r, fill) => s("circle", { cx, cy, r, fill });

/** @type {Record<string, Tile>} */
const TILES = {
  stripe: (base) => ({ w: 8, on: [shape("M0 0h8v3H0z", over(base, 0.55))] }),
  dot: (base) => ({ w: 11, turn: 45, on: [dot(5.5, 5.5, 1.9, over(base, 0.7))] }),
  check: (base) => ({
    w: 14,
    on: [
      shape("M0 0h5v14H0z", over(base, 0.5), 0.5),
      shape("M0 0h14v5H0z", over(base, 0.5), 0.5),
      line("M9.5 0v14M0 9.5h14", over(base, 0.7), 0.5, 0.7),
    ],
  }),
  melange: (base) => ({
    w: 9,
    on: [
      line("M1 1l1 2M5 2l.8 2M3 5l1 1.8M7 6l.8 2M1 7l.6 1.4", over(base, 0.45), 0.55, 0.7),
      line("M3 1.5l.6 1M7.6 3l.6 1.2M5.4 7l.5 1", mix(base, "#ffffff", 0.6), 0.5, 0.8),
    ],
  }),
  denim: (base) => ({ w: 2.6, turn: -32, on: [line("M.6 0v2.6", over(base, 0.4), 0.5, 0.55)] }),
  "all over pattern": (base) => ({
    w: 18,
    h: 20,
    turn: 12,
    on: [
      shape("M5 2q3 2 0 6q-3-4 0-6zM2 7q3.4-1 5 2q-3.6 1-5-2z", over(base, 0.62)),
      dot(13, 5, 1.2, over(base, 0.4)),
      shape("M13 11q3 2 0 6q-3-4 0-6zM15.5 14q-3.2-1-4.6 1.6q3.2 1.4 4.6-1.6z", over(base, 0.5)),
      dot(5, 15, 1.5, over(base, 0.7)),
    ],
  }),
  lace: (base) => ({
    w: 9,
    on: [
      s("circle", { cx: 4.5, cy: 4.5, r: 2.7, fill: "none", stroke: over(base, 0.5), "stroke-width": 0.7 }),
      dot(4.5, 4.5, 0.9, over(base, 0.6)),
      dot(0, 0, 1, over(base, 0.4)), dot(9, 0, 1, over(base, 0.4)), dot(0, 9, 1, over(base, 0.4)), dot(9, 9, 1, over(base, 0.4)),
    ],
  }),
  jacquard: (base) => ({ w: 10, on: [shape("M5 .8L9.2 5L5 9.2L.8 5z", over(base, 0.28)), dot(5, 5, 1.2, over(base, 0.6))] }),
  argyle: (base) => ({
    w: 18, h: 26,
    on: [shape("M9 0l9 13l-9 13l-9-13z", over(base, 0.4), 0.7), line("M0 0l18 26M18 0L0 26", over(base, 0.75), 0.6)],
  }),
  mesh: (base) => ({ w: 3.6, turn: 45, on: [line("M0 0h3.6M0 0v3.6", over(base, 0.5), 0.7, 0.7)] }),
  structure: (base) => ({ w: 3.4, on: [line("M.8 0v3.4", over(base, 0.3), 0.8, 0.7)] }),
  zigzag: (base) => ({ w: 10, h: 8, on: [line("M0 6L5 1.5L10 6", over(base, 0.6), 1.5)] }),
  sequin: (base) => ({
    w: 5, turn: 45,
    on: [dot(2.5, 2.5, 1.9, mix(base, "#ffffff", 0.4)), dot(2, 2, 0.7, "#ffffff")],
  }),
};

/** @type {Record<string, string>} appearances that look like another */
const LIKE = {
  chambray: "denim", neps: "melange", slub: "melange", "other structure": "structure", treatment: "structure",
  "other pattern": "zigzag", "mixed solid/pattern": "all over pattern", transparent: "mesh",
};

/** @type {Record<string, string>} a motif in the middle, by appearance */
const MOTIFS = {
  "front print": "print", "placement print": "print", embroidery: "flower", "application/3d": "flower",
};
const SHINY = new Set(["glittering/metallic", "metallic", "hologram", "sequin"]);
const HALVED = new Set(["colour blocking", "contrast"]);

/**
 * @param {string} appearance
 * @param {string} base the garment's colour
 * @param {string} id unique on the page
 * @returns {{defs: SVGElement[], layers: string[]}} fills of the shape, bottom first
 */
export function filling(appearance, base, id) {
  const name = appearance.toLowerCase();
  const tile = TILES[LIKE[name] ?? name];
  const defs = [];
  const layers = [base];
  if (HALVED.has(name)) {
    const stops = [[0, base], [0.46, base], [0.46, over(base, 0.42)], [1, over(base, 0.42)]];
    defs.push(gradient(`${id}h`, stops, 90));
    layers.push(`url(#${id}h)`);
  }
  if (tile) {
    const { w, h = w, turn = 0, on } = tile(base);
    defs.push(s("pattern", { id: `${id}p`, width: w, height: h, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${turn})` }, ...on));
    layers.push(`url(#${id}p)`);
  }
  if (SHINY.has(name)) {
    const light = mix(base, "#ffffff", 0.75);
    const shades = [[0, mix(base, "#000000", 0.15)], [0.3, light], [0.48, base], [0.66, light], [1, mix(base, "#000000", 0.2)]];
    defs.push(gradient(`${id}g`, shades, 25, name === "sequin" ? 0.45 : 0.85));
    layers.push(`url(#${id}g)`);
  }
  return { defs, layers };
}

/** @param {string} id @param {any[][]} stops @param {number} turn @param {number} [opacity] */
const gradient = (id, stops, turn, opacity = 1) =>
  s("linearGradient", { id, gradientTransform: `rotate(${turn} .5 .5)` },
    ...stops.map(([offset, colour]) => s("stop", { offset, "stop-color": colour, "stop-opacity": opacity })),
  );

/** A motif on the chest, for appearances that have one.
 * @param {string} appearance
 * @param {string} base
 * @returns {SVGElement[]}
 */
export function motif(appearance, base) {
  const ink = over(base, 0.7);
  const kind = MOTIFS[appearance.toLowerCase()];
  if (kind === "print") {
    return [dot(50, 58, 10, over(base, 0.5)), shape("M40 58a10 10 0 0020 0z", ink), line("M38 74h24M42 79h16", ink, 1.6)];
  }
  if (kind === "flower") {
    const petals = [0, 72, 144, 216, 288].map((turn) =>
      s("ellipse", { cx: 50, cy: 53.5, rx: 2.6, ry: 4.6, fill: over(base, 0.55), transform: `rotate(${turn} 50 59)` }),
    );
    return [line("M50 62q-2 9-9 12M50 66q3 5 7 6", ink, 1), ...petals, dot(50, 59, 2.2, ink)];
  }
  return [];
}
