// What Python packed: a head in JSON and columns of varints, see k8strace/page/columns.py.
// Numbers of ns are exact: every one of them is below 2 ** 53, because times count from the first request's start.

/**
 * @typedef {object} Head
 * @property {string} base
 * @property {string} told
 * @property {boolean} redacted
 * @property {string[]} phases
 * @property {string[]} colours
 * @property {string[]} order
 * @property {Record<string, string>} shades component → colour
 * @property {string[]} names
 * @property {[string, string | null][]} processes
 * @property {Record<string, (string | null)[]>} texts
 * @property {Record<string, [number, boolean]>} columns
 * @property {{code: string, where: string[], trace: string | null}[]} findings
 * @property {number[]} trees
 * @property {Record<string, Detail>} details
 * @property {string[]} methods
 *
 * @typedef {[string, string | null, number, number, string | null, string | null,
 *   [string, string | null][], [number, string][], [string, string][]]} SpanDetail
 * @typedef {[string, string, string | null, string | null, string | null]} Repair
 * @typedef {{spans: SpanDetail[], repairs: Repair[]}} Detail
 */

const TREE_PER_SPAN = ["up", "name", "process", "kind", "phase", "start", "duration", "cut_start", "cut_end", "self_ns"];
const TREE_PER_STRETCH = ["waited", "length", "spent"];

/** @param {string} text base64 @returns {Uint8Array<ArrayBuffer>} */
function bytesOf(text) {
  const modern = /** @type {any} */ (Uint8Array).fromBase64;
  if (modern) return modern.call(Uint8Array, text);
  const binary = atob(text);
  const out = new Uint8Array(binary.length);
  for (let at = 0; at < out.length; at++) out[at] = binary.charCodeAt(at);
  return out;
}

/** @param {string} text base64 of gzip */
export const read = (text) => unpack(bytesOf(text));

/** @param {Uint8Array<ArrayBuffer>} bytes gzip @returns {Promise<Data>} */
export async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Data(new Uint8Array(await new Response(stream).arrayBuffer()));
}

/** Reads varints one after the other. */
class Reader {
  /** @param {Uint8Array} bytes @param {number} at @param {boolean} signed */
  constructor(bytes, at, signed) {
    this.bytes = bytes;
    this.at = at;
    this.signed = signed;
  }
  next() {
    const bytes = this.bytes;
    let byte = bytes[this.at++];
    let value = byte & 0x7f;
    let scale = 128;
    while (byte >= 0x80) {
      byte = bytes[this.at++];
      value += (byte & 0x7f) * scale;
      scale *= 128;
    }
    if (!this.signed) return value;
    return value % 2 ? -(value + 1) / 2 : value / 2;
  }
}

/** Requests, their parts, and their trees, which are decoded when they are looked at. */
export class Data {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    /** @type {Head} */
    this.head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
    /** @type {Record<string, {bytes: Uint8Array, signed: boolean}>} */
    this.raw = {};
    let at = 4 + size;
    for (const [name, [length, signed]] of Object.entries(this.head.columns)) {
      this.raw[name] = { bytes: bytes.subarray(at, at + length), signed };
      at += length;
    }
    this.wall = this.numbers("wall");
    this.n = this.wall.length;
    this.start = this.numbers("start");
    for (let row = 1; row < this.n; row++) this.start[row] += this.start[row - 1];
    this.status = this.numbers("status");
    this.flags = this.numbers("flags");
    this.spans = this.numbers("spans");
    this.calls = this.numbers("etcd_call_count");
    this.countedIn = this.numbers("counted_in");
    this.linkedFrom = this.numbers("linked_from");
    this.prelude = this.numbers("prelude");
    this.preStart = this.numbers("pre_start_ns");
    this.asyncTail = this.numbers("async_tail_ns");
    /** @type {Record<string, Float64Array>} */
    this.texts = Object.fromEntries(Object.keys(this.head.texts).map((name) => [name, this.numbers(name)]));
    this.parts = Object.fromEntries(this.head.methods.map((method) => [method, this.partsBy(method)]));
    this.first = 0;
    this.last = 0;
    for (let row = 0; row < this.n; row++) this.last = Math.max(this.last, this.start[row]);
    for (let row = 0; row < this.n; row++) this.first = Math.min(this.first, this.start[row]);
    this.treeOf = new Int32Array(this.n).fill(-1);
    this.head.trees.forEach((row, tree) => (this.treeOf[row] = tree));
    this.treeCounts = this.numbers("tree.counts");
    this.places = this.findTrees();
  }

  /** @param {string} name */
  numbers(name) {
    const { bytes, signed } = this.raw[name];
    let count = 0;
    for (let at = 0; at < bytes.length; at++) if (bytes[at] < 0x80) count++;
    const out = new Float64Array(count);
    const reader = new Reader(bytes, 0, signed);
    for (let row = 0; row < count; row++) out[row] = reader.next();
    return out;
  }

  /** @param {string} method */
  partsBy(method) {
    const count = this.numbers(`${method}.count`);
    const begin = new Uint32Array(count.length);
    const end = new Uint32Array(count.length);
    let sum = 0;
    for (let row = 0; row < count.length; row++) {
      begin[row] = sum;
      end[row] = sum += Math.max(count[row] - 1, 0);
    }
    return { same: count, begin, end, phase: this.numbers(`${method}.phase`), ns: this.numbers(`${method}.ns`) };
  }

  /**
   * The parts of a request: where they are, and in what.
   * @param {string} method @param {number} row
   */
  partsOf(method, row) {
    const told = this.parts[method];
    const of = told.same[row] ? told : this.parts[this.head.methods[0]];
    return { from: of.begin[row], to: of.end[row], phase: of.phase, ns: of.ns };
  }

  /** Where every tree begins in every column: one pass over the bytes, no number is kept. */
  findTrees() {
    const counts = this.treeCounts;
    const trees = counts.length / 2;
    /** @type {Record<string, Uint32Array>} */
    const places = {};
    for (const [names, odd] of /** @type {[string[], number][]} */ ([[TREE_PER_SPAN, 0], [TREE_PER_STRETCH, 1]])) {
      for (const name of names) {
        const { bytes } = this.raw[`tree.${name}`];
        const place = (places[name] = new Uint32Array(trees));
        let at = 0;
        for (let tree = 0; tree < trees; tree++) {
          place[tree] = at;
          for (let left = counts[2 * tree + odd]; left > 0; at++) if (bytes[at] < 0x80) left--;
        }
      }
    }
    return places;
  }

  /** @param {string} name @param {number} tree */
  reader(name, tree) {
    const { bytes, signed } = this.raw[`tree.${name}`];
    return new Reader(bytes, this.places[name][tree], signed);
  }

  /** @param {number} row @returns {Tree | null} */
  tree(row) {
    const tree = this.treeOf[row];
    return tree < 0 ? null : new Tree(this, tree);
  }

  /** @param {string} name @param {number} row */
  text(name, row) {
    return this.head.texts[name][this.texts[name][row]];
  }

  /** @param {number} row */
  trace(row) {
    let out = "";
    const { bytes } = this.raw.trace_id;
    for (let at = 16 * row; at < 16 * row + 16; at++) out += bytes[at].toString(16).padStart(2, "0");
    return out;
  }

  /** Rows of a trace, by its id in hex or the beginning of it. @param {string} trace @returns {number[]} */
  rowsOf(trace) {
    const { bytes } = this.raw.trace_id;
    const whole = trace.length >> 1;
    const wanted = Uint8Array.from({ length: whole }, (_, at) => Number.parseInt(trace.slice(2 * at, 2 * at + 2), 16));
    const found = [];
    for (let row = 0; row < this.n; row++) {
      let at = 0;
      while (at < whole && bytes[16 * row + at] === wanted[at]) at++;
      if (at === whole && this.trace(row).startsWith(trace.toLowerCase())) found.push(row);
    }
    return found;
  }

  /** @param {number} row "list pods -n kube-system" */
  what(row) {
    const resource = this.text("resource", row);
    const sub = this.text("subresource", row);
    const space = this.text("namespace", row);
    const thing = resource ? (sub ? `${resource}/${sub}` : resource) : this.text("what", row);
    return [this.text("verb", row), thing, space && `-n ${space}`].filter(Boolean).join(" ");
  }

  /** @param {number} row */
  group(row) {
    return `${this.text("verb", row) ?? "-"} ${this.text("resource", row) ?? "(no resource)"}`;
  }

  /** @param {number} row */
  judged(row) {
    return (this.flags[row] & 3) === 2;
  }
}

/** One request's spans in preorder; times count from its effective start. */
export class Tree {
  /** @param {Data} data @param {number} tree */
  constructor(data, tree) {
    const n = (this.n = data.treeCounts[2 * tree]);
    const stretches = data.treeCounts[2 * tree + 1];
    this.depth = new Int32Array(n);
    this.parent = new Int32Array(n);
    this.name = new Int32Array(n);
    this.process = new Int32Array(n);
    this.kind = new Uint8Array(n);
    this.phase = new Int32Array(n);
    this.start = new Float64Array(n);
    this.end = new Float64Array(n);
    this.from = new Float64Array(n);
    this.to = new Float64Array(n);
    this.own = new Float64Array(n);
    /** Waited for: on the critical path. */
    this.critical = new Float64Array(n);
    const [up, name, process, kind, phase, start, duration, cutStart, cutEnd, own] = TREE_PER_SPAN.map((each) =>
      data.reader(each, tree),
    );
    /** @type {number[]} */
    const above = [];
    for (let at = 0; at < n; at++) {
      for (let levels = up.next(); levels > 0; levels--) above.pop();
      const parent = above.length ? above[above.length - 1] : -1;
      this.depth[at] = above.length;
      above.push(at);
      this.parent[at] = parent;
      this.name[at] = name.next();
      this.process[at] = process.next();
      this.kind[at] = kind.next();
      this.phase[at] = phase.next();
      this.start[at] = start.next() + (parent < 0 ? 0 : this.start[parent]);
      this.end[at] = this.start[at] + duration.next();
      this.from[at] = this.start[at] + cutStart.next();
      this.to[at] = this.end[at] - cutEnd.next();
      this.own[at] = own.next();
    }
    this.path = {
      node: new Int32Array(stretches),
      from: new Float64Array(stretches),
      to: new Float64Array(stretches),
      phase: new Int32Array(stretches),
    };
    const [waited, length, spent] = TREE_PER_STRETCH.map((each) => data.reader(each, tree));
    let node = 0;
    let time = 0;
    for (let at = 0; at < stretches; at++) {
      node += waited.next();
      this.path.node[at] = node;
      this.path.from[at] = time;
      const ns = length.next();
      time += ns;
      this.path.to[at] = time;
      this.path.phase[at] = spent.next();
      this.critical[node] += ns;
    }
    this.wall = time;
  }

  /** @param {number} at */
  failed(at) {
    return this.kind[at] >= 8;
  }
}

export const KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer", "", ""];
