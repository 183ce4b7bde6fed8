//! Who spent the time: signatures, the table that the rules made of them, and the sums per request.
//!
//! A rule never sees a span. It sees a [`Signature`], once per distinct one; the table that comes of it is applied here
//! to every span. The own time of a span is labelled with its signature's phase, and cut at events that have a rule:
//!
//! ```text
//! span       |==========================|
//! events        e1        e2
//! label      own | after1 | after2            (own, or `before` of e1)
//! ```

pub mod blame;
pub mod details;
pub mod sweep;

use std::hash::Hash;
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::attribute::blame::Blame;
pub use crate::attribute::blame::Phase;
use crate::attribute::details::{Detail, Details};
use crate::attribute::sweep::{Cut, Overlap, Sweep};
use crate::columns::{NONE, run};
use crate::join::Joined;
use crate::join::apiservers::OWN_NAME;
use crate::join::requests::RequestColumns;
use crate::join::role::Role;
use crate::join::span_kind::{CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER};
use crate::join::times::id_key;
use crate::numbers::{low_u8, ns_between, u32_of};
use crate::threads;

/// The number of the event that the first call below a sync is.
pub const FIRST_CALL: u32 = NONE;
/// Its name for the rules.
pub const FIRST_CALL_NAME: &str = "first call";

/// A request counts in the tree of at most this many requests around it, so that nesting costs linear time.
pub const NESTING: u32 = 8;

/// Requests for each thread at least.
const PART_REQUESTS: usize = 256;

/// What a rule may know of a span. Names are numbers into the columns' interner, [`NONE`] for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    /// Index into the processes' service names.
    pub service: u32,
    /// Scope name.
    pub scope: u32,
    /// Span kind.
    pub kind: i32,
    /// Span name.
    pub name: u32,
    /// The parent's span name; [`NONE`] at the root of a request that is in no other, and at the top of a tree.
    pub parent: u32,
    /// CLIENT: without a SERVER child; SERVER: without an INTERNAL child; otherwise without a child.
    pub leaf: bool,
    /// Verb of the innermost request (a word of the requests), [`NONE`] outside requests.
    pub verb: u32,
    /// The innermost request is for a resource.
    pub resource_request: bool,
    /// What a rule needs from its attributes.
    pub detail: Detail,
}

/// The distinct signatures of the used spans, and the distinct events seen on them.
#[derive(Debug, Default)]
pub struct Signatures {
    /// Row → signature, or [`NONE`] for spans that are not used.
    pub of_row: Vec<u32>,
    /// In order of first appearance.
    pub list: Vec<Signature>,
    /// Distinct (signature, event name).
    pub events: Vec<(u32, u32)>,
    /// Event → its place in `events`; [`NONE`] where the span is not used.
    of_event: Vec<u32>,
    /// Distinct service names.
    pub services: Vec<String>,
}

impl Signatures {
    /// Interns the signature of every used span.
    pub fn new(joined: &Joined) -> Self {
        let (c, forest) = (&joined.columns, &joined.forest);
        let (services, service_of) = services(joined);
        let (requests, details) = (&joined.requests, Details::new(joined));
        let scopes: Vec<(u32, u32)> = (c.scopes.resource_spans.iter().zip(&c.scopes.name))
            .map(|(&resource, &name)| {
                (service_of[joined.processes.of_resource(resource as usize) as usize], name)
            })
            .collect();
        let signature = |row: u32, place: usize, around: &Around| {
            let (at, above) = (row as usize, joined.parent[row as usize]);
            let (service, scope) = scopes[c.spans.scope_spans[at] as usize];
            let is_top = row == around.root || above == NONE;
            Signature {
                service,
                scope,
                kind: c.spans.kind[at],
                name: c.spans.name[at],
                parent: if is_top { NONE } else { c.spans.name[above as usize] },
                leaf: is_leaf(joined, c.spans.kind[at], place),
                verb: around.verb,
                resource_request: around.resource,
                detail: details.of(at),
            }
        };
        let is_used =
            |row: u32| matches!(joined.role[row as usize], Role::Request | Role::Background | Role::Sync);
        let used = |places: Range<usize>| {
            let rows = forest.order[places.clone()].iter().copied();
            places.zip(rows).filter(|&(_, row)| is_used(row))
        };
        let (of_row, of_event) =
            (threads::unwritten(c.len(), NONE), threads::unwritten(c.events.name.len(), NONE));
        let number = |places: Range<usize>| {
            let mut numbers = Numbered::default();
            let mut around = Around::new(requests, NONE);
            for (place, row) in used(places.clone()) {
                let request = requests.of_row[row as usize];
                if request != around.request {
                    around = Around::new(requests, request);
                }
                let number = numbers.signatures.number(signature(row, place, &around));
                of_row[row as usize].store(number, Relaxed);
                for event in run(&c.spans.events_end, row as usize) {
                    let number = numbers.events.number((number, c.events.name[event]));
                    of_event[event].store(number, Relaxed);
                }
            }
            (places, numbers)
        };
        let mut parts =
            threads::split(forest.order.len(), joined.threads, threads::PART_SPANS, number).into_iter();
        // The numbers of the first part are those of the whole already; those of the others become so.
        let (_, mut all) = parts.next().unwrap_or_default();
        for (places, part) in parts {
            let (signatures, events) = all.learn(part);
            threads::split(places.len(), joined.threads, threads::PART_SPANS, |part| {
                for (_, row) in used(places.start + part.start..places.start + part.end) {
                    translate(&of_row[row as usize], &signatures);
                    let own = run(&c.spans.events_end, row as usize);
                    own.for_each(|event| translate(&of_event[event], &events));
                }
            });
        }
        Self {
            of_row: threads::numbers(of_row),
            list: all.signatures.list,
            events: all.events.list,
            of_event: threads::numbers(of_event),
            services,
        }
    }
}

fn translate(number: &AtomicU32, numbers: &[u32]) {
    number.store(numbers[number.load(Relaxed) as usize], Relaxed);
}

/// What the innermost request around a span adds to its signature.
struct Around {
    request: u32,
    /// Its root, if it is in no other.
    root: u32,
    verb: u32,
    resource: bool,
}

impl Around {
    fn new(requests: &RequestColumns, request: u32) -> Self {
        if request == NONE {
            return Self { request, root: NONE, verb: NONE, resource: false };
        }
        let at = request as usize;
        let root = if requests.outer[at] == NONE { requests.root[at] } else { NONE };
        Self { request, root, verb: requests.verb[at], resource: requests.resource[at] != 0 }
    }
}

/// What was numbered of a part of the trees.
#[derive(Default)]
struct Numbered {
    signatures: Numbers<Signature>,
    events: Numbers<(u32, u32)>,
}

impl Numbered {
    /// Adds what another part has numbered; gives the numbers that its numbers become.
    fn learn(&mut self, part: Self) -> (Vec<u32>, Vec<u32>) {
        let new = part.signatures.list.into_iter().map(|signature| self.signatures.number(signature));
        let signatures: Vec<u32> = new.collect();
        let pair = |(signature, name): (u32, u32)| (signatures[signature as usize], name);
        let events = part.events.list.into_iter().map(|event| self.events.number(pair(event))).collect();
        (signatures, events)
    }
}

/// Numbers distinct things in order of first appearance.
struct Numbers<T> {
    list: Vec<T>,
    known: HashMap<T, u32, RandomState>,
    /// By [`Mixed::mixed`], the number of the last thing that was looked up. Others may share its place.
    recent: [u32; 1 << RECENT_BITS],
}

const RECENT_BITS: u32 = 10;

/// What differs in most things that differ, as one number.
trait Mixed {
    fn mixed(&self) -> u32;
}

impl Mixed for Signature {
    #[inline(always)]
    fn mixed(&self) -> u32 {
        let names = self.name ^ self.parent.rotate_left(10);
        names ^ self.verb.rotate_left(20) ^ u32::from(self.leaf)
    }
}

impl Mixed for (u32, u32) {
    #[inline(always)]
    fn mixed(&self) -> u32 {
        self.0 ^ self.1.rotate_left(16)
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { list: Vec::new(), known: HashMap::default(), recent: [0; 1 << RECENT_BITS] }
    }
}

impl<T: Copy + Eq + Hash + Mixed> Numbers<T> {
    /// The number of `thing`, which is its place in the list.
    #[inline(always)]
    fn number(&mut self, thing: T) -> u32 {
        let at = (thing.mixed().wrapping_mul(0x9e37_79b1) >> (32 - RECENT_BITS)) as usize;
        let number = self.recent[at];
        if self.list.get(number as usize) == Some(&thing) {
            return number;
        }
        self.recent[at] = self.look_up(thing);
        self.recent[at]
    }

    #[inline(never)]
    fn look_up(&mut self, thing: T) -> u32 {
        *self.known.entry(thing).or_insert_with(|| {
            self.list.push(thing);
            u32_of(self.list.len()) - 1
        })
    }
}

fn services(joined: &Joined) -> (Vec<String>, Vec<u32>) {
    let (mut list, mut known) = (Vec::new(), HashMap::<&str, u32, RandomState>::default());
    let of_process = joined.processes.names.iter().map(|(service, _)| {
        // Whatever it is called: rules are written for one name.
        let service = if joined.apiservers.contains(service) { OWN_NAME } else { service };
        *known.entry(service).or_insert_with(|| {
            list.push(service.to_owned());
            u32_of(list.len()) - 1
        })
    });
    let of_process = of_process.collect();
    (list, of_process)
}

/// See [`Signature::leaf`], of a span of this kind at this place in the forest.
#[inline(always)]
fn is_leaf(joined: &Joined, own: i32, place: usize) -> bool {
    let (kind, forest) = (&joined.columns.spans.kind, &joined.forest);
    let wanted = match own {
        CLIENT => SERVER,
        SERVER => INTERNAL,
        _ => return forest.size[place] == 1,
    };
    let behind = |at: usize| at + forest.size[at] as usize;
    let end = behind(place);
    let mut child = place + 1;
    while child < end && kind[forest.order[child] as usize] != wanted {
        child = behind(child);
    }
    child >= end
}

/// What an event does to the label of its span's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRule {
    /// Label of the time before it, if it is the first event with a rule. `None`: the span's own phase.
    pub before: Option<Phase>,
    /// Label from it on. `None`: the span's own phase.
    pub after: Option<Phase>,
}

/// The rules' answers.
#[derive(Debug, Default)]
pub struct PhaseTable {
    /// Signature → phase.
    pub phase: Vec<Phase>,
    /// (signature, event name) → what the event does.
    pub events: HashMap<(u32, u32), EventRule, RandomState>,
    /// How many phases there are.
    pub phases: usize,
    /// Which of them become others below calls.
    pub blame: Blame,
}

/// How wall time is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The one chain of spans that the request waited for.
    CriticalPath,
    /// Every instant divided among the spans active in it.
    ActiveShare,
    /// Own time of every span; sums to more than the wall where spans overlap.
    SelfTime,
}

/// Per request: wall time and its parts.
#[derive(Debug, Clone, Default)]
pub struct Attributed {
    /// End minus start of the root, 0 when it ends before it starts.
    pub wall_ns: Vec<u64>,
    /// Where each request's run of parts ends.
    pub end: Vec<u32>,
    /// Phase of the part.
    pub phase: Vec<Phase>,
    /// Its time.
    pub ns: Vec<u64>,
}

impl Attributed {
    /// These requests, and behind them others.
    fn followed_by(mut self, others: Self) -> Self {
        let before = u32_of(self.phase.len());
        self.wall_ns.extend(others.wall_ns);
        self.end.extend(others.end.iter().map(|end| end + before));
        self.phase.extend(others.phase);
        self.ns.extend(others.ns);
        self
    }
}

/// Divides the wall time of every request.
pub fn attribute(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    method: Method,
    overlap: Overlap,
) -> Attributed {
    attribute_chosen(joined, signatures, table, (method, overlap), |_| true)
}

/// Divides the wall time of some requests; the others have no parts.
pub fn attribute_chosen(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    (method, overlap): (Method, Overlap),
    chosen: impl Fn(usize) -> bool + Sync,
) -> Attributed {
    let divide = |requests: Range<usize>| {
        let mut walker = Walker::new(joined, signatures, table);
        let mut result = Attributed::default();
        result.wall_ns.reserve_exact(requests.len());
        result.end.reserve_exact(requests.len());
        for request in requests {
            let mut wall_ns = 0;
            if chosen(request) {
                walker.load(request);
                walker.sum(method, overlap, i64::MAX);
                wall_ns = walker.wall_ns();
                walker.totals.drain(&mut result);
            }
            result.wall_ns.push(wall_ns);
            result.end.push(u32_of(result.phase.len()));
        }
        result
    };
    let divided = threads::split(joined.requests.len(), joined.threads, PART_REQUESTS, divide);
    divided.into_iter().reduce(Attributed::followed_by).unwrap_or_default()
}

/// Divides the wall time of syncs: of each up to an instant, or not at all where there is none.
pub fn attribute_syncs(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    (method, overlap): (Method, Overlap),
    until: impl Fn(usize) -> Option<i64>,
) -> Attributed {
    let mut walker = Walker::new(joined, signatures, table);
    let mut result = Attributed::default();
    for sync in 0..joined.syncs.len() {
        let mut wall_ns = 0;
        if let Some(until) = until(sync) {
            walker.load_sync(sync);
            walker.sum(method, overlap, until);
            wall_ns = walker.wall_ns();
            walker.totals.drain(&mut result);
        }
        result.wall_ns.push(wall_ns);
        result.end.push(u32_of(result.phase.len()));
    }
    result
}

/// One span of one request's tree, for people to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Row of the span.
    pub row: u32,
    /// Effective start, ns since the epoch.
    pub start: i64,
    /// Effective end.
    pub end: i64,
    /// Time on the critical path.
    pub critical_ns: u64,
    /// Own time.
    pub self_ns: u64,
    /// Phase of its own time.
    pub phase: Phase,
}

/// A stretch of the critical path.
pub type Segment = (u32, i64, i64, Phase);

/// The tree of one request with the critical and own time of every span, and the critical path, earliest first.
pub fn explain(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    request: usize,
) -> (Vec<Node>, Vec<Segment>) {
    let mut found = (Vec::new(), Vec::new());
    explain_each(joined, signatures, table, &[request], |nodes, segments| {
        found = (nodes.to_vec(), segments.to_vec());
    });
    found
}

/// The same of many requests, one after the other.
pub fn explain_each(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    requests: &[usize],
    mut take: impl FnMut(&[Node], &[Segment]),
) {
    let mut walker = Walker::new(joined, signatures, table);
    let (mut nodes, mut segments) = (Vec::new(), Vec::new());
    for &request in requests {
        walker.load(request);
        nodes.clear();
        segments.clear();
        walker.explain(&mut nodes, &mut segments);
        take(&nodes, &segments);
    }
}

impl Walker<'_> {
    /// The loaded request.
    fn explain(&mut self, nodes: &mut Vec<Node>, segments: &mut Vec<Segment>) {
        nodes.extend((0..self.rows.len()).map(|node| {
            let (start, end) = self.sweep.effective(u32_of(node));
            let (row, phase) = (self.rows[node], self.own_phase(node));
            Node { row, start, end, critical_ns: 0, self_ns: 0, phase }
        }));
        self.sweep.self_time(|node, from, to| nodes[node as usize].self_ns += ns_between(from, to));
        let labels = &self.labels;
        self.sweep.critical_path(Overlap::Clip, |node, from, to| {
            nodes[node as usize].critical_ns += ns_between(from, to);
            let first = segments.len();
            labels.cut(node, from, to, |phase, from, to| segments.push((node, from, to, phase)));
            segments[first..].reverse();
        });
        segments.reverse();
    }
}

/// The same of a sync.
pub fn explain_sync(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    sync: usize,
) -> (Vec<Node>, Vec<Segment>) {
    let mut walker = Walker::new(joined, signatures, table);
    let (mut nodes, mut segments) = (Vec::new(), Vec::new());
    walker.load_sync(sync);
    walker.explain(&mut nodes, &mut segments);
    (nodes, segments)
}

/// Labels of own time: per node an initial phase and the marks where it changes, in order of time.
#[derive(Debug, Default)]
pub struct Labels {
    nodes: Vec<Label>,
    marks: Vec<(i64, Phase)>,
}

/// Labels of one node: where its run of marks begins and ends, and the phase before the first.
#[derive(Debug, Clone, Copy)]
struct Label {
    first: u32,
    end: u32,
    initial: Phase,
}

impl Labels {
    fn clear(&mut self) {
        self.nodes.clear();
        self.marks.clear();
    }

    /// The label of a node before its first mark.
    pub fn initial(&self, node: u32) -> Phase {
        self.nodes[node as usize].initial
    }

    /// Where the label of a node changes, in order of time, and to what.
    pub fn marks(&self, node: u32) -> &[(i64, Phase)] {
        let Label { first, end, .. } = self.nodes[node as usize];
        &self.marks[first as usize..end as usize]
    }

    /// Cuts an own segment of `node` at the marks.
    #[inline(always)]
    pub fn cut(&self, node: u32, from: i64, to: i64, mut emit: impl FnMut(Phase, i64, i64)) {
        let Label { first, end, initial } = self.nodes[node as usize];
        if first == end {
            emit(initial, from, to);
        } else {
            cut(&self.marks[first as usize..end as usize], initial, (from, to), emit);
        }
    }
}

fn cut(
    marks: &[(i64, Phase)],
    initial: Phase,
    (mut from, to): (i64, i64),
    mut emit: impl FnMut(Phase, i64, i64),
) {
    let passed = marks.partition_point(|&(at, _)| at <= from);
    let mut label = if passed == 0 { initial } else { marks[passed - 1].1 };
    for &(at, next) in marks[passed..].iter().take_while(|&&(at, _)| at < to) {
        if at > from {
            emit(label, from, at);
        }
        (from, label) = (at, next);
    }
    emit(label, from, to);
}

/// A CONSUMER below a PRODUCER: no span waits for it, so neither it nor anything below it counts.
#[inline]
fn is_detached(joined: &Joined, row: usize, is_root: bool) -> bool {
    let kind = &joined.columns.spans.kind;
    kind[row] == CONSUMER && !is_root && kind[joined.parent[row] as usize] == PRODUCER
}

/// Sums by phase, of one request at a time.
struct Totals {
    ns: Vec<u64>,
    /// One bit for each phase that has a sum: those of a request are few, and come out in order.
    touched: Vec<u64>,
}

impl Totals {
    fn new(phases: usize) -> Self {
        Self { ns: vec![0; phases], touched: vec![0; phases.div_ceil(64)] }
    }

    #[inline(always)]
    fn add(&mut self, phase: Phase, ns: u64) {
        self.ns[usize::from(phase)] += ns;
        self.touched[usize::from(phase / 64)] |= 1 << (phase % 64);
    }

    /// Moves the sums to the result, by phase number, and clears them.
    fn drain(&mut self, result: &mut Attributed) {
        for (bits, first) in self.touched.iter_mut().zip((0..).step_by(64)) {
            while *bits != 0 {
                let phase: Phase = first + Phase::from(low_u8(bits.trailing_zeros().into()));
                *bits &= *bits - 1;
                result.phase.push(phase);
                result.ns.push(std::mem::take(&mut self.ns[usize::from(phase)]));
            }
        }
    }
}

/// Goes from request to request, with memory that is used again.
pub struct Walker<'a> {
    joined: &'a Joined,
    signatures: &'a Signatures,
    table: &'a PhaseTable,
    /// Signature → some of its events have a rule.
    has_rules: Vec<bool>,
    /// Place in [`Signatures::events`] → the rule.
    rules: Vec<Option<EventRule>>,
    /// The kernels, and effective intervals.
    pub sweep: Sweep,
    /// Node → row.
    pub rows: Vec<u32>,
    /// Place in the tree → node, where that was visited; of an earlier tree otherwise.
    node_of_place: Vec<u32>,
    /// How many requests the innermost one is inside.
    innermost: u32,
    /// Node → context of what is below it.
    below: Vec<u16>,
    /// Phases of own time.
    pub labels: Labels,
    totals: Totals,
    cuts: Vec<(Cut, Phase)>,
    shares: Vec<u64>,
}

impl<'a> Walker<'a> {
    /// Knows the rules, and no request yet.
    pub fn new(joined: &'a Joined, signatures: &'a Signatures, table: &'a PhaseTable) -> Self {
        let rules: Vec<_> = signatures.events.iter().map(|pair| table.events.get(pair).copied()).collect();
        let mut has_rules = vec![false; signatures.list.len()];
        for (&(signature, _), rule) in signatures.events.iter().zip(&rules) {
            has_rules[signature as usize] |= rule.is_some();
        }
        Self {
            joined,
            signatures,
            table,
            has_rules,
            rules,
            sweep: Sweep::default(),
            rows: Vec::new(),
            node_of_place: Vec::new(),
            innermost: joined.requests.level.iter().copied().max().unwrap_or(0),
            below: Vec::new(),
            labels: Labels::default(),
            totals: Totals::new(table.phases),
            cuts: Vec::new(),
            shares: Vec::new(),
        }
    }

    /// Takes one request's tree, in preorder. Requests nested too deep are left out; their time stays with the caller.
    pub fn load(&mut self, request: usize) {
        let requests = &self.joined.requests;
        let deepest = requests.level[request] + NESTING;
        let any = self.innermost > deepest;
        let is_too_deep = |row: usize| any && requests.level[requests.of_row[row] as usize] > deepest;
        self.load_tree(requests.root[request], is_too_deep, |_| false);
    }

    /// Takes a sync's tree. What it did not wait for counts for nothing, and so does all below it.
    fn load_sync(&mut self, sync: usize) {
        let (requests, syncs) = (&self.joined.requests, &self.joined.syncs);
        let is_too_deep = |row: usize| match requests.of_row[row] {
            NONE => false,
            request => requests.level[request as usize] > NESTING,
        };
        let root = syncs.root[sync];
        self.load_tree(root, is_too_deep, |row| syncs.detached.contains(&u32_of(row)));
        self.mark_first_call(root);
    }

    /// Takes the tree below a root.
    #[inline(always)]
    fn load_tree(
        &mut self,
        root: u32,
        is_too_deep: impl Fn(usize) -> bool,
        is_beside: impl Fn(usize) -> bool,
    ) {
        let joined = self.joined;
        let base = joined.forest.position[root as usize] as usize;
        let size = joined.forest.size[base] as usize;
        self.clear();
        if self.node_of_place.len() < size {
            self.node_of_place.resize(size, 0);
        }
        let mut place = 0;
        while place < size {
            let row = joined.forest.order[base + place] as usize;
            if is_too_deep(row) {
                place += joined.forest.size[base + place] as usize;
                continue;
            }
            self.node_of_place[place] = u32_of(self.rows.len());
            let (mut above, mut context) = (0, 0);
            if place > 0 {
                let place = joined.forest.position[joined.parent[row] as usize] as usize - base;
                above = self.node_of_place[place];
                context = self.below[above as usize];
            }
            let (start, mut end) = (joined.start[row], joined.end[row]);
            if is_detached(joined, row, place == 0) || is_beside(row) {
                end = start;
            }
            self.sweep.add(above, start, end, id_key(joined.columns.spans.span_id[row]));
            self.below.push(self.table.blame.below(context, self.signatures.of_row[row]));
            self.rows.push(u32_of(row));
            self.label(row, context);
            place += 1;
        }
    }

    /// The first call that a root waits for counts as an event of it, where the rules ask for it.
    fn mark_first_call(&mut self, root: u32) {
        let signature = self.signatures.of_row[root as usize];
        let Some(&rule) = self.table.events.get(&(signature, FIRST_CALL)) else { return };
        let own = self.table.phase[signature as usize];
        let (joined, detached) = (self.joined, &self.joined.syncs.detached);
        let starts = (1..).zip(&self.rows[1..]).filter_map(|(node, &row)| {
            let (start, end) = (joined.start[row as usize], joined.end[row as usize]);
            let counts = self.sweep.parent(node) == 0 && !is_detached(joined, row as usize, false);
            (counts && start < end && !detached.contains(&row)).then_some(start)
        });
        let Some(at) = starts.min() else { return };
        let Labels { nodes, marks } = &mut self.labels;
        let place = marks[..nodes[0].end as usize].partition_point(|&(other, _)| other <= at);
        if place == 0 {
            nodes[0].initial = rule.before.unwrap_or(own);
        }
        marks.insert(place, (at, rule.after.unwrap_or(own)));
        nodes[0].end += 1;
        nodes[1..].iter_mut().for_each(|node| (node.first, node.end) = (node.first + 1, node.end + 1));
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.below.clear();
        self.sweep.clear();
        self.labels.clear();
    }

    /// Finds the label and the marks of one span's own time.
    #[inline(always)]
    fn label(&mut self, row: usize, context: u16) {
        let signature = self.signatures.of_row[row];
        let own = self.table.phase[signature as usize];
        let mut initial = self.table.blame.phase(context, signature, own);
        let first = u32_of(self.labels.marks.len());
        if self.has_rules[signature as usize] {
            initial = self.mark(row, context).unwrap_or(initial);
        }
        let end = u32_of(self.labels.marks.len());
        self.labels.nodes.push(Label { first, end, initial });
    }

    /// Finds the marks; gives the label before them, if that is another than the span's own.
    fn mark(&mut self, row: usize, context: u16) -> Option<Phase> {
        let c = &self.joined.columns;
        let signature = self.signatures.of_row[row];
        let own = self.table.phase[signature as usize];
        let phase = |phase: Phase| self.table.blame.phase(context, signature, phase);
        let shift = self.joined.start[row].saturating_sub_unsigned(c.spans.start_time_unix_nano[row]);
        let first = self.labels.marks.len();
        let mut earliest: Option<(i64, Option<Phase>)> = None;
        let (mut latest, mut in_order) = (i64::MIN, true);
        for event in run(&c.spans.events_end, row) {
            let Some(rule) = self.rules[self.signatures.of_event[event] as usize] else { continue };
            let at = i64::try_from(c.events.time_unix_nano[event]).unwrap_or(i64::MAX).saturating_add(shift);
            if earliest.is_none_or(|(first, _)| at < first) {
                earliest = Some((at, rule.before));
            }
            (in_order, latest) = (in_order && latest <= at, at);
            self.labels.marks.push((at, phase(rule.after.unwrap_or(own))));
        }
        if !in_order {
            self.labels.marks[first..].sort_by_key(|&(at, _)| at);
        }
        let before = earliest.and_then(|(_, before)| before).map(phase);
        before.filter(|_| c.spans.dropped_events_count[row] == 0)
    }

    fn own_phase(&self, node: usize) -> Phase {
        let signature = self.signatures.of_row[self.rows[node] as usize];
        let context = if node == 0 { 0 } else { self.below[self.sweep.parent(u32_of(node)) as usize] };
        self.table.blame.phase(context, signature, self.table.phase[signature as usize])
    }

    /// When a node began and ended, before clipping; it ends as it starts where no span waits for it.
    pub fn times(&self, node: usize) -> (i64, i64) {
        let row = self.rows[node] as usize;
        let start = self.joined.start[row];
        (start, if is_detached(self.joined, row, node == 0) { start } else { self.joined.end[row] })
    }

    fn wall_ns(&self) -> u64 {
        let (start, end) = self.sweep.effective(0);
        ns_between(start, end)
    }

    /// Sums by phase, up to an instant on the critical path.
    fn sum(&mut self, method: Method, overlap: Overlap, until: i64) {
        let Self { sweep, labels, totals, .. } = self;
        let mut add = |phase: Phase, from: i64, to: i64| totals.add(phase, ns_between(from, to));
        match method {
            Method::CriticalPath => sweep.critical_path(overlap, |node, from, to| {
                if from < until {
                    labels.cut(node, from, to.min(until), &mut add);
                }
            }),
            Method::SelfTime => sweep.self_time(|node, from, to| labels.cut(node, from, to, &mut add)),
            Method::ActiveShare => self.share(),
        }
    }

    fn share(&mut self) {
        self.cuts.clear();
        for node in 0..u32_of(self.rows.len()) {
            self.cuts.extend(self.labels.marks(node).iter().map(|&(at, phase)| (Cut { at, node }, phase)));
        }
        self.cuts.sort_by_key(|(cut, _)| cut.at);
        let cuts: Vec<Cut> = self.cuts.iter().map(|&(cut, _)| cut).collect();
        self.sweep.active_share(&cuts, &mut self.shares);
        let initial = self.labels.nodes.iter().map(|label| &label.initial);
        let phases = initial.chain(self.cuts.iter().map(|(_, phase)| phase));
        for (&phase, &ns) in phases.zip(&self.shares).filter(|&(_, &ns)| ns > 0) {
            self.totals.add(phase, ns);
        }
    }
}
