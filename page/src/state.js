// What is looked at, in the hash of the address: a link shows the same again, from a file too.

/**
 * @typedef {object} State
 * @property {number} [t0] start of the brushed time, in ns from the first request
 * @property {number} [t1]
 * @property {number} [w0] least wall time, ns
 * @property {number} [w1]
 * @property {string} [verb]
 * @property {string} [resource]
 * @property {string} [namespace]
 * @property {string} [user_agent]
 * @property {string} [status]
 * @property {string} [q] words to look for
 * @property {string} [path] stack of the flame graph, as JSON
 * @property {string} [method]
 * @property {string} [r] the request that is shown: trace id, and a number if it has several
 * @property {string} [r2] the one beside it
 * @property {number} [span]
 * @property {number} [z0] zoom of the waterfall, ns
 * @property {number} [z1]
 * @property {string} [theme]
 * @property {string} [ask] what the receiver is asked for, as a query
 * @property {string} [to] the section
 */

const NUMBERS = new Set(["t0", "t1", "w0", "w1", "span", "z0", "z1"]);
const KEYS = new Set([...NUMBERS, "verb", "resource", "namespace", "user_agent", "status", "q", "path", "method", "r", "r2", "theme", "ask", "to"]);

export const FILTERS = /** @type {const} */ (["t0", "t1", "w0", "w1", "verb", "resource", "namespace", "user_agent", "status", "q", "path"]);

/** @param {string} hash @returns {State} */
export function parse(hash) {
  /** @type {Record<string, string | number>} */
  const state = {};
  const text = hash.replace(/^#/, "");
  if (text && !text.includes("=")) return { to: text };
  for (const [key, value] of new URLSearchParams(text)) {
    if (!KEYS.has(key)) continue;
    if (!NUMBERS.has(key)) state[key] = value;
    else if (Number.isFinite(Number(value))) state[key] = Number(value);
  }
  return state;
}

/** @param {State} state */
export function format(state) {
  const told = Object.entries(state).filter(([, value]) => value !== undefined && value !== "");
  return new URLSearchParams(told.map(([key, value]) => [key, String(value)])).toString();
}
