// Elements from text and numbers. Nothing is ever parsed as markup.
import { clean, duration, percent, whole } from "./words.js";

/** @typedef {Node | string | number | null | undefined | false} Content */
/** @typedef {Record<string, any>} Props */

const SVG = "http://www.w3.org/2000/svg";

/** @param {Element} node @param {Props} props @param {Content[]} children */
function fill(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : typeof value === "string" ? clean(value) : String(value));
  }
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(typeof child === "number" ? whole(child) : clean(child)));
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name @param {Props} [props] @param {...Content} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(name, props = {}, ...children) {
  const node = document.createElement(name);
  fill(node, props, children);
  return node;
}

/** @param {string} name @param {Props} [props] @param {...Content} children */
export function s(name, props = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  fill(node, props, children);
  return node;
}

/** A duration whose exact value is beside it. @param {number | bigint} ns @param {Props} [props] */
export const time = (ns, props = {}) =>
  h("data", { value: ns.toString(), title: `${whole(ns)} ns`, ...props }, duration(ns));

/** @typedef {{name: string, ns: number | bigint, colour: string}} Part */

/** @param {Part[]} parts @param {string} kind */
export function bar(parts, kind = "bar") {
  const total = parts.reduce((sum, part) => sum + Number(part.ns), 0) || 1;
  const label = parts.map((part) => `${part.name} ${percent(part.ns, total)}`).join(", ") || "no time";
  const svg = s("svg", { class: kind, viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": label });
  let at = 0;
  for (const part of parts) {
    const width = (1000 * Number(part.ns)) / total;
    const title = s("title", {}, `${part.name}: ${whole(part.ns)} ns (${percent(part.ns, total)})`);
    svg.append(s("rect", { x: at.toFixed(2), y: 0, width: Math.max(width, 0.5).toFixed(2), height: 10, fill: part.colour }, title));
    at += width;
  }
  return svg;
}

/** @param {string} colour */
export const swatch = (colour) =>
  s("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, s("rect", { width: 10, height: 10, rx: 2, fill: colour }));

/** Every part; those below a hundredth are one click away. @param {Part[]} parts */
export function legend(parts) {
  const total = parts.reduce((sum, part) => sum + Number(part.ns), 0);
  const list = (/** @type {Part[]} */ some) => h("ul", { class: "legend" }, ...some.map((part) =>
    h("li", {}, swatch(part.colour), h("span", { class: "name" }, part.name), " ", time(part.ns), h("span", { class: "faint" }, ` ${percent(part.ns, total)}`))));
  const small = parts.filter((part) => Number(part.ns) * 100 < total);
  if (small.length < 4) return list(parts);
  return h("div", {}, list(parts.filter((part) => !small.includes(part))), h("details", { class: "faint" }, h("summary", {}, `${small.length} smaller parts`), list(small)));
}

/** @param {string} caption @param {string[]} heads @param {Content[][]} rows @param {Set<number>} numbers */
export function table(caption, heads, rows, numbers) {
  const side = (/** @type {number} */ at) => (numbers.has(at) ? "n" : null);
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, ...heads.map((text, at) => h("th", { scope: "col", class: side(at) }, text)))),
      h("tbody", {}, ...rows.map((row) =>
        h("tr", {}, ...row.map((cell, at) => (at ? h("td", { class: side(at) }, cell) : h("th", { scope: "row", class: side(at) }, cell))))))));
}

/** A canvas as sharp as the screen, and its context in CSS pixels. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
export function sharp(canvas, width, height) {
  const scale = Math.min(window.devicePixelRatio || 1, 3);
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Colours of the theme. @param {Element} node */
export function inks(node) {
  const style = getComputedStyle(node);
  const of = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return { text: of("--text"), faint: of("--faint"), line: of("--line"), accent: of("--accent"), back: of("--back"), error: of("--error") };
}
