// Draws 100,000 points 60 times a second: with WebGL on a graphics card, else with the pixel loop below, which is
// several times faster than software WebGL.

/**
 * @typedef {object} Points
 * @property {number} n
 * @property {string[]} groups
 * @property {string[]} ids
 * @property {Uint16Array} x
 * @property {Uint16Array} y
 * @property {Uint8Array} group
 */
/** Centre in the map's units, and screen pixels a unit. @typedef {{x: number, y: number, k: number}} View */
/** @typedef {{resize(w: number, h: number): void, colours(rgb: number[][]): void, draw(view: View, size: number): void, name: string}} Painter */

export const EXTENT = 65535;

/** Reads the answer of GET /map; see hm_utils/serving/article_map.py for the format.
 * @param {ArrayBuffer} buffer
 * @returns {Points}
 */
export function unpack(buffer) {
  const [n, length] = new Uint32Array(buffer, 0, 2);
  const { groups, ids: others } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  let at = 8 + length;
  const take = (/** @type {any} */ Kind) => {
    const values = new Kind(buffer, at, n);
    at += n * Kind.BYTES_PER_ELEMENT;
    return values;
  };
  const ids = others ?? tenDigits(take(Uint32Array), take(Uint16Array));
  const [x, y, group] = [take(Uint16Array), take(Uint16Array), take(Uint8Array)];
  return { n, groups, ids, x, y, group };
}

/** @param {Uint32Array} product @param {Uint16Array} variant @returns {string[]} ids with leading zeros */
const tenDigits = (product, variant) => Array.from(product, (p, i) => String(p * 1000 + variant[i]).padStart(10, "0"));

/** Finds the point nearest to a place, with the points sorted into the cells of a grid. @param {Points} points */
export function finder({ n, x, y }) {
  const SHIFT = 9; // cells of 512 units: 128 a side
  const SIDE = 128;
  const starts = new Uint32Array(SIDE * SIDE + 1);
  const cell = (/** @type {number} */ i) => (y[i] >> SHIFT) * SIDE + (x[i] >> SHIFT);
  for (let i = 0; i < n; i += 1) starts[cell(i) + 1] += 1;
  for (let c = 0; c < SIDE * SIDE; c += 1) starts[c + 1] += starts[c];
  const order = new Uint32Array(n);
  const next = starts.slice();
  for (let i = 0; i < n; i += 1) order[next[cell(i)]++] = i;
  /**
   * @param {number} px @param {number} py @param {number} within units
   * @returns {number} the point's index, -1 without one
   */
  return (px, py, within) => {
    let best = -1;
    let least = within * within;
    const reach = Math.ceil(within / (1 << SHIFT));
    const [cx, cy] = [px >> SHIFT, py >> SHIFT];
    for (let row = Math.max(0, cy - reach); row <= Math.min(SIDE - 1, cy + reach); row += 1) {
      for (let c = Math.max(0, cx - reach); c <= Math.min(SIDE - 1, cx + reach); c += 1) {
        for (let at = starts[row * SIDE + c]; at < starts[row * SIDE + c + 1]; at += 1) {
          const i = order[at];
          const d = (x[i] - px) ** 2 + (y[i] - py) ** 2;
          if (d < least) [best, least] = [i, d];
        }
      }
    }
    return best;
  };
}

const VERTEX = `
attribute float x, y, group;
uniform vec2 centre, scale;
uniform float size;
uniform vec3 palette[16];
varying vec3 colour;
varying float wide;
void main() {
  wide = size;
  gl_Position = vec4((x - centre.x) * scale.x, (centre.y - y) * scale.y, 0., 1.);
  gl_PointSize = size;
  colour = palette[int(min(group, 15.))];
}`;
const FRAGMENT = `
precision mediump float;
varying vec3 colour;
varying float wide;
void main() {
  float d = distance(gl_PointCoord, vec2(.5)) * wide;
  float a = clamp(wide * .5 - d + .5, 0., 1.);
  gl_FragColor = vec4(colour * a, a);
}`;

/** Whether WebGL has a graphics card. Tested on another canvas, because a canvas keeps its first kind of context. */
function accelerated() {
  const gl = document.createElement("canvas").getContext("webgl", { failIfMajorPerformanceCaveat: true });
  const info = gl?.getExtension("WEBGL_debug_renderer_info");
  const name = gl && info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return gl !== null && !/swiftshader|llvmpipe|software|basic render/i.test(name);
}

/** @param {HTMLCanvasElement} canvas @param {Points} points @returns {Painter} */
function webgl(canvas, points) {
  const gl = /** @type {WebGLRenderingContext} */ (canvas.getContext("webgl", { antialias: false, depth: false }));
  const program = /** @type {WebGLProgram} */ (gl.createProgram());
  for (const [kind, source] of /** @type {[number, string][]} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
    const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "no shaders");
  gl.useProgram(program);
  for (const [name, data, kind] of /** @type {[string, any, number][]} */ ([["x", points.x, gl.UNSIGNED_SHORT], ["y", points.y, gl.UNSIGNED_SHORT], ["group", points.group, gl.UNSIGNED_BYTE]])) {
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    const place = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 1, kind, false, 0, 0);
  }
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const uniform = (/** @type {string} */ name) => gl.getUniformLocation(program, name);
  const [centre, scale, size, palette] = ["centre", "scale", "size", "palette"].map(uniform);
  return {
    name: "webgl",
    resize: (w, h) => gl.viewport(0, 0, w, h),
    colours: (rgb) => gl.uniform3fv(palette, new Float32Array(sixteen(rgb).flat().map((c) => c / 255))),
    draw(view, wide) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(centre, view.x, view.y);
      gl.uniform2f(scale, (2 * view.k) / canvas.width, (2 * view.k) / canvas.height);
      gl.uniform1f(size, wide);
      gl.drawArrays(gl.POINTS, 0, points.n);
    },
  };
}

/** @param {number[][]} rgb @returns {number[][]} with the last colour, for articles without a group, at the end */
const sixteen = (rgb) => Array.from({ length: 16 }, (_, i) => (i < 15 && rgb[i]) || rgb[rgb.length - 1]);

/** @param {HTMLCanvasElement} canvas @param {Points} points @returns {Painter} */
function pixels(canvas, { n, x, y, group }) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {ImageData} */
  let image;
  /** @type {Uint32Array} */
  let out;
  const palette = new Uint32Array(256);
  return {
    name: "pixels",
    resize(w, h) {
      image = context.createImageData(Math.max(w, 1), Math.max(h, 1));
      out = new Uint32Array(image.data.buffer);
    },
    colours(rgb) {
      const all = sixteen(rgb).map(([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
      for (let i = 0; i < 256; i += 1) palette[i] = all[Math.min(i, 15)];
    },
    draw(view, wide) {
      const { width, height } = image;
      const side = Math.max(1, Math.round(wide));
      /** @type {number[]} the pixels of a dot, from its upper left */
      const dot = [];
      for (let j = 0; j < side; j += 1) {
        for (let i = 0; i < side; i += 1) {
          const r = (side - 1) / 2;
          if (side < 4 || (i - r) ** 2 + (j - r) ** 2 <= (r + 0.2) ** 2) dot.push(j * width + i);
        }
      }
      out.fill(0);
      const [left, top] = [width / 2 - view.x * view.k - side / 2, height / 2 - view.y * view.k - side / 2];
      const [right, bottom] = [width - side, height - side];
      for (let i = 0; i < n; i += 1) {
        const px = (x[i] * view.k + left) | 0;
        const py = (y[i] * view.k + top) | 0;
        if (px < 0 || py < 0 || px > right || py > bottom) continue;
        const at = py * width + px;
        const colour = palette[group[i]];
        for (let d = 0; d < dot.length; d += 1) out[at + dot[d]] = colour;
      }
      context.putImageData(image, 0, 0);
    },
  };
}

/** @param {HTMLCanvasElement} canvas @param {Points} points @param {boolean} [card] @returns {Painter} */
export const painter = (canvas, points, card = accelerated()) => (card ? webgl : pixels)(canvas, points);
