// Puts the parts together: what is chosen in one shows in all.
import { read } from "./data.js";
import { bar, h, legend, table, time } from "./dom.js";
import { flame } from "./flame.js";
import { component, counted, fitting, parts, phases, quantile, sum } from "./select.js";
import { FILTERS, format, parse } from "./state.js";
import { timeline } from "./timeline.js";
import { waterfall } from "./waterfall.js";
import { count, duration, percent, whole } from "./words.js";

/** @typedef {import("./state.js").State} State */
const NAMES = { answer: "The answer", findings: "What to look at", timeline: "When", groups: "By verb and resource", flame: "What requests waited for", requests: "The slowest requests", request: "One request" };

/** @param {HTMLElement} root @param {string} packed @param {boolean} owns the address is ours to write */
export async function mount(root, packed, owns) {
  const data = await read(packed);
  /** @type {State} */
  let state = owns ? parse(location.hash) : {};
  const part = (/** @type {keyof typeof NAMES} */ name) => {
    let section = root.querySelector(`#${name}`);
    if (!section) root.append((section = h("section", { id: name }, h("h2", {}, NAMES[name]), h("div", { class: "body" }))));
    section.removeAttribute("hidden");
    return /** @type {HTMLElement} */ (section.querySelector(".body"));
  };
  const filters = h("div", { class: "filters", role: "group", "aria-label": "What is chosen" });
  const places = Object.fromEntries(Object.keys(NAMES).filter((name) => name !== "findings" && name !== "request").map((name) => [name, part(/** @type {any} */ (name))]));
  places.answer.closest("section")?.before(filters);

  /** @param {State} change */
  function go(change, keep = false) {
    state = { ...state, ...change };
    if (owns) {
      const hash = `#${format(state)}`;
      if (keep) { try { history.replaceState(null, "", hash); } catch { location.replace(hash); } }
      else location.hash = hash;
    }
    render(change);
  }
  const line = timeline(data, (range) => go({ t0: undefined, t1: undefined, w0: undefined, w1: undefined, ...range }));
  const fire = flame(data, { path: (path) => go({ path: JSON.stringify(path) }), method: (method) => go({ method }) });
  places.timeline.replaceChildren(line.node);
  places.flame.replaceChildren(fire.node);

  const address = (/** @type {number} */ row) => {
    const trace = data.trace(row);
    let same = 0;
    for (let at = 0; at < row; at++) if (data.raw.trace_id.bytes[16 * at] === data.raw.trace_id.bytes[16 * row] && data.trace(at) === trace) same++;
    return same ? `${trace}.${same}` : trace;
  };
  const find = (/** @type {string | undefined} */ told) => {
    if (!told) return -1;
    const [trace, place] = told.split(".");
    let left = Number(place ?? 0);
    for (let row = 0; row < data.n; row++) if (data.trace(row).startsWith(trace) && left-- === 0) return row;
    return -1;
  };
  const open = (/** @type {number} */ row) => {
    go({ r: address(row), span: undefined, z0: undefined, z1: undefined });
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
      h("button", { type: "button", class: "link", onclick: () => open(row) }, data.what(row)), data.text("object_name", row) ?? "", data.status[row] ? String(data.status[row]) : "-", time(data.wall[row]),
      bar(parts(data, phases(data, [row], "critical_path"), true)), h("code", {}, data.trace(row).slice(0, 16))]);
    if (document.activeElement !== search) search.value = state.q ?? "";
    places.requests.replaceChildren(h("div", { class: "tools" }, search), table("The slowest requests", ["request", "object", "status", "wall time", "where the time went", "trace"], cells, new Set([2, 3])));
  }
  /** @type {{key: string, draws: {draw: () => void}[]}} */
  let falls = { key: "", draws: [] };
  function requests() {
    const shown = [find(state.r), find(state.r2)].filter((row) => row >= 0);
    const key = shown.join();
    if (key === falls.key) return;
    falls = { key, draws: [] };
    const section = root.querySelector("#request");
    if (!shown.length) { section?.setAttribute("hidden", ""); return; }
    const body = part("request");
    const views = shown.map((row, place) => {
      const fall = data.treeOf[row] < 0 ? null : waterfall(data, row, { span: (span) => place || go({ span }, true), zoom: (z0, z1) => place || go({ z0, z1 }, true), open });
      const list = parts(data, phases(data, [row], "critical_path"), false);
      const near = [data.countedIn[row], data.linkedFrom[row]].filter((each, at, all) => each && all.indexOf(each) === at).map((each) => h("button", { type: "button", class: "link", onclick: () => open(each - 1) }, `inside ${data.what(each - 1)}`));
      const inner = [];
      for (let at = 0; at < data.n && inner.length < 6; at++) if (data.countedIn[at] === row + 1) inner.push(at);
      const node = h("article", { class: "falls" },
        h("h3", {}, data.what(row), data.text("object_name", row) ? ` ${data.text("object_name", row)}` : ""),
        h("p", {}, time(data.wall[row]), ` · HTTP ${data.status[row] || "-"} · ${count(data.spans[row], "span")} · ${count(data.calls[row], "etcd call")} · `, h("code", {}, data.trace(row)), data.prelude[row] ? ` · authentication before it ${duration(data.prelude[row] - 1)}` : "", data.asyncTail[row] ? ` · cut after it ${duration(data.asyncTail[row])}` : "", data.flags[row] & 4 ? "" : ` · incomplete: ${data.text("incomplete_cause", row) ?? "unknown"}`),
        near.length || inner.length ? h("p", {}, ...near, ...inner.map((each) => h("button", { type: "button", class: "link", onclick: () => open(each) }, `holds ${data.what(each)} `))) : "",
        h("div", { class: "tools" }, place ? h("button", { type: "button", onclick: () => go({ r2: undefined }) }, "close") : [h("button", { type: "button", onclick: () => go({ r2: state.r, span: undefined }) }, "keep beside the next"), h("button", { type: "button", onclick: () => go({ r: undefined, r2: undefined, span: undefined, z0: undefined, z1: undefined }) }, "close")][0], place ? "" : h("button", { type: "button", onclick: () => go({ r: undefined, r2: undefined, span: undefined, z0: undefined, z1: undefined }) }, "close")),
        bar(list, "bar"), legend(list), fall ? fall.node : h("p", { class: "faint" }, "Its call tree is not in this page."));
      return { node, fall };
    });
    body.replaceChildren(h("div", { class: "pair" }, ...views.map((each) => each.node)));
    views.forEach(({ fall }, place) => { if (fall) { fall.show(place ? undefined : state.span, place ? undefined : state.z0, place ? undefined : state.z1); falls.draws.push(fall); } });
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
    filters.replaceChildren(status, ...list, clear, h("button", { type: "button", "aria-pressed": String(state.status === "errors"), onclick: () => go({ status: state.status === "errors" ? undefined : "errors" }) }, "errors"), ledger, theme);
  }
  const dark = () => (state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  function findings() {
    root.querySelectorAll("li[data-finding]").forEach((item) => {
      const told = data.head.findings[Number(item.getAttribute("data-finding"))];
      /** @type {State} */
      const wanted = {};
      for (const each of told.where) {
        const [, key, value] = /^(verb|resource|namespace|user_agent|http_status)=([^*?[]+)$/.exec(each) ?? [];
        if (key) /** @type {any} */ (wanted)[key === "http_status" ? "status" : key] = value;
      }
      const example = told.trace === null ? -1 : find(told.trace);
      item.append(h("div", { class: "act tools" },
        Object.keys(wanted).length ? h("button", { type: "button", class: "link", onclick: () => go({ ...Object.fromEntries(FILTERS.map((key) => [key, undefined])), ...wanted }) }, "show these requests") : "",
        example >= 0 ? h("button", { type: "button", class: "link", onclick: () => open(example) }, "show an example") : ""));
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
    requests();
    if (change.to) root.querySelector(`#${CSS.escape(change.to)}`)?.scrollIntoView();
  }
  findings();
  render(state);
  if (owns) addEventListener("hashchange", () => { const next = parse(location.hash); if (format(next) !== format(state)) { if (next.to && format(next) === format({ to: next.to })) next.to && root.querySelector(`#${CSS.escape(next.to)}`)?.scrollIntoView(); else { state = next; render({}); } } });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; line.draw(); fire.draw(); falls.draws.forEach((each) => each.draw()); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { filtered = ""; render({}); });
  root.setAttribute("data-ready", "");
  return { data, component };
}

/** The notebook's widget. */
export default {
  /** @param {{model: {get: (name: string) => any}, el: HTMLElement}} given */
  render({ model, el }) {
    const root = h("div", { class: "k8s" });
    el.append(root);
    void mount(root, model.get("data"), false);
  },
};

const packed = document.getElementById("k8strace-data");
if (packed) void mount(document.body, packed.textContent ?? "", true);
