// One request over time: solid is what it waited for, light is open. The rows are a real tree; the bars are a canvas.
import { KINDS } from "./data.js";
import { h, inks, sharp, time } from "./dom.js";
import { boxes } from "./paint.js";
import { duration, percent, whole } from "./words.js";

const ROW = 22;
/** Attributes that name what a span was about. */
const NAMES = ["name", "webhook", "configuration", "key", "url.path", "resource", "objectRef"];

/**
 * @param {import("./data.js").Data} data @param {number} row
 * @param {{span: (span: number) => void, zoom: (from?: number, to?: number) => void}} tell
 */
export function waterfall(data, row, tell) {
  const tree = /** @type {import("./data.js").Tree} */ (data.tree(row));
  const detail = data.head.details[row];
  const { names, colours, phases, processes } = data.head;
  let first = 0, last = Math.max(tree.wall, 1);
  for (let at = 0; at < tree.n; at++) { first = Math.min(first, tree.start[at]); last = Math.max(last, tree.end[at]); }
  const all = { from: 0, to: Math.max(tree.wall, 1) };
  let view = { ...all };
  let selected = 0;
  let query = "";
  const closed = new Uint8Array(tree.n);
  /** @type {number[]} */
  let shown = [];
  const stretches = new Int32Array(tree.n + 1);
  for (const node of tree.path.node) stretches[node + 1]++;
  for (let at = 0; at < tree.n; at++) stretches[at + 1] += stretches[at];
  const places = new Int32Array(tree.path.node.length);
  const fill = stretches.slice();
  tree.path.node.forEach((node, at) => (places[fill[node]++] = at));

  const canvas = h("canvas", { "aria-hidden": "true" });
  const minimap = h("canvas", { "aria-hidden": "true" });
  const pad = h("div", { role: "none" });
  const rows = h("div", { class: "rows", role: "tree", tabindex: 0, "aria-label": `Spans of ${data.what(row)}` }, pad);
  const search = h("input", { type: "search", placeholder: "find a span", "aria-label": "Find a span" });
  const live = h("p", { class: "live", "aria-live": "polite" });
  const panel = h("div", { class: "detail" });
  const map = h("div", { class: "canvas" }, minimap);
  const fit = h("button", { type: "button", onclick: () => zoom(all.from, all.to) }, "whole request");
  const stack = h("div", { class: "canvas" }, canvas);
  stack.style.position = "sticky"; stack.style.top = "0"; stack.style.height = "0"; stack.style.overflow = "visible";
  pad.style.position = "relative";
  rows.prepend(stack);
  const node = h("div", {}, h("div", { class: "tools" }, search, fit, h("span", { class: "faint" }, h("kbd", {}, "W"), " ", h("kbd", {}, "S"), " zoom, ", h("kbd", {}, "A"), " ", h("kbd", {}, "D"), " move, arrows walk the tree")), map, rows, live, panel);

  const mark = (/** @type {number} */ at) => {
    const told = detail?.spans[at]?.[6];
    const found = told && NAMES.map((key) => told.find(([each]) => each === key)?.[1]).find(Boolean);
    return found ? ` ${found}` : "";
  };
  const matches = (/** @type {number} */ at) => query !== "" && (names[tree.name[at]] + mark(at)).toLowerCase().includes(query);

  function list() {
    shown = [];
    for (let at = 0, hidden = Infinity; at < tree.n; at++) {
      if (tree.depth[at] > hidden) continue;
      hidden = closed[at] ? tree.depth[at] : Infinity;
      shown.push(at);
    }
    pad.style.height = `${shown.length * ROW}px`;
  }
  const hasBelow = (/** @type {number} */ at) => at + 1 < tree.n && tree.parent[at + 1] === at;

  /** The first of a span's stretches that ends after a time: they are in order. */
  function after(/** @type {number} */ at, /** @type {number} */ time) {
    let low = stretches[at], high = stretches[at + 1];
    while (low < high) { const middle = (low + high) >> 1; if (tree.path.to[places[middle]] > time) high = middle; else low = middle + 1; }
    return low;
  }
  /** What of a span was waited for: at most one box for a pixel, however many stretches there are. */
  function stretchesOf(/** @type {number} */ at, /** @type {number} */ y, /** @type {import("./paint.js").Box[]} */ list) {
    const end = stretches[at + 1];
    const pixel = (view.to - view.from) / scale.room;
    for (let each = after(at, view.from); each < end; ) {
      const p = places[each];
      if (tree.path.from[p] > view.to) return;
      const left = scale.x(tree.path.from[p]);
      const right = scale.x(tree.path.to[p]);
      list.push({ x: left, y, w: right - left, h: ROW - 8, colour: colours[tree.path.phase[p]] });
      each = right - left < 1 ? Math.max(after(at, tree.path.to[p] + pixel / 2), each + 1) : each + 1;
    }
  }
  const scale = { label: 0, room: 1, x: (/** @type {number} */ t) => scale.label + Math.min(Math.max(((t - view.from) / (view.to - view.from)) * scale.room, -2), scale.room + 2) };

  let wanted = 0;
  /** Drawn once in the next frame, however often it is asked for. */
  function draw() { wanted ||= requestAnimationFrame(() => { wanted = 0; paint(); frame(); }); }

  /** @type {Map<number, HTMLElement>} */
  let items = new Map();
  function paint() {
    const width = Math.max(rows.clientWidth, 200);
    const label = Math.round(Math.min(width * 0.4, 460));
    const top = rows.scrollTop;
    const height = Math.max(Math.min(rows.clientHeight || 500, shown.length * ROW), ROW);
    const begin = Math.floor(top / ROW);
    const end = Math.min(shown.length, Math.ceil((top + height) / ROW) + 1);
    const ctx = sharp(canvas, width, height);
    const ink = inks(canvas);
    const room = width - label - 78;
    scale.label = label; scale.room = room;
    const { x } = scale;
    ctx.strokeStyle = ink.line;
    for (let tick = 0; tick <= 4; tick++) { const at = Math.round(label + (room * tick) / 4) + 0.5; ctx.beginPath(); ctx.moveTo(at, 0); ctx.lineTo(at, height); ctx.stroke(); }
    /** @type {import("./paint.js").Box[]} */
    const list = [];
    const kept = new Map();
    for (let place = begin; place < end; place++) {
      const at = shown[place];
      const y = place * ROW - top + 4;
      if (tree.end[at] >= view.from && tree.start[at] <= view.to) list.push({ x: x(tree.start[at]), y, w: Math.max(x(tree.end[at]) - x(tree.start[at]), 1.5), h: ROW - 8, colour: colours[tree.phase[at]], light: true });
      stretchesOf(at, y, list);
      let item = items.get(at);
      if (!item) {
        const error = tree.failed(at) || detail?.spans[at]?.[5];
        item = h("div", { role: "treeitem", id: `k8s-span-${row}-${at}`, "aria-level": tree.depth[at] + 1, title: names[tree.name[at]] },
          hasBelow(at) ? (closed[at] ? "▸ " : "▾ ") : "  ", names[tree.name[at]], h("span", { class: "faint" }, mark(at)), error ? h("span", { class: "error" }, " error") : null,
          h("span", { class: "hidden" }, `, ${duration(tree.end[at] - tree.start[at])}, waited for ${duration(tree.critical[at])}`));
        item.style.top = `${place * ROW}px`;
        item.style.width = `${label - 6}px`;
        item.style.paddingLeft = `${6 + Math.min(tree.depth[at], 20) * 11}px`;
        if (hasBelow(at)) item.setAttribute("aria-expanded", String(!closed[at]));
        item.addEventListener("click", (event) => { if (event.offsetX < 26 + tree.depth[at] * 11 && hasBelow(at)) toggle(at); pick(at); });
        pad.append(item);
      }
      item.setAttribute("aria-selected", String(at === selected));
      kept.set(at, item);
    }
    for (const [at, item] of items) if (!kept.has(at)) item.remove();
    items = kept;
    boxes(ctx, list);
    ctx.font = "11px system-ui, sans-serif";
    ctx.textAlign = "right";
    for (let place = begin; place < end; place++) {
      const at = shown[place];
      ctx.fillStyle = matches(at) ? ink.accent : ink.faint;
      ctx.fillText(duration(Math.max(tree.end[at] - tree.start[at], 0)), width - 6, place * ROW - top + ROW / 2);
      if (matches(at)) ctx.fillRect(label - 4, place * ROW - top + 3, 3, ROW - 6);
    }
    ctx.textAlign = "left";
    const active = items.get(selected);
    if (active) rows.setAttribute("aria-activedescendant", active.id);
    else rows.removeAttribute("aria-activedescendant");
  }
  /** The picture below the minimap's frame, made once for each width and theme. */
  const picture = document.createElement("canvas");
  let pictured = "";
  function frame() {
    const width = Math.max(map.clientWidth, 200);
    const ctx = sharp(minimap, width, 34);
    const ink = inks(minimap);
    const x = (/** @type {number} */ t) => ((t - all.from) / (all.to - all.from)) * width;
    if (pictured !== `${width} ${minimap.width}`) {
      pictured = `${width} ${minimap.width}`;
      const list = [];
      const { from, to, phase } = tree.path;
      for (let at = 0, last = -1; at < from.length; at++) {
        const right = x(to[at]);
        if (right - last < 1 && at + 1 < from.length) continue;
        list.push({ x: Math.max(last, x(from[at])), y: 6, w: right - Math.max(last, x(from[at])), h: 20, colour: colours[phase[at]] });
        last = right;
      }
      boxes(sharp(picture, width, 34), list);
    }
    ctx.drawImage(picture, 0, 0, width, 34);
    ctx.strokeStyle = ink.text;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(Math.max(x(view.from), 1), 1, Math.min(x(view.to), width) - Math.max(x(view.from), 0) - 2, 31);
  }
  function redraw() { list(); for (const item of items.values()) item.remove(); items = new Map(); draw(); }
  function zoom(/** @type {number} */ from, /** @type {number} */ to, quiet = false) {
    const size = Math.max(to - from, 10);
    const start = Math.min(Math.max(from, first - size / 2), last);
    view = { from: start, to: start + size };
    draw();
    if (!quiet) tell.zoom(Math.round(view.from), Math.round(view.to));
  }
  function toggle(/** @type {number} */ at, close = !closed[at]) { closed[at] = close ? 1 : 0; redraw(); }
  function pick(/** @type {number} */ at, quiet = false) {
    selected = at;
    const place = shown.indexOf(at);
    if (place * ROW < rows.scrollTop) rows.scrollTop = place * ROW;
    else if ((place + 1) * ROW > rows.scrollTop + rows.clientHeight) rows.scrollTop = (place + 1) * ROW - rows.clientHeight;
    draw();
    tellOf(at);
    if (!quiet) tell.span(at);
  }
  function tellOf(/** @type {number} */ at) {
    const told = detail?.spans[at];
    const [service, instance] = processes[tree.process[at]];
    const pair = (/** @type {string} */ name, /** @type {import("./dom.js").Content} */ value) => h("tr", {}, h("th", { scope: "row", class: "faint" }, name), h("td", {}, value));
    const fixes = (detail?.repairs ?? []).filter(([span]) => told && span === told[0]);
    const raw = told && (told[2] !== tree.start[at] || told[3] !== tree.end[at]);
    panel.replaceChildren(
      h("p", {}, h("b", {}, names[tree.name[at]]), h("span", { class: "faint" }, ` ${service}${instance ? ` ${instance}` : ""} · ${KINDS[tree.kind[at] & 7]} · ${phases[tree.phase[at]]}`)),
      h("p", {}, "took ", time(tree.end[at] - tree.start[at]), ", the request waited ", time(tree.critical[at]), ` (${percent(tree.critical[at], tree.wall)}) for it alone; from ${whole(tree.start[at])} ns on`),
      told?.[5] ? h("p", { class: "error" }, `error: ${told[5]}`) : "",
      told?.[4] ? h("p", {}, `status: ${told[4]}`) : "",
      raw ? h("p", {}, `as sent: from ${whole(/** @type {any} */ (told)[2])} ns to ${whole(/** @type {any} */ (told)[3])} ns`) : "",
      ...fixes.map(([, kind, field, before, after]) => h("p", {}, h("span", { class: "badge" }, "repaired"), ` ${kind}${field ? `: ${field} was ${before}, is ${after}` : ""}`)),
      told ? h("table", {}, h("caption", { class: "hidden" }, "What the span tells"), h("tbody", {}, pair("span id", told[0]), told[1] ? pair("trace id", told[1]) : null,
        ...told[6].map(([key, value]) => pair(key, value)), ...told[7].map(([at, name]) => pair(`event at ${duration(at)}`, name)), ...told[8].map(([trace, span]) => pair("link", `${trace}/${span}`))))
        : h("p", { class: "faint" }, "Its attributes and events are not in this page."));
    live.textContent = `${names[tree.name[at]]}, ${duration(tree.end[at] - tree.start[at])}`;
  }
  rows.addEventListener("scroll", draw, { passive: true });
  rows.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const size = view.to - view.from;
    const middle = (view.from + view.to) / 2;
    const place = shown.indexOf(selected);
    const up = tree.parent[selected];
    /** @type {Record<string, () => unknown>} */
    const keys = {
      w: () => zoom(middle - size / 3, middle + size / 3), s: () => zoom(middle - size * 0.75, middle + size * 0.75),
      a: () => zoom(view.from - size / 5, view.to - size / 5), d: () => zoom(view.from + size / 5, view.to + size / 5),
      ArrowDown: () => pick(shown[Math.min(place + 1, shown.length - 1)]), ArrowUp: () => pick(shown[Math.max(place - 1, 0)]),
      Home: () => pick(0), End: () => pick(shown[shown.length - 1]),
      ArrowRight: () => (closed[selected] ? toggle(selected, false) : hasBelow(selected) && pick(selected + 1)),
      ArrowLeft: () => (!closed[selected] && hasBelow(selected) ? toggle(selected, true) : up >= 0 && pick(up)),
      Enter: () => zoom(tree.start[selected], Math.max(tree.end[selected], tree.start[selected] + 1)),
      "0": () => zoom(all.from, all.to), "/": () => search.focus(),
    };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  rows.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const factor = Math.exp(event.deltaY / 200);
    const size = view.to - view.from;
    zoom(view.from + (size - size * factor) / 2, view.to - (size - size * factor) / 2);
  }, { passive: false });
  let dragged = /** @type {number | null} */ (null);
  const timeOf = (/** @type {PointerEvent} */ event) => all.from + ((event.clientX - minimap.getBoundingClientRect().left) / Math.max(map.clientWidth, 1)) * (all.to - all.from);
  minimap.addEventListener("pointerdown", (event) => { dragged = timeOf(event); minimap.setPointerCapture(event.pointerId); });
  minimap.addEventListener("pointerup", (event) => {
    if (dragged === null) return;
    const [from, to] = [dragged, timeOf(event)].sort((a, b) => a - b);
    dragged = null;
    if (to - from > (all.to - all.from) / 200) zoom(from, to);
  });
  search.addEventListener("input", () => {
    query = search.value.trim().toLowerCase();
    const found = [...Array(tree.n).keys()].find(matches);
    if (found === undefined) return draw();
    for (let at = tree.parent[found]; at >= 0; at = tree.parent[at]) closed[at] = 0;
    redraw();
    pick(found, true);
  });
  list();
  return {
    node, draw: redraw,
    /** @param {number | undefined} span @param {number | undefined} from @param {number | undefined} to */
    show(span, from, to) {
      if (from !== undefined && to !== undefined) view = { from, to: Math.max(to, from + 10) };
      redraw();
      pick(Math.min(span ?? 0, tree.n - 1), true);
    },
  };
}
