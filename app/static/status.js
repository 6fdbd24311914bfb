// Messages in place of content: empty, unreachable, rejected. Each says what to do.

import { ApiError } from "./api.js";
import { h } from "./dom.js";

const WAIT = 5; // seconds until the next try, if the service names none

/** @param {string} title @param {...(Node | string)} text */
export const empty = (title, ...text) =>
  h("div", { class: "state" }, h("p", { class: "state-title" }, title), h("p", {}, ...text));

/** @param {unknown} error @returns {[string, string]} the problem, and what to do */
function explain(error) {
  if (!(error instanceof ApiError)) {
    console.error(error);
    return ["This page has a fault", "Reload it. The browser's console has the details."];
  }
  switch (error.status) {
    case 0:
      return ["The service does not answer", "Is it running? Start it with “make serve”, then try again."];
    case 401:
      return ["The service needs a key", error.message];
    case 404:
      return ["Not found", error.message];
    case 422:
      return ["The service did not understand", error.message];
    case 503:
      return error.retryAfter
        ? ["The service is busy", "It has too many requests at the moment. Try again in a second."]
        : ["There is no model yet", `${error.message[0]?.toUpperCase() ?? ""}${error.message.slice(1)}.`];
    case 504:
      return ["That took too long", "Ask for less, or try again."];
    default:
      return [`The service answered ${error.status}`, error.message];
  }
}

/** Shows an error in `place`, and retries by itself where waiting helps.
 * @param {HTMLElement} place
 * @param {unknown} error
 * @param {() => void} retry
 */
export function showProblem(place, error, retry) {
  const [title, text] = explain(error);
  const button = h("button", { type: "button", onclick: retry }, "Try again");
  const soon = h("span", { class: "soon" });
  place.replaceChildren(
    h("div", { class: "state problem", role: "alert" }, h("p", { class: "state-title" }, title), h("p", {}, text), h("p", {}, button, soon)),
  );
  if (error instanceof ApiError && (error.status === 503 || error.status === 0)) {
    let left = error.retryAfter || WAIT;
    const timer = setInterval(() => {
      if (!button.isConnected) return clearInterval(timer);
      left -= 1;
      soon.textContent = ` retries in ${left} s`;
      if (left <= 0) {
        clearInterval(timer);
        retry();
      }
    }, 1000);
  }
}

/** @param {unknown} error */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
