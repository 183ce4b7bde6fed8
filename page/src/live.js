// The page while it is served: what the receiver says of itself, what is asked of it, and traces that are not held here.
import { unpack } from "./data.js";
import { h, legend, bar, table, time } from "./dom.js";
import { format, parse } from "./state.js";
import { count, duration, number, whole } from "./words.js";

const REQUESTS_MS = 5_000;
const NOW_MS = 2_000;

/** @param {string} path */
async function get(path) {
  const answer = await fetch(path, { credentials: "omit", cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300).trim() || `HTTP ${answer.status}`);
  return answer;
}
/** @param {string} path */
const packed = async (path) => unpack(new Uint8Array(await (await get(path)).arrayBuffer()));

/** @param {string} id */
export const trace = (id) => packed(`trace?${new URLSearchParams({ id })}`);

/**
 * @typedef {object} Now
 * @property {boolean} ready
 * @property {string[]} about
 * @property {number} spans_per_s
 * @property {number} requests_per_s
 * @property {number} spans
 * @property {number} requests
 * @property {number} held_spans
 * @property {number} recent_s
 * @property {number} wall_ns
 * @property {number | null} p50_ns
 * @property {number | null} p99_ns
 * @property {[string, number, string][]} components name, ns, colour
 * @property {[string, string, number, number | null, number | null, number, [string, number, string][]][]} groups
 * @property {Record<string, number>} lacks
 */

const FIELDS = /** @type {const} */ ([
  ["verb", "verb", "list"], ["resource", "resource", "pods"], ["namespace", "namespace", "shop"], ["status", "status", "5xx"],
  ["slower_ms", "slower than, ms", "100"], ["minutes", "last minutes", "15"], ["where", "condition", "user_agent~kubelet"], ["trace", "trace id", "4bf92f…"],
]);

/** @param {HTMLElement} root @param {typeof import("./main.js").mount} mount */
export function live(root, mount) {
  let query = parse(location.hash).ask ?? "";
  let follows = !query;
  let stop = new AbortController();
  const told = h("p", { class: "faint", role: "status" });
  const now = h("div", {});
  const inputs = FIELDS.map(([name, text, example]) => ({ name, input: h("input", { name, placeholder: example, "aria-label": text, autocomplete: "off", spellcheck: "false" }), text }));
  const stored = h("input", { type: "checkbox", name: "stored", value: "1" });
  const follow = h("button", { type: "button", onclick: () => { follows = !follows; pressed(); if (follows) void load(); } }, "follow");
  const pressed = () => follow.setAttribute("aria-pressed", String(follows));
  const form = h("form", { class: "ask tools", role: "search", "aria-label": "Requests that are held or stored" },
    ...inputs.map((each) => h("label", {}, h("span", {}, each.text), each.input)), root.dataset.stored === undefined ? "" : h("label", { class: "check" }, stored, "stored ones too"), h("button", { type: "submit" }, "search"), follow);
  root.querySelector("#now .body")?.replaceChildren(now, form, told);
  const fill = () => { const asked = new URLSearchParams(query); for (const { name, input } of inputs) input.value = asked.get(name) ?? ""; stored.checked = asked.has("stored"); };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = inputs.map(({ name, input }) => [name, input.value.trim()]).filter(([, value]) => value);
    if (stored.checked) asked.push(["stored", "1"]);
    query = new URLSearchParams(asked).toString();
    location.hash = `#${format({ ...parse(location.hash), ask: query || undefined })}`;
    void load();
  });
  addEventListener("hashchange", () => { const asked = parse(location.hash).ask ?? ""; if (asked !== query) { query = asked; fill(); void load(); } });

  async function load() {
    try {
      const data = await packed(`requests?${query}`);
      stop.abort();
      stop = new AbortController();
      mount(root, data, { owns: true, trace, signal: stop.signal });
      told.textContent = `${count(data.n, "request")}, the latest ${query ? "that are wanted" : "ones"}${follows ? "; followed while none is open" : ""}`;
    } catch (error) { told.textContent = `Not answered: ${/** @type {Error} */ (error).message}`; }
  }
  async function tell() {
    try { now.replaceChildren(...shown(await (await get("now")).json())); }
    catch (error) { now.replaceChildren(h("p", { class: "error" }, `The receiver does not answer: ${/** @type {Error} */ (error).message}`)); }
  }
  /** Not while somebody reads one request, or writes. */
  const busy = () => document.hidden || parse(location.hash).r !== undefined || document.activeElement instanceof HTMLInputElement;
  fill();
  pressed();
  void tell();
  void load();
  setInterval(() => { if (!document.hidden) void tell(); }, NOW_MS);
  setInterval(() => { if (follows && !busy()) void load(); }, REQUESTS_MS);
}

const rate = (/** @type {number} */ each) => (each ? number(each) : "0");

/** @param {Now} now */
function shown(now) {
  const parts = (/** @type {[string, number, string][]} */ list) => list.map(([name, ns, colour]) => ({ name, ns, colour }));
  const minutes = duration(Math.max(Math.round(now.recent_s), 1) * 1e9).replace(/\.0+ /, " ");
  const speeds = now.p50_ns === null || now.p99_ns === null ? "" : `, p50 ${duration(now.p50_ns)}, p99 ${duration(now.p99_ns)} in the last ${minutes}`;
  const lacks = Object.entries(now.lacks).filter(([, number_of]) => number_of);
  const rows = now.groups.map(([verb, resource, requests, p50, p99, ns, list]) => [verb, resource, requests, p50 === null ? "" : time(p50), p99 === null ? "" : time(p99), time(ns), bar(parts(list))]);
  return [
    h("p", { class: "lead" }, h("b", {}, `${rate(now.spans_per_s)} spans/s`), `, ${rate(now.requests_per_s)} requests/s${speeds}.`),
    now.components.length ? bar(parts(now.components), "bar big") : "", now.components.length ? legend(parts(now.components)) : "",
    h("p", { class: "faint" }, `${count(now.spans, "span")} and ${count(now.requests, "request")} since the start; ${count(now.held_spans, "span")} wait for the rest of their traces. ${now.about.join(" · ")}`),
    now.ready ? "" : h("p", { class: "error" }, "It accepts nothing now."),
    lacks.length ? h("ul", { class: "issues", "aria-label": "What the data lacks" }, ...lacks.map(([text, number_of]) => h("li", {}, h("span", { class: "badge warning" }, whole(number_of)), ` ${text}`))) : "",
    rows.length ? h("details", {}, h("summary", {}, `Requests of the last ${minutes} by verb and resource`), table("Requests lately", ["verb", "resource", "requests", "p50", "p99", "total", "where the time went"], rows, new Set([2, 3, 4, 5]))) : "",
  ];
}
