// Numbers as people read them: the same as k8strace/words.py, letter for letter.

/** @type {[string, number][]} */
const UNITS = [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]];

/** @param {number | bigint} value */
export const whole = (value) => value.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** @param {number} value */
export function number(value) {
  const digits = Math.abs(value) < 9.995 ? 2 : Math.abs(value) < 99.95 ? 1 : 0;
  const [left, right] = value.toFixed(digits).split(".");
  return whole(Number(left)) + (right ? `.${right}` : "");
}

/** @param {number | bigint} ns */
export function duration(ns) {
  const value = Number(ns);
  const [unit, size] = UNITS.find(([, each]) => Math.abs(value) < 999.5 * each) ?? UNITS[3];
  return size === 1 ? `${value} ns` : `${number(value / size)} ${unit}`;
}

/** @param {number | bigint} part @param {number | bigint} all */
export function percent(part, all) {
  if (!part || !all) return "·";
  const share = (100 * Number(part)) / Number(all);
  if (share < 0.1) return "<0.1%";
  if (share >= 99.5 && share < 100) return `${Math.min(share, 99.9).toFixed(1)}%`;
  return share >= 9.95 ? `${share.toFixed(0)}%` : `${share.toFixed(1)}%`;
}

/** @param {number} count @param {string} noun */
export function count(count, noun) {
  const plural = count === 1 ? "" : /(ch|s)$/.test(noun) ? "es" : "s";
  return `${whole(count)} ${noun}${plural}`;
}

/** Text of spans without what does not show, as the library shows it. @param {string} text */
export const clean = (text) =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${/** @type {number} */ (char.codePointAt(0)).toString(16)}}`);
