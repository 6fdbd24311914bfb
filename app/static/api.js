// The page's HTTP client. Every request is timed and reported as an event. An error has the service's reason.

const KEY = "api-key";
const RETRIES = 3; // of a request that a busy service rejected

export class ApiError extends Error {
  /** @param {number} status 0: no answer @param {string} detail @param {number} [retryAfter] seconds */
  constructor(status, detail, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * @typedef {object} Exchange
 * @property {string} method
 * @property {string} path
 * @property {any} body
 * @property {number} status
 * @property {number} ms
 * @property {boolean} keyed
 */

/** Dispatches "exchange" (`CustomEvent<Exchange>`) after every request, and "key" when a key is needed. */
export const wire = new EventTarget();

/** @param {string} key */
export const setKey = (key) => sessionStorage.setItem(KEY, key);
const headers = () => {
  const key = sessionStorage.getItem(KEY);
  return key === null ? {} : { "X-API-Key": key };
};
const hasKey = () => sessionStorage.getItem(KEY) !== null;

/** @type {Promise<void> | null} */
let asking = null;

/** Asks for the key, once for all requests that need it.
 * @returns {Promise<void>} resolved with a key, rejected without one
 */
function keyNeeded() {
  asking ??= /** @type {Promise<void>} */ (
    new Promise((resolve, reject) => {
      const refuse = () => reject(new ApiError(401, "Enter its key to use it."));
      wire.dispatchEvent(new CustomEvent("key", { detail: { resolve, refuse, wrong: hasKey() } }));
    })
  ).finally(() => (asking = null));
  return asking;
}

/** @param {number} seconds @param {AbortSignal} [signal] */
const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });

/**
 * @param {string} method
 * @param {string} path
 * @param {{body?: any, signal?: AbortSignal, quiet?: boolean}} [options] `quiet` dispatches no "exchange"
 * @returns {Promise<Response>}
 */
async function ask(method, path, { body, signal, quiet } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const start = performance.now();
    const keyed = hasKey();
    let response;
    try {
      response = await fetch(path, {
        method,
        signal,
        headers: { ...headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "The service does not answer.");
    }
    if (!quiet) {
      const detail = { method, path, body, status: response.status, ms: performance.now() - start, keyed };
      wire.dispatchEvent(new CustomEvent("exchange", { detail }));
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await keyNeeded();
      continue;
    }
    const retryAfter = Number(response.headers.get("Retry-After")) || 0;
    if (response.status === 503 && retryAfter && attempt < RETRIES) {
      await pause(retryAfter, signal);
      continue;
    }
    throw new ApiError(response.status, await reason(response), retryAfter);
  }
}

/** @param {Response} response */
async function reason(response) {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text);
    if (typeof detail === "string") return detail;
    return detail.map((/** @type {any} */ p) => `${p.loc.slice(1).join(".")}: ${p.msg}`).join("; ");
  } catch {
    return text.slice(0, 200) || `The service answered ${response.status}.`;
  }
}

/** @param {string} path @param {{signal?: AbortSignal, quiet?: boolean}} [options] @returns {Promise<any>} */
export const get = async (path, options) => (await ask("GET", path, options)).json();

/** @param {string} path @param {any} body @param {AbortSignal} [signal] @returns {Promise<any>} */
export const post = async (path, body, signal) => (await ask("POST", path, { body, signal })).json();

/** @param {string} path @returns {Promise<string>} */
export const words = async (path) => (await ask("GET", path, { quiet: true })).text();

/** @param {string} path @returns {Promise<ArrayBuffer>} */
export const bytes = async (path) => (await ask("GET", path)).arrayBuffer();

/** An address for `img`. With a key the picture is fetched here, because an `img` sends no key.
 * @param {string} path
 * @returns {Promise<string>}
 */
export async function picture(path) {
  if (!hasKey()) return path;
  const blob = await (await ask("GET", path, { quiet: true })).blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = reject;
    reader.readAsDataURL(blob);
  });
}

/** Returns a function that aborts its previous signal and returns a new one, so that only the newest request counts. */
export function newest() {
  let controller = new AbortController();
  return () => {
    controller.abort();
    controller = new AbortController();
    return controller.signal;
  };
}

/** The curl command of the same request. @param {Exchange} exchange */
export function curl({ method, path, body, keyed }) {
  const quoted = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = [`curl -s ${quoted(location.origin + path)}`];
  if (keyed) parts.push(`-H "X-API-Key: $HM_API_KEY"`);
  if (method === "POST") parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}
