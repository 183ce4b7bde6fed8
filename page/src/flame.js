// Flame graph, left heavy: what requests waited for, as stacks of spans. Widths sum to the total.
import { h, inks, sharp, table, time } from "./dom.js";
import { boxes } from "./paint.js";
import { colourOf, component } from "./select.js";
import { duration, percent, whole } from "./words.js";

/** @typedef {{name: string, colour: string, own: number, ns: number, below: Map<string, Frame>, depth: number, up: Frame | null}} Frame */
const ROW = 20;

/** @param {Frame} up @param {string} name @param {string} colour @returns {Frame} */
function below(up, name, colour) {
  let frame = up.below.get(name);
  if (!frame) up.below.set(name, (frame = { name, colour, own: 0, ns: 0, below: new Map(), depth: up.depth + 1, up }));
  return frame;
}

/** @param {import("./data.js").Data} data @param {number[]} rows @param {string} method */
export function build(data, rows, method) {
  /** @type {Frame} */
  const root = { name: "all", colour: "#7a7d82", own: 0, ns: 0, below: new Map(), depth: -1, up: null };
  const { head } = data;
  const wholes = head.phases.map(component);
  const shades = wholes.map((name) => colourOf(data, name));
  for (const row of rows) {
    const top = below(root, data.group(row), colourOf(data, "apiserver"));
    const tree = method === "active_share" ? null : data.tree(row);
    if (tree) {
      /** @type {Frame[]} */
      const frames = new Array(tree.n);
      for (let at = 0; at < tree.n; at++) {
        const up = at ? frames[tree.parent[at]] : top;
        frames[at] = below(up, head.names[tree.name[at]], head.colours[tree.phase[at]]);
        frames[at].own += method === "critical_path" ? tree.critical[at] : tree.own[at];
      }
    } else {
      const { from, to, phase, ns } = data.partsOf(method, row);
      for (let at = from; at < to; at++) {
        const p = phase[at];
        below(below(top, wholes[p], shades[p]), head.phases[p], head.colours[p]).own += ns[at];
      }
    }
  }
  // From the leaves up, without recursion: a tree can be as deep as somebody likes.
  const order = [root];
  for (let at = 0; at < order.length; at++) for (const frame of order[at].below.values()) order.push(frame);
  for (let at = order.length - 1; at >= 0; at--) {
    order[at].ns += order[at].own;
    const up = order[at].up;
    if (up) up.ns += order[at].ns;
  }
  return { root, order };
}

/** @param {Frame} frame */
const stack = (frame) => { const names = []; for (let at = /** @type {Frame | null} */ (frame); at && at.up; at = at.up) names.unshift(at.name); return names; };

/** @param {import("./data.js").Data} data @param {{path: (path: string[]) => void, method: (method: string) => void}} tell */
export function flame(data, tell) {
  const canvas = h("canvas", { tabindex: 0, role: "img" });
  const live = h("p", { class: "live", "aria-live": "polite" });
  const total = h("p", { class: "faint" });
  const list = h("div", {});
  const methods = Object.entries({ critical_path: "Critical path", self_time: "Self time", active_share: "Active share" });
  const buttons = methods.map(([name, text]) => h("button", { type: "button", onclick: () => tell.method(name) }, text));
  const box = h("div", { class: "tall", tabindex: 0, role: "region", "aria-label": "Flame graph" }, canvas);
  const node = h("div", {}, h("div", { class: "tools" }, ...buttons, total), box, live, h("details", {}, h("summary", {}, "The widest frames as a table"), list));
  /** @type {{x: number, y: number, w: number, frame: Frame}[]} */
  let placed = [];
  /** @type {Frame | null} */
  let focus = null;
  /** @type {Frame} */
  let root = build(data, [], "critical_path").root;

  function draw() {
    const width = Math.max(box.clientWidth - 1, 200);
    placed = [];
    const todo = [{ frame: root, x: 0, w: width }];
    let deepest = 0;
    for (let next = todo.pop(); next; next = todo.pop()) {
      const { frame } = next;
      let x = next.x;
      for (const each of [...frame.below.values()].sort((a, b) => b.ns - a.ns || (a.name < b.name ? -1 : 1))) {
        const w = frame.ns ? (next.w * each.ns) / frame.ns * 1 : 0;
        if (w < 0.6) continue;
        placed.push({ x, y: each.depth * ROW, w, frame: each });
        deepest = Math.max(deepest, each.depth);
        todo.push({ frame: each, x, w });
        x += w;
      }
    }
    const height = (deepest + 1) * ROW;
    const ctx = sharp(canvas, width, height);
    const ink = inks(canvas);
    boxes(ctx, placed.map((each) => ({ x: each.x, y: each.y, w: each.w - 0.5, h: ROW - 1, colour: each.frame.colour, text: each.frame.name })));
    const at = placed.find((each) => each.frame === focus);
    if (at) { ctx.strokeStyle = ink.text; ctx.lineWidth = 2; ctx.strokeRect(at.x + 1, at.y + 1, Math.max(at.w - 2, 1), ROW - 2); }
  }
  function say(/** @type {Frame | null} */ frame) {
    focus = frame;
    live.textContent = frame ? `${stack(frame).join(" › ")}: ${duration(frame.ns)} (${percent(frame.ns, root.ns)}), ${duration(frame.own)} of its own` : "";
  }
  const at = (/** @type {MouseEvent} */ event) => {
    const frame = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    return placed.find((each) => x >= each.x && x < each.x + each.w && y >= each.y && y < each.y + ROW)?.frame ?? null;
  };
  canvas.addEventListener("pointermove", (event) => { const frame = at(event); if (frame !== focus) { say(frame); draw(); } });
  canvas.addEventListener("click", (event) => { const frame = at(event); if (frame) tell.path(stack(frame)); });
  canvas.addEventListener("keydown", (event) => {
    const now = focus ?? root;
    const sides = now.up ? placed.filter((each) => each.frame.up === now.up).map((each) => each.frame) : [];
    const side = sides.indexOf(now);
    const next = { ArrowDown: placed.find((each) => each.frame.up === now)?.frame, ArrowUp: now.up?.up ? now.up : undefined, ArrowRight: sides[side + 1], ArrowLeft: sides[side - 1] }[event.key];
    if (event.key === "Enter" && focus) tell.path(stack(focus));
    else if (next) { say(next); draw(); }
    else return;
    event.preventDefault();
  });
  return {
    node,
    draw,
    /** @param {number[]} rows @param {string} method */
    show(rows, method) {
      const built = build(data, rows, method);
      root = built.root;
      say(null);
      const missing = method === "active_share" ? 0 : rows.filter((row) => data.treeOf[row] < 0).length;
      total.replaceChildren(time(root.ns, { id: "flame-total" }), ` in all${missing ? `; of ${whole(missing)} requests without a tree here, by phase` : ""}`);
      canvas.setAttribute("aria-label", `Flame graph: ${whole(root.ns)} ns in all; the table below has its widest frames`);
      buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(methods[each][0] === method)));
      const widest = built.order.slice(1).sort((a, b) => b.ns - a.ns).slice(0, 25);
      list.replaceChildren(table("The widest frames", ["stack", "time", "of its own", "share"], widest.map((frame) => [stack(frame).join(" › "), time(frame.ns), time(frame.own), percent(frame.ns, root.ns)]), new Set([1, 2, 3])));
      draw();
    },
  };
}
