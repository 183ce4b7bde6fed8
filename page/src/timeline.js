// Requests over time and latency: how many are in each cell, not a dot for each.
import { h, inks, sharp } from "./dom.js";
import { duration, whole } from "./words.js";

const CELL = 5;
const LEFT = 56;
const BOTTOM = 22;
const HEIGHT = 200;

/**
 * @param {import("./data.js").Data} data
 * @param {(range: {t0?: number, t1?: number, w0?: number, w1?: number}) => void} brushed
 */
export function timeline(data, brushed) {
  const canvas = h("canvas", { role: "img", "aria-label": "Requests over time and wall time; the fields above choose a part" });
  const from = field("from", "s"), to = field("to", "s"), slower = field("slower than", "ms"), faster = field("faster than", "ms");
  const fields = [from, to, slower, faster];
  for (const each of fields) each.input.addEventListener("change", () => brushed({ t0: value(from, 1e9), t1: value(to, 1e9), w0: value(slower, 1e6), w1: value(faster, 1e6) }));
  const box = h("div", { class: "canvas" }, canvas);
  const node = h("div", {}, h("div", { class: "tools" }, ...fields.map((each) => each.label), h("span", { class: "faint" }, "or drag over the picture")), box);
  const span = Math.max(data.last - data.first, 1);
  let low = Infinity, high = 1;
  for (let row = 0; row < data.n; row++) if (data.judged(row)) { low = Math.min(low, Math.max(data.wall[row], 1)); high = Math.max(high, data.wall[row]); }
  const [bottom, top] = [Math.log(Math.min(low, high) * 0.8), Math.log(high * 1.25)];
  let width = 0;
  /** @type {{x: number, y: number} | null} */
  let down = null;
  /** @type {number[]} */
  let rows = [];
  /** @type {import("./state.js").State} */
  let state = {};
  const x = (/** @type {number} */ t) => LEFT + ((t - data.first) / span) * (width - LEFT - 8);
  const y = (/** @type {number} */ w) => (HEIGHT - BOTTOM) * (1 - (Math.log(Math.max(w, 1)) - bottom) / (top - bottom));
  const time = (/** @type {number} */ px) => Math.round(data.first + ((px - LEFT) / (width - LEFT - 8)) * span);
  const wall = (/** @type {number} */ py) => Math.round(Math.exp(bottom + (1 - py / (HEIGHT - BOTTOM)) * (top - bottom)));

  function draw(/** @type {{x: number, y: number} | null} */ now = null) {
    width = Math.max(box.clientWidth, 200);
    const ink = inks(canvas);
    const ctx = sharp(canvas, width, HEIGHT);
    ctx.font = "11px system-ui, sans-serif";
    ctx.fillStyle = ink.faint;
    ctx.strokeStyle = ink.line;
    for (let decade = Math.ceil(bottom / Math.LN10); decade <= top / Math.LN10; decade++) {
      const at = Math.round(y(10 ** decade)) + 0.5;
      ctx.beginPath(); ctx.moveTo(LEFT, at); ctx.lineTo(width, at); ctx.stroke();
      ctx.fillText(duration(10 ** decade).replace(".00", "").replace(".0", ""), 0, at + 4);
    }
    for (let tick = 0; tick <= 4; tick++) {
      ctx.textAlign = tick === 4 ? "right" : tick ? "center" : "left";
      ctx.fillText(tick ? `+${duration((span * tick) / 4)}` : "0 s", LEFT + ((width - LEFT - 8) * tick) / 4, HEIGHT - 5);
    }
    ctx.textAlign = "left";
    const cells = new Map();
    const chosen = new Set(rows);
    let most = 1;
    for (let row = 0; row < data.n; row++) {
      if (!data.judged(row)) continue;
      const key = Math.floor(x(data.start[row]) / CELL) * 1000 + Math.floor(y(data.wall[row]) / CELL);
      const cell = cells.get(key) ?? { all: 0, chosen: 0, failed: 0 };
      cell.all++;
      if (chosen.has(row)) { cell.chosen++; most = Math.max(most, cell.chosen); }
      if (data.status[row] >= 500) cell.failed++;
      cells.set(key, cell);
    }
    for (const [key, cell] of cells) {
      ctx.globalAlpha = cell.chosen ? 0.3 + (0.7 * Math.log(1 + cell.chosen)) / Math.log(1 + most) : 0.3;
      ctx.fillStyle = cell.chosen ? (cell.failed ? ink.error : ink.accent) : ink.line;
      ctx.fillRect(Math.floor(key / 1000) * CELL, (key % 1000) * CELL, CELL - 0.5, CELL - 0.5);
    }
    ctx.globalAlpha = 1;
    if (down && now) outline(ctx, down.x, down.y, now.x, now.y, ink.accent);
    else if (state.t0 !== undefined || state.t1 !== undefined || state.w0 !== undefined || state.w1 !== undefined)
      outline(ctx, x(state.t0 ?? data.first), y(state.w1 ?? Math.exp(top)), x(state.t1 ?? data.last), y(state.w0 ?? Math.exp(bottom)), ink.accent);
  }

  const at = (/** @type {PointerEvent} */ event) => {
    const frame = canvas.getBoundingClientRect();
    return { x: Math.min(Math.max(event.clientX - frame.left, LEFT), width - 8), y: Math.min(Math.max(event.clientY - frame.top, 0), HEIGHT - BOTTOM) };
  };
  canvas.addEventListener("pointerdown", (event) => { down = at(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => down && draw(at(event)));
  canvas.addEventListener("pointerup", (event) => {
    if (!down) return;
    const [a, b] = [down, at(event)];
    down = null;
    if (Math.abs(a.x - b.x) + Math.abs(a.y - b.y) < 6) return brushed({});
    const tall = Math.abs(a.y - b.y) > 12;
    brushed({ t0: time(Math.min(a.x, b.x)), t1: time(Math.max(a.x, b.x)) + 1, w0: tall ? wall(Math.max(a.y, b.y)) : undefined, w1: tall ? wall(Math.min(a.y, b.y)) : undefined });
  });
  return {
    node,
    draw: () => draw(),
    /** @param {number[]} fits @param {import("./state.js").State} told */
    show(fits, told) {
      rows = fits;
      state = told;
      for (const [each, ns, unit] of /** @type {[Field, number | undefined, number][]} */ ([[from, told.t0, 1e9], [to, told.t1, 1e9], [slower, told.w0, 1e6], [faster, told.w1, 1e6]])) each.input.value = ns === undefined ? "" : String(ns / unit);
      canvas.dataset.shown = whole(fits.length);
      draw();
    },
  };
}

/** @typedef {{input: HTMLInputElement, label: HTMLLabelElement}} Field */
/** @param {string} name @param {string} unit @returns {Field} */
function field(name, unit) {
  const input = h("input", { type: "number", step: "any", min: 0 });
  return { input, label: h("label", {}, `${name} `, input, ` ${unit}`) };
}
/** @param {Field} each @param {number} unit */
const value = (each, unit) => (each.input.value === "" ? undefined : Math.round(Number(each.input.value) * unit));

/** @param {CanvasRenderingContext2D} ctx @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {string} colour */
function outline(ctx, x1, y1, x2, y2, colour) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.5;
  ctx.strokeRect(Math.min(x1, x2), Math.min(y1, y2), Math.abs(x2 - x1), Math.abs(y2 - y1));
}
