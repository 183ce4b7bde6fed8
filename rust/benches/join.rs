//! How the cost of a span grows with their number, and with the shape of their trees: join and attribution.
//!
//! ```text
//! cargo bench --bench join -- [FILE] [--spans N]... [--rounds N] [--json]
//! ```
//!
//! The file's spans are repeated up to each size, every copy with ids and times of its own. Without `--spans`:
//! 20 000, 100 000 and 1 000 000; five million want 8 GB. Join includes the signatures, attribution is the critical
//! path cut into phases, with a rule for every event.

#![allow(clippy::print_stdout, missing_docs)]
#![allow(clippy::pedantic, reason = "what a bench counts is small, and what it prints is rounded")]

mod support;

use std::sync::Arc;

use k8strace_core::{
    Attributed, Attributes, Columns, Joined, Method, Overlap, PhaseTable, Rare, Signatures, TextRef,
    attribute, decode, join,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::{Value, json};
use support::{Contender, Options, Spread, Workload, interleave, label_everything, timed};

const SIZES: [usize; 3] = [20_000, 100_000, 1_000_000];
const DEGENERATE: usize = 1_000_000;

fn main() {
    let options = Options::read();
    let workload = Workload::load(&options.files[0]);
    let base = decode(&workload.requests().collect::<Vec<_>>()).expect("valid requests");
    let sizes = if options.spans.is_empty() { SIZES.to_vec() } else { options.spans };
    let grown = sizes.iter().map(|&spans| Case::new("", repeat(&base, spans)));
    let degenerate = [("one parent", fan(DEGENERATE)), ("a chain", chain(DEGENERATE))];
    let degenerate = degenerate.into_iter().map(|(name, columns)| Case::new(name, columns));
    let cases: Vec<Case> = grown.chain(degenerate).collect();
    let mut contenders: Vec<Contender<'_>> = cases.iter().flat_map(Case::contenders).collect();
    interleave(&mut contenders, options.rounds);
    let costs: Vec<Cost> =
        cases.iter().zip(contenders.chunks(2)).map(|(case, pair)| Cost::of(case, pair)).collect();
    let growth = growth(&cases, &contenders, sizes.len());
    if options.json {
        let costs: Vec<Value> = costs.iter().map(Cost::json).collect();
        let most = &cases[sizes.len() - 1];
        let [join, attribution] = [0, 1].map(|at| {
            let at = 2 * (sizes.len() - 1) + at;
            contenders[at].spent(most.columns.len() as f64)
        });
        let of = json!({"workload": workload.name, "ns_per_span": costs, "growth": growth.json(),
            "spent_per_span_of_most": {"join": join, "attribution": attribution}});
        println!("{of}");
    } else {
        print(&workload.name, &costs, &growth);
    }
}

fn print(workload: &str, costs: &[Cost], growth: &Spread) {
    println!("\n{workload}\n\n{:30} {:>10} {:>12} {:>10}", "ns/span", "join", "attribution", "both");
    for Cost { name, join, attribution } in costs {
        println!("{name:30} {join:>10.1} {attribution:>12.1} {:>10.1}", join + attribution);
    }
    println!("\nboth, most / fewest spans      {growth}   goal 1.6, floor 2.2");
}

/// Spans to join, and what the join makes of them.
struct Case {
    name: String,
    columns: Arc<Columns>,
    joined: Joined,
    signatures: Signatures,
    table: PhaseTable,
}

impl Case {
    fn new(shape: &str, columns: Columns) -> Self {
        let name = format!("{} spans {shape}", columns.len());
        let columns = Arc::new(columns);
        let joined = join(Arc::clone(&columns));
        let signatures = Signatures::new(&joined);
        let table = label_everything(&signatures);
        let case = Self { name, columns, joined, signatures, table };
        let attributed = case.attribute();
        let parts: u64 = attributed.ns.iter().sum();
        assert_eq!(attributed.wall_ns.iter().sum::<u64>(), parts, "the parts sum to the wall time");
        assert!(!attributed.wall_ns.is_empty(), "there are requests");
        case
    }

    fn attribute(&self) -> Attributed {
        attribute(&self.joined, &self.signatures, &self.table, Method::CriticalPath, Overlap::Clip)
    }

    fn contenders(&self) -> [Contender<'_>; 2] {
        let both = || {
            let joined = join(Arc::clone(&self.columns));
            let signatures = Signatures::new(&joined);
            (joined, signatures)
        };
        [
            Contender::new(self.name.clone(), move || timed(both).0),
            Contender::new(self.name.clone(), || timed(|| self.attribute()).0),
        ]
    }
}

/// Medians, in ns a span.
struct Cost {
    name: String,
    join: f64,
    attribution: f64,
}

impl Cost {
    fn of(case: &Case, contenders: &[Contender<'_>]) -> Self {
        let of = |contender: &Contender<'_>| contender.median_ns() / case.columns.len() as f64;
        Self { name: case.name.clone(), join: of(&contenders[0]), attribution: of(&contenders[1]) }
    }

    fn json(&self) -> Value {
        json!({"spans": self.name, "join": self.join, "attribution": self.attribution})
    }
}

/// Cost of a span among the most spans, over that among the fewest, round by round.
fn growth(cases: &[Case], contenders: &[Contender<'_>], sizes: usize) -> Spread {
    let cost = |at: usize| {
        let spans = cases[at].columns.len() as f64;
        let pair = contenders[2 * at].rounds().iter().zip(contenders[2 * at + 1].rounds());
        pair.map(move |(join, attribution)| (join + attribution) / spans)
    };
    Spread::of(cost(sizes - 1).zip(cost(0)).map(|(most, fewest)| most / fewest).collect())
}

// ── More of the same ──────────────────────────────────────────────────────────────────────────────

/// Numbers that look random, always the same ones.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// As many copies as fit into `spans`, at least one: other ids, later times, their own bytes.
fn repeat(base: &Columns, spans: usize) -> Columns {
    let copies = (spans / base.len()).max(1);
    let mut all = base.clone();
    let mut arena = Vec::with_capacity(base.arena.len() * copies);
    let bytes = base.arena.part(0).bytes;
    arena.extend_from_slice(bytes);
    let first = base.spans.start_time_unix_nano.iter().min().copied().unwrap_or(0);
    let last = base.spans.end_time_unix_nano.iter().max().copied().unwrap_or(0);
    let mut random = Random(0);
    for copy in 1..copies {
        let by = Shift {
            arena: arena.len(),
            ns: (last - first) * copy as u64,
            trace: u128::from(random.next()) << 64 | u128::from(random.next()),
            span: random.next(),
        };
        by.append(&mut all, base);
        arena.extend_from_slice(bytes);
    }
    all.arena = arena.into();
    all
}

/// What makes a copy different.
struct Shift {
    arena: usize,
    ns: u64,
    trace: u128,
    span: u64,
}

impl Shift {
    fn append(&self, all: &mut Columns, base: &Columns) {
        let (resources, scopes) = (all.resources.batch.len() as u32, all.scopes.name.len() as u32);
        let (spans, events) = (all.len() as u32, all.events.name.len() as u32);
        let (to, from) = (&mut all.spans, &base.spans);
        to.present.extend(&from.present);
        to.trace_id.extend(from.trace_id.iter().map(|id| self.trace_id(*id)));
        to.span_id.extend(from.span_id.iter().map(|id| self.span_id(*id)));
        to.parent_span_id.extend(from.parent_span_id.iter().map(|id| self.span_id(*id)));
        self.rare(&mut to.trace_state, &from.trace_state, spans, |text| self.text(text));
        to.flags.extend(&from.flags);
        to.name.extend(&from.name);
        to.kind.extend(&from.kind);
        to.start_time_unix_nano.extend(from.start_time_unix_nano.iter().map(|ns| ns + self.ns));
        to.end_time_unix_nano.extend(from.end_time_unix_nano.iter().map(|ns| ns + self.ns));
        let counts = |to: &mut Rare<u32>, from: &Rare<u32>| self.rare(to, from, spans, |count| count);
        counts(&mut to.dropped_attributes_count, &from.dropped_attributes_count);
        counts(&mut to.dropped_events_count, &from.dropped_events_count);
        counts(&mut to.dropped_links_count, &from.dropped_links_count);
        self.rare(&mut to.status_code, &from.status_code, spans, |code| code);
        self.rare(&mut to.status_message, &from.status_message, spans, |text| self.text(text));
        to.scope_spans.extend(from.scope_spans.iter().map(|row| row + scopes));
        to.events_end.extend(from.events_end.iter().map(|row| row + events));
        let (to, from) = (&mut all.events, &base.events);
        to.time_unix_nano.extend(from.time_unix_nano.iter().map(|ns| ns + self.ns));
        self.rare(&mut to.dropped_attributes_count, &from.dropped_attributes_count, events, |count| count);
        to.name.extend(&from.name);
        let (to, from) = (&mut all.links, &base.links);
        to.span.extend(from.span.iter().map(|row| row + spans));
        to.present.extend(&from.present);
        to.trace_id.extend(from.trace_id.iter().map(|id| self.trace_id(*id)));
        to.span_id.extend(from.span_id.iter().map(|id| self.span_id(*id)));
        to.trace_state.extend(from.trace_state.iter().map(|text| self.text(*text)));
        to.dropped_attributes_count.extend(&from.dropped_attributes_count);
        to.flags.extend(&from.flags);
        let (to, from) = (&mut all.scopes, &base.scopes);
        to.resource_spans.extend(from.resource_spans.iter().map(|row| row + resources));
        to.present.extend(&from.present);
        to.name.extend(&from.name);
        to.version.extend(from.version.iter().map(|text| self.text(*text)));
        to.dropped_attributes_count.extend(&from.dropped_attributes_count);
        to.schema_url.extend(from.schema_url.iter().map(|text| self.text(*text)));
        let (to, from) = (&mut all.resources, &base.resources);
        to.batch.extend(from.batch.iter().map(|batch| batch + all.batches));
        to.present.extend(&from.present);
        to.dropped_attributes_count.extend(&from.dropped_attributes_count);
        to.schema_url.extend(from.schema_url.iter().map(|text| self.text(*text)));
        all.batches += base.batches;
        self.attributes(&mut all.span_attributes, &base.span_attributes);
        self.attributes(&mut all.event_attributes, &base.event_attributes);
        self.attributes(&mut all.link_attributes, &base.link_attributes);
        self.attributes(&mut all.scope_attributes, &base.scope_attributes);
        self.attributes(&mut all.resource_attributes, &base.resource_attributes);
    }

    fn attributes(&self, to: &mut Attributes, from: &Attributes) {
        let before = to.key.len() as u32;
        let value = |row: usize| from.text_ref(row).map_or(from.value[row], |text| self.text(text).bits());
        to.end.extend(from.end.iter().map(|row| row + before));
        to.key.extend(&from.key);
        to.kind.extend(&from.kind);
        to.value.extend((0..from.key.len()).map(value));
    }

    fn rare<T: Copy + Default + PartialEq>(
        &self,
        to: &mut Rare<T>,
        from: &Rare<T>,
        before: u32,
        moved: impl Fn(T) -> T,
    ) {
        from.among(&(0..usize::MAX)).for_each(|(row, value)| to.push(row + before, moved(value)));
    }

    fn text(&self, text: TextRef) -> TextRef {
        let start = text.start() + self.arena;
        TextRef::new(start, start + text.len()).expect("a short text")
    }

    fn trace_id(&self, id: [u8; 16]) -> [u8; 16] {
        (u128::from_le_bytes(id) ^ self.trace).to_le_bytes()
    }

    /// No parent stays no parent.
    fn span_id(&self, id: [u8; 8]) -> [u8; 8] {
        if id == [0; 8] { id } else { (u64::from_le_bytes(id) ^ self.span).to_le_bytes() }
    }
}

// ── Shapes that nobody sends on purpose ───────────────────────────────────────────────────────────

/// A request with all other spans right below it, side by side and overlapping.
fn fan(spans: usize) -> Columns {
    let mut random = Random(1);
    let whole = spans as u64 * 1000;
    one_request(spans, |row| {
        let start = random.next() % whole;
        let end = (start + random.next() % 5000).min(whole);
        if row == 0 { (None, 0, whole) } else { (Some(0), start, end) }
    })
}

/// A request with each span in the one before it.
fn chain(spans: usize) -> Columns {
    let whole = spans as u64 * 1000;
    one_request(spans, |row| (row.checked_sub(1), row as u64, whole - row as u64))
}

/// One request of the apiserver: `place` says of every row its parent, start and end.
fn one_request(spans: usize, mut place: impl FnMut(usize) -> (Option<usize>, u64, u64)) -> Columns {
    const EPOCH_NS: u64 = 1_790_000_000 * 1_000_000_000;
    let mut random = Random(2);
    let ids: Vec<Vec<u8>> = (0..spans).map(|_| random.next().to_le_bytes().to_vec()).collect();
    let span = |row: usize| {
        let (parent, start, end) = place(row);
        Span {
            trace_id: vec![7; 16],
            span_id: ids[row].clone(),
            parent_span_id: parent.map_or_else(Vec::new, |parent| ids[parent].clone()),
            name: if row == 0 { "GET /api/v1/nodes" } else { "authorization" }.to_owned(),
            kind: if row == 0 { 2 } else { 1 },
            start_time_unix_nano: EPOCH_NS + start,
            end_time_unix_nano: EPOCH_NS + end,
            ..Span::default()
        }
    };
    let service = AnyValue { value: Some(StringValue("apiserver".to_owned())) };
    let service = KeyValue { key: "service.name".to_owned(), value: Some(service), ..KeyValue::default() };
    let scope = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp".to_owned();
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope { name: scope, ..InstrumentationScope::default() }),
        spans: (0..spans).map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes: vec![service], ..Resource::default() }),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let bytes = ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec();
    decode(&[bytes]).expect("a valid request")
}
