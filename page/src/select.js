// Which requests are looked at, and sums over them.
/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./state.js").State} State */

/** @param {Data} data @param {State} state @returns {number[]} rows that fit, in order of time, watches and inner ones too */
export function fitting(data, state) {
  const path = state.path ? /** @type {string[]} */ (JSON.parse(state.path)) : null;
  const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [];
  for (let row = 0; row < data.n; row++) {
    const start = data.start[row];
    const wall = data.wall[row];
    if (state.t0 !== undefined && start < state.t0) continue;
    if (state.t1 !== undefined && start >= state.t1) continue;
    if (state.w0 !== undefined && wall < state.w0) continue;
    if (state.w1 !== undefined && wall > state.w1) continue;
    if (state.status !== undefined && !statusFits(state.status, data.status[row])) continue;
    let fits = true;
    for (const key of /** @type {const} */ (["verb", "resource", "namespace", "user_agent"]))
      fits &&= state[key] === undefined || (data.text(key, row) ?? "-") === state[key];
    if (!fits) continue;
    if (words.length) {
      const text = `${data.what(row)} ${data.text("object_name", row) ?? ""} ${data.status[row]} ${data.trace(row)} ${data.text("user_agent", row) ?? ""}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
    }
    if (path && !hasPath(data, row, path)) continue;
    rows.push(row);
  }
  return rows;
}

/** @param {string} wanted "403", "5xx", "errors" @param {number} status */
function statusFits(wanted, status) {
  if (wanted === "errors") return status >= 400;
  return wanted.endsWith("xx") ? Math.floor(status / 100) === Number(wanted[0]) : String(status) === wanted;
}

/** Does a request wait in this stack? @param {Data} data @param {number} row @param {string[]} path */
function hasPath(data, row, path) {
  if (data.group(row) !== path[0]) return false;
  if (path.length === 1) return true;
  const tree = data.tree(row);
  if (!tree) return false;
  const good = new Uint8Array(tree.n);
  for (let at = 0; at < tree.n; at++) {
    const depth = tree.depth[at] + 1;
    good[at] = depth < path.length && data.head.names[tree.name[at]] === path[depth] && (depth === 1 || good[tree.parent[at]]) ? 1 : 0;
    if (good[at] && depth === path.length - 1) return true;
  }
  return false;
}

/** Those that are judged by duration, and whose time is not in another one of these. @param {Data} data @param {number[]} rows */
export function counted(data, rows) {
  const judged = rows.filter((row) => data.judged(row));
  const chosen = new Set(judged);
  return judged.filter((row) => {
    const seen = new Set();
    for (let at = data.countedIn[row]; at && !seen.has(at); at = data.countedIn[at - 1]) {
      if (chosen.has(at - 1)) return false;
      seen.add(at);
    }
    return true;
  });
}

/** Exact above 2 ** 53 too. @param {Iterable<number>} values @returns {bigint} */
export function sum(values) {
  let big = 0n;
  let small = 0;
  for (const value of values) {
    small += value;
    if (small > 2 ** 52) [big, small] = [big + BigInt(small), 0];
  }
  return big + BigInt(small);
}

/** Phase → ns. @param {Data} data @param {number[]} rows @param {string} method @returns {bigint[]} */
export function phases(data, rows, method) {
  const small = new Float64Array(data.head.phases.length);
  const big = data.head.phases.map(() => 0n);
  for (const row of rows) {
    const { from, to, phase, ns } = data.partsOf(method, row);
    for (let at = from; at < to; at++) {
      const p = phase[at];
      small[p] += ns[at];
      if (small[p] > 2 ** 52) { big[p] += BigInt(small[p]); small[p] = 0; }
    }
  }
  return big.map((value, p) => value + BigInt(small[p]));
}

/** Parts with names and colours, as bars show them. @param {Data} data @param {bigint[]} ns @param {boolean} whole components, not phases */
export function parts(data, ns, whole) {
  /** @type {Map<string, {name: string, ns: bigint, colour: string}>} */
  const found = new Map();
  for (const phase of data.head.order) {
    const at = data.head.phases.indexOf(phase);
    if (at < 0 || !ns[at]) continue;
    const name = whole ? component(phase) : phase;
    const known = found.get(name);
    if (known) known.ns += ns[at];
    else found.set(name, { name, ns: ns[at], colour: whole ? colourOf(data, name) : data.head.colours[at] });
  }
  return [...found.values()];
}

/** @param {string} phase */
export const component = (phase) => phase.split(".")[0];

/** @param {Data} data @param {string} name */
export const colourOf = (data, name) => data.head.shades[name] ?? "#7a7d82";

/** The value of nearest rank; rows are sorted by wall time. @param {Data} data @param {number[]} sorted @param {number} percent */
export const quantile = (data, sorted, percent) => data.wall[sorted[Math.ceil((sorted.length * percent) / 100) - 1]];
