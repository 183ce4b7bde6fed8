// Puts the parts together: what is chosen in one shows in all.
import { read } from "./data.js";
import { bar, h, legend, table, time } from "./dom.js";
import { flame } from "./flame.js";
import { live, trace } from "./live.js";
import { component, counted, fitting, parts, phases, quantile, sum } from "./select.js";
import { FILTERS, format, parse } from "./state.js";
import { timeline } from "./timeline.js";
import { waterfall } from "./waterfall.js";
import { count, duration, percent, whole } from "./words.js";

/** @typedef {import("./state.js").State} State */
const NAMES = { answer: "The answer", findings: "What to look at", timeline: "When", groups: "By verb and resource", flame: "What requests waited for", requests: "The slowest requests", request: "One request" };

/**
 * @typedef {object} How
 * @property {boolean} owns the address is ours to write
 * @property {(trace: string) => Promise<import("./data.js").Data>} [trace] gets a trace that is not in the page
 * @property {AbortSignal} [signal] ends it: other data come
 * @property {{now: string, names: string[], choose: (name: string) => void}} [populations] of which one is shown
 */

/** @param {HTMLElement} root @param {import("./data.js").Data} data @param {How} how */
export function mount(root, data, { owns, trace, signal, populations }) {
  /** @type {State} */
  let state = owns ? parse(location.hash) : {};
  const part = (/** @type {keyof typeof NAMES} */ name) => {
    let section = root.querySelector(`#${name}`);
    if (!section) root.append((section = h("section", { id: name }, h("h2", {}, NAMES[name]), h("div", { class: "body" }))));
    section.removeAttribute("hidden");
    return /** @type {HTMLElement} */ (section.querySelector(".body"));
  };
  root.querySelector(".filters")?.remove();
  const filters = h("div", { class: "filters", role: "group", "aria-label": "What is chosen" });
  const places = Object.fromEntries(Object.keys(NAMES).filter((name) => name !== "findings" && name !== "request").map((name) => [name, part(/** @type {any} */ (name))]));
  places.answer.closest("section")?.before(filters);

  let writing = 0;
  /** Browsers refuse addresses that change many times a second. */
  const write = () => {
    writing = 0;
    const hash = `#${format(state)}`;
    try { history.replaceState(null, "", hash); } catch { location.replace(hash); }
  };
  /** @param {State} change */
  function go(change) {
    state = { ...state, ...change };
    if (owns) location.hash = `#${format(state)}`;
    render(change);
  }
  /** What is drawn already: only the address is to tell it. @param {State} change */
  function keep(change) {
    state = { ...state, ...change };
    if (owns) writing ||= setTimeout(write, 150);
  }
  const line = timeline(data, (range) => go({ t0: undefined, t1: undefined, w0: undefined, w1: undefined, ...range }));
  const fire = flame(data, { path: (path) => go({ path: JSON.stringify(path) }), method: (method) => go({ method }) });
  places.timeline.replaceChildren(line.node);
  places.flame.replaceChildren(fire.node);

  /** @param {import("./data.js").Data} from @param {number} row */
  const address = (from, row) => {
    const id = from.trace(row);
    const place = from.rowsOf(id).indexOf(row);
    return place ? `${id}.${place}` : id;
  };
  /** @param {import("./data.js").Data} from @param {string | undefined} told */
  const find = (from, told) => {
    const [id, place] = (told ?? "").split(".");
    return id ? (from.rowsOf(id)[Number(place ?? 0)] ?? -1) : -1;
  };
  /** @param {import("./data.js").Data} from @param {number} row */
  const open = (from, row) => {
    go({ r: address(from, row), span: undefined, z0: undefined, z1: undefined });
    root.querySelector("#request")?.scrollIntoView({ block: "start" });
  };

  function answer(/** @type {number[]} */ rows) {
    const method = state.method ?? "critical_path";
    const ns = phases(data, rows, method);
    const all = sum(rows.map((row) => data.wall[row]));
    const whole_ = parts(data, ns, true).sort((a, b) => (a.ns < b.ns ? 1 : -1));
    const shares = whole_.slice(0, 4).map((each) => `${percent(each.ns, all)} ${each.name}`).join(", ");
    const list = parts(data, ns, false);
    const lead = rows.length ? h("p", { class: "lead" }, h("b", {}, count(rows.length, "API request")), " took ", time(all, { id: "total" }), ` in all: ${shares}.`) : h("p", { class: "lead" }, "No request fits.");
    places.answer.replaceChildren(lead, bar(list, "bar big"), legend(list));
  }
  function groups(/** @type {number[]} */ rows) {
    /** @type {Map<string, number[]>} */
    const found = new Map();
    for (const row of rows) { const key = data.group(row); const known = found.get(key); if (known) known.push(row); else found.set(key, [row]); }
    const list = [...found.values()].map((rows) => ({ rows: rows.sort((a, b) => data.wall[a] - data.wall[b] || a - b), all: sum(rows.map((row) => data.wall[row])) }));
    list.sort((a, b) => (a.all < b.all ? 1 : a.all > b.all ? -1 : 0));
    const cells = list.slice(0, 15).map(({ rows, all }) => {
      const verb = data.text("verb", rows[0]), resource = data.text("resource", rows[0]);
      const errors = rows.filter((row) => data.status[row] >= 400).length;
      const pick = h("button", { type: "button", class: "link", onclick: () => go({ verb: verb ?? "-", resource: resource ?? "-" }) }, verb ?? "-");
      return [pick, resource ?? "(no resource)", rows.length, ...[50, 90, 99].map((q) => time(quantile(data, rows, q))), time(all), bar(parts(data, phases(data, rows, "critical_path"), true)), errors ? h("span", { class: "error" }, whole(errors)) : "·"];
    });
    const more = list.length - cells.length;
    places.groups.replaceChildren(table("Requests by verb and resource", ["verb", "resource", "requests", "p50", "p90", "p99", "total", "where the time went", "errors"], cells, new Set([2, 3, 4, 5, 6, 8])), more > 0 ? h("p", { class: "faint" }, `… ${count(more, "more group")}`) : "");
  }
  const search = h("input", { type: "search", placeholder: "words, status, trace id", "aria-label": "Search requests", onchange: () => go({ q: search.value || undefined }) });
  function slowest(/** @type {number[]} */ rows) {
    const list = rows.filter((row) => data.judged(row)).sort((a, b) => data.wall[b] - data.wall[a] || a - b).slice(0, 12);
    const cells = list.map((row) => [
      h("button", { type: "button", class: "link", onclick: () => open(data, row) }, data.what(row)), data.text("object_name", row) ?? "", data.status[row] ? String(data.status[row]) : "-", time(data.wall[row]),
      bar(parts(data, phases(data, [row], "critical_path"), true)), h("code", {}, data.trace(row).slice(0, 16))]);
    if (document.activeElement !== search) search.value = state.q ?? "";
    places.requests.replaceChildren(h("div", { class: "tools" }, search), table("The slowest requests", ["request", "object", "status", "wall time", "where the time went", "trace"], cells, new Set([2, 3])));
  }
  /** @type {{key: string, draws: {draw: () => void}[]}} */
  let falls = { key: "", draws: [] };
  /** Where a request is, with its tree if there is one somewhere. @param {string} told */
  async function place(told) {
    const row = find(data, told);
    const here = row < 0 ? null : { data, row };
    if (!trace || (here && data.treeOf[row] >= 0)) return here;
    try {
      const other = await trace(told.split(".")[0]);
      const at = find(other, told);
      return at < 0 ? here : { data: other, row: at };
    } catch { return here; }
  }
  async function requests() {
    const wanted = [state.r, state.r2].filter((told) => told !== undefined);
    const key = wanted.join();
    if (key === falls.key) return;
    falls = { key, draws: [] };
    const section = root.querySelector("#request");
    if (!wanted.length) { section?.setAttribute("hidden", ""); return; }
    const shown = await Promise.all(wanted.map(place));
    if (key !== falls.key || signal?.aborted) return;
    const body = part("request");
    const views = shown.map((each, at) => (each ? one(each.data, each.row, at, populations?.names.find((name) => (name === populations.now) === (each.data === data))) : { node: h("p", { class: "faint" }, `There is no request ${wanted[at]} here.`), fall: null }));
    body.replaceChildren(h("div", { class: "pair" }, ...views.map((each) => each.node)));
    views.forEach(({ fall }, at) => { if (fall) { fall.show(at ? undefined : state.span, at ? undefined : state.z0, at ? undefined : state.z1); falls.draws.push(fall); } });
    sections();
  }
  const shut = { r: undefined, r2: undefined, span: undefined, z0: undefined, z1: undefined };
  const button = (/** @type {string} */ text, /** @type {State} */ change) => h("button", { type: "button", onclick: () => go(change) }, text);
  /** @param {import("./data.js").Data} data @param {number} row @param {number} at 0, or 1 for the one beside it @param {string} [side] the population that it is of */
  function one(data, row, at, side) {
    const fall = data.treeOf[row] < 0 ? null : waterfall(data, row, { span: (span) => at || keep({ span }), zoom: (z0, z1) => at || keep({ z0, z1 }) });
    const list = parts(data, phases(data, [row], "critical_path"), false);
    const link = (/** @type {string} */ word, /** @type {number} */ other) => h("button", { type: "button", class: "link", onclick: () => open(data, other) }, `${word} ${data.what(other)}`);
    const near = [data.countedIn[row], data.linkedFrom[row]].filter((each, place, all) => each && all.indexOf(each) === place).map((each) => link("inside", each - 1));
    for (let other = 0; other < data.n && near.length < 8; other++) if (data.countedIn[other] === row + 1) near.push(link("holds", other));
    const facts = [`HTTP ${data.status[row] || "-"}`, count(data.spans[row], "span"), count(data.calls[row], "etcd call"),
      data.prelude[row] && `authentication before it ${duration(data.prelude[row] - 1)}`, data.asyncTail[row] && `cut after it ${duration(data.asyncTail[row])}`,
      !(data.flags[row] & 4) && `incomplete: ${data.text("incomplete_cause", row) ?? "unknown"}`].filter(Boolean);
    const node = h("article", { class: "falls" },
      h("h3", {}, side ? h("span", { class: "badge" }, side) : "", side ? " " : "", data.what(row), data.text("object_name", row) ? ` ${data.text("object_name", row)}` : ""),
      h("p", {}, time(data.wall[row]), ` · ${facts.join(" · ")} · `, h("code", {}, data.trace(row))),
      near.length ? h("p", { class: "tools" }, ...near) : "",
      h("div", { class: "tools" }, ...(at ? [button("close", { r2: undefined })] : [button("keep beside the next", { r2: state.r, span: undefined }), button("close", shut)])),
      bar(list, "bar"), legend(list), fall ? fall.node : h("p", { class: "faint" }, "Its call tree is not in this page."));
    return { node, fall };
  }
  const WORDS = { t0: "from", t1: "to", w0: "slower than", w1: "faster than", verb: "verb", resource: "resource", namespace: "namespace", user_agent: "client", status: "status", q: "search", path: "stack" };
  function chips(/** @type {number} */ fits) {
    const list = FILTERS.filter((key) => state[key] !== undefined).map((key) => {
      const value = state[key];
      const told = typeof value === "number" ? duration(value) : key === "path" ? JSON.parse(String(value)).join(" › ") : String(value);
      return h("button", { type: "button", title: "take this away", onclick: () => go({ [key]: undefined }) }, `${WORDS[key]} ${told.slice(0, 80)} ×`);
    });
    const clear = list.length > 1 ? h("button", { type: "button", onclick: () => go(Object.fromEntries(FILTERS.map((key) => [key, undefined]))) }, "all requests") : "";
    const theme = h("button", { type: "button", onclick: () => go({ theme: dark() ? "light" : "dark" }) }, dark() ? "light" : "dark");
    const status = h("span", { class: "faint", role: "status" }, list.length ? `${whole(fits)} of ${count(data.n, "request")}` : count(data.n, "request"));
    const ledger = root.querySelector("#ledger") ? h("button", { type: "button", onclick: () => root.querySelector("#ledger")?.scrollIntoView() }, "ledger") : "";
    const which = (populations?.names ?? []).map((name) => h("button", { type: "button", "aria-pressed": String(name === populations?.now), onclick: () => populations?.choose(name) }, name));
    filters.replaceChildren(...which, status, ...list, clear, h("button", { type: "button", "aria-pressed": String(state.status === "errors"), onclick: () => go({ status: state.status === "errors" ? undefined : "errors" }) }, "errors"), ledger, theme);
  }
  const dark = () => (state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  function findings() {
    // They were written for the population that is shown first.
    root.querySelector("#findings")?.toggleAttribute("hidden", !!populations && populations.now !== populations.names[0]);
    root.querySelectorAll("li[data-finding]").forEach((item) => {
      item.querySelector(".act")?.remove();
      const told = data.head.findings[Number(item.getAttribute("data-finding"))];
      if (!told) return;
      /** @type {State} */
      const wanted = {};
      for (const each of told.where) {
        const [, key, value] = /^(verb|resource|namespace|user_agent|http_status)=([^*?[]+)$/.exec(each) ?? [];
        if (key) /** @type {any} */ (wanted)[key === "http_status" ? "status" : key] = value;
      }
      const example = told.trace === null ? -1 : find(data, told.trace);
      item.append(h("div", { class: "act tools" },
        Object.keys(wanted).length ? h("button", { type: "button", class: "link", onclick: () => go({ ...Object.fromEntries(FILTERS.map((key) => [key, undefined])), ...wanted }) }, "show these requests") : "",
        example >= 0 ? h("button", { type: "button", class: "link", onclick: () => open(data, example) }, "show an example") : ""));
    });
  }
  /** Whether sections that the address can name are there. */
  const sections = () => root.querySelectorAll("nav a").forEach((link) => link.toggleAttribute("hidden", !root.querySelector(link.getAttribute("href") ?? "")));
  function examples() {
    root.querySelectorAll("code[data-after]").forEach((code) => {
      const [r, r2] = [code.getAttribute("data-after") ?? "", code.getAttribute("data-before") ?? ""];
      code.replaceWith(h("button", { type: "button", class: "link", "data-after": r, "data-before": r2, onclick: () => { go({ ...shut, r, r2 }); root.querySelector("#request")?.scrollIntoView({ block: "start" }); } }, "side by side"));
    });
  }
  let filtered = "none";
  /** @param {State} change */
  function render(change) {
    if (state.theme) root.setAttribute("data-theme", state.theme);
    else root.removeAttribute("data-theme");
    const key = JSON.stringify([FILTERS.map((each) => state[each]), state.method, state.theme]);
    if (key !== filtered) {
      filtered = key;
      const rows = fitting(data, state);
      const judged = counted(data, rows);
      chips(rows.length);
      answer(judged);
      line.show(rows, state);
      groups(judged);
      slowest(rows);
      fire.show(judged, state.method ?? "critical_path");
    }
    void requests();
    if (change.to) root.querySelector(`#${CSS.escape(change.to)}`)?.scrollIntoView();
  }
  findings();
  examples();
  render(state);
  sections();
  const until = { signal };
  if (owns) addEventListener("hashchange", () => {
    const next = parse(location.hash);
    if (format(next) === format(state)) return;
    if (next.to && format(next) === format({ to: next.to })) root.querySelector(`#${CSS.escape(next.to)}`)?.scrollIntoView();
    else { state = next; render({}); }
  }, until);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; line.draw(); fire.draw(); falls.draws.forEach((each) => each.draw()); } }, until);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { filtered = ""; render({}); }, until);
  root.setAttribute("data-ready", "");
}

/** Two populations, of which one is shown; a request of the other one stands beside. @param {HTMLElement} root @param {import("./data.js").Data} after @param {import("./data.js").Data} before */
function compared(root, after, before) {
  const found = { after, before };
  let stop = new AbortController();
  const choose = (/** @type {string} */ now) => {
    stop.abort();
    stop = new AbortController();
    const [data, other] = now === "after" ? [after, before] : [before, after];
    const populations = { now, names: Object.keys(found), choose };
    mount(root, data, { owns: true, signal: stop.signal, populations, trace: async () => other });
  };
  choose("after");
}

/** The notebook's widget. */
export default {
  /** @param {{model: {get: (name: string) => any}, el: HTMLElement}} given */
  render({ model, el }) {
    const root = h("div", { class: "k8s" });
    el.append(root);
    void read(model.get("data")).then((data) => mount(root, data, { owns: false }));
  },
};

const packed = document.getElementById("k8strace-data");
const served = document.body?.dataset.served;
if (packed) {
  // What can be read already is painted before the work begins. A page in the background is not painted at all.
  let begun = false;
  const begin = async () => {
    if (begun) return;
    begun = true;
    const before = document.getElementById("k8strace-before");
    const data = await read(packed.textContent ?? "");
    if (before) compared(document.body, data, await read(before.textContent ?? ""));
    else mount(document.body, data, { owns: true, trace: served ? trace : undefined });
  };
  setTimeout(begin, 300);
  requestAnimationFrame(() => setTimeout(begin));
} else if (served) live(document.body, mount);
