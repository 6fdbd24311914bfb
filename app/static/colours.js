// The catalogue's colour names as colours, and contrasting colours to draw on them.

/** @type {Record<string, string>} by colour group, lower case */
const COLOURS = {
  black: "#232326", white: "#fbfaf7", "off white": "#f1ebdf", "light beige": "#e6d8c3", beige: "#d0b894",
  "dark beige": "#b0936c", "greyish beige": "#bcb0a0", "yellowish brown": "#94714a", "greenish khaki": "#7b7a52",
  silver: "#c3c6cb", gold: "#c9a552", "bronze/copper": "#aa6a43", "light grey": "#d2d2d0", grey: "#9b9c9d",
  "dark grey": "#56585b", "light yellow": "#f4e7a4", yellow: "#ecc94a", "dark yellow": "#c99b2e",
  "other yellow": "#e9d26a", "light orange": "#f3c39b", orange: "#e58a47", "dark orange": "#c0602e",
  "other orange": "#ec9f66", "light red": "#e58078", red: "#c23534", "dark red": "#802330", "other red": "#cf5149",
  "light pink": "#f3cfd1", pink: "#e39cab", "dark pink": "#c4587a", "other pink": "#e7aebf",
  "light purple": "#cfc0e0", purple: "#9176b2", "dark purple": "#56406d", "other purple": "#a88cc4",
  "light blue": "#b6cee3", blue: "#5585b8", "dark blue": "#283a5e", "other blue": "#7099c4",
  "light turquoise": "#b2dcd9", turquoise: "#5cb0ad", "dark turquoise": "#2d6f74", "other turquoise": "#83c4c0",
  "light green": "#bcd6b3", green: "#6f9f68", "dark green": "#34503f", "other green": "#93b982",
  transparent: "#e4eef1", other: "#b9a8a0", unknown: "#c4beb6", undefined: "#c4beb6",
};

/** @param {string | null} name @returns {string} six hexadecimal digits */
export const colourOf = (name) => COLOURS[(name ?? "unknown").toLowerCase()] ?? COLOURS.unknown;

/** @param {string} hex @returns {number[]} */
const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** @param {string} hex @returns {number} perceived, 0 black to 1 white */
export const lightness = (hex) => {
  const [r, g, b] = channels(hex);
  return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
};

/** @param {string} hex @param {string} other @param {number} share of the other */
export const mix = (hex, other, share) => {
  const [a, b] = [channels(hex), channels(other)];
  return `#${a.map((x, i) => Math.round(x + (b[i] - x) * share).toString(16).padStart(2, "0")).join("")}`;
};

/** A colour to draw on `hex`: lighter on dark, darker on light.
 * @param {string} hex
 * @param {number} strength 0 to 1
 */
export const over = (hex, strength) => mix(hex, lightness(hex) < 0.45 ? "#ffffff" : "#1b1512", strength);
