//! Spans → call trees: duplicates, parents, cycles, the known shapes of kube-apiserver, roles and the ledger.
//!
//! ```text
//! index ids ─ parents ─ cut cycles ─ known shapes ─ lay out trees ─ clocks ─ roles ─ requests
//! ```
//!
//! Every change to what was sent is a [`Repair`] row; every span gets exactly one [`Role`], so the counts add up.

use std::sync::Arc;

use crate::clock::{self, ClockOffset};
use crate::columns::{Columns, present, run};
use crate::forest::{self, Forest, NONE};
use crate::index::Index;
use crate::processes::Processes;
use crate::requests::RequestColumns;
use crate::shapes;
use crate::twins::{self, Twin};

/// What became of a span. The first three are used, the rest are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// In a request's tree.
    Request,
    /// An `authentication` span above its request.
    Prelude,
    /// In a tree below an etcd call that no request made.
    Background,
    /// An exact repeat.
    Duplicate,
    /// The same id as another span, with other content.
    Conflict,
    /// Without a usable id.
    InvalidId,
    /// In a tree whose top names a parent that never arrived.
    Orphan,
    /// The same, but the top is an inner span of the apiserver: the request's SERVER span is missing.
    RootMissing,
    /// An HTTP call that one of the requests here answers.
    Caller,
    /// `authentication` in a trace of its own.
    Authentication,
    /// Anything else.
    Unrelated,
}

impl Role {
    /// All roles, in the ledger's order, with their names.
    pub const NAMES: [&'static str; 11] = [
        "request",
        "prelude",
        "background",
        "duplicate",
        "conflict",
        "invalid_id",
        "orphan",
        "root_missing",
        "caller",
        "authentication",
        "unrelated",
    ];
    /// How many of them are uses.
    pub const USED: usize = 3;
}

/// A change that made a known shape usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repair {
    /// Which rule.
    pub kind: RepairKind,
    /// The span that was changed.
    pub row: u32,
    /// Its parent before, or [`NONE`].
    pub before: u32,
    /// Its parent after, or [`NONE`].
    pub after: u32,
}

/// The rules that change structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RepairKind {
    /// An exact repeat was merged.
    Duplicate,
    /// The same id came with other content; the richer span stays.
    Conflict,
    /// A span was its own parent, or in a cycle of parents.
    Cycle,
    /// A child of an `authentication` span that had ended moved to the request.
    AuthenticationChildren,
    /// `SerializeObject` beside its verb span moved under it.
    SerializeSibling,
    /// A webhook call beside the storage update that it happened in moved under it.
    WebhookSibling,
    /// The `authentication` span above a request became its prelude.
    Prelude,
}

impl RepairKind {
    /// The names, in the order of the variants.
    pub const NAMES: [&'static str; 7] = [
        "duplicate",
        "conflict",
        "cycle",
        "authentication_children",
        "serialize_sibling",
        "webhook_sibling",
        "prelude",
    ];
}

/// The joined spans.
#[derive(Debug)]
pub struct Joined {
    /// What was decoded.
    pub columns: Arc<Columns>,
    /// Row → what became of it.
    pub role: Vec<Role>,
    /// Row → its parent's row after repairs, or [`NONE`].
    pub parent: Vec<u32>,
    /// All trees.
    pub forest: Forest,
    /// Row → start, after clock correction, in ns since the epoch; at most [`LATEST`].
    pub start: Vec<i64>,
    /// Row → end.
    pub end: Vec<i64>,
    /// Row → its process.
    pub processes: Processes,
    /// Measured clock offsets between processes.
    pub clock_offsets: Vec<ClockOffset>,
    /// CLIENT rows of etcd calls whose SERVER span is here, as (client, server).
    pub rpc_pairs: Vec<(u32, u32)>,
    /// Changes made.
    pub repairs: Vec<Repair>,
    /// The requests, by (start, trace id, span id).
    pub requests: RequestColumns,
    /// CLIENT rows that are background calls, in row order.
    pub background: Vec<u32>,
    /// How many distinct traces there are.
    pub traces: u32,
}

/// Later times (the year 2116 on) are taken for this one, so that no difference of two times overflows.
pub const LATEST: i64 = 1 << 62;

/// The span id as a number that sorts like its bytes.
#[inline(always)]
pub fn id_key(span_id: [u8; 8]) -> u64 {
    u64::from_be_bytes(span_id)
}

/// Joins spans into call trees.
pub fn join(columns: Arc<Columns>) -> Joined {
    let c = &*columns;
    let spans = &c.spans;
    let saturate = |ns: &u64| i64::try_from(*ns).unwrap_or(LATEST).min(LATEST);
    let mut start: Vec<i64> = spans.start_time_unix_nano.iter().map(saturate).collect();
    let mut end: Vec<i64> = spans.end_time_unix_nano.iter().map(saturate).collect();
    let mut repairs = Vec::new();
    let mut role = vec![Role::Unrelated; c.len()];
    let index = index_spans(c, &mut role, &mut repairs);
    let (mut parent, missing) = find_parents(c, &index, &role);
    let key = |row: u32| (start[row as usize], id_key(spans.span_id[row as usize]));
    for row in forest::cut_cycles(&mut parent, key) {
        let before = index.find(&spans.trace_id[row as usize], &spans.parent_span_id[row as usize]);
        repairs.push(Repair { kind: RepairKind::Cycle, row, before: before.unwrap_or(NONE), after: NONE });
    }
    let names = shapes::KnownNames::new(c);
    let in_tree = |row: u32| role[row as usize] == Role::Unrelated;
    let processes = Processes::new(c);
    let mut prelude =
        shapes::repair(c, &names, &processes, &in_tree, (&start, &end), &mut parent, &mut repairs);
    prelude.sort_unstable();
    let forest = forest::lay_out(&parent, in_tree, key);
    let rpc_pairs = rpc_pairs(&names, c, &forest, &parent);
    let clock_offsets = clock::measure(c, &processes, &rpc_pairs, &start, &end);
    clock::correct(&clock_offsets, c, &processes, &forest, &parent, &mut start, &mut end);
    assign_roles(&names, c, &index, &forest, &missing, &prelude, &mut role);
    let requests = RequestColumns::new(c, &names, &forest, &role, &prelude, (&start, &end));
    let background = etcd_calls(c, &names).filter(|&row| role[row as usize] == Role::Background).collect();
    let traces = count_traces(spans);
    repairs.sort_by_key(|repair| (repair.kind as u8, repair.row));
    Joined {
        role,
        parent,
        forest,
        start,
        end,
        processes,
        clock_offsets,
        rpc_pairs,
        repairs,
        requests,
        background,
        traces,
        columns,
    }
}

/// Enters every span under its id. Of several with one id only one takes further part.
fn index_spans<'a>(c: &'a Columns, role: &mut [Role], repairs: &mut Vec<Repair>) -> Index<'a> {
    let spans = &c.spans;
    let mut index = Index::new(&spans.trace_id, &spans.span_id);
    let mut twins: Vec<(u32, u32)> = Vec::new();
    const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
    for row in 0..c.len() as u32 {
        let at = row as usize;
        if spans.present[at] & IDS != IDS || spans.span_id[at] == [0; 8] || spans.trace_id[at] == [0; 16] {
            role[at] = Role::InvalidId;
        } else if let Some(first) = index.insert(row) {
            twins.push((first, row));
        }
    }
    twins.sort_unstable();
    for same_id in twins.chunk_by(|a, b| a.0 == b.0) {
        let mut rows: Vec<u32> = same_id.iter().map(|&(_, row)| row).collect();
        rows.push(same_id[0].0);
        set_twins_aside(c, &mut rows, &mut index, role, repairs);
    }
    index
}

fn set_twins_aside(
    c: &Columns,
    rows: &mut [u32],
    index: &mut Index<'_>,
    role: &mut [Role],
    repairs: &mut Vec<Repair>,
) {
    let stays = twins::judge(c, rows, |row, verdict, stays| {
        let (aside, kind) = match verdict {
            Twin::Duplicate => (Role::Duplicate, RepairKind::Duplicate),
            Twin::Conflict => (Role::Conflict, RepairKind::Conflict),
        };
        role[row as usize] = aside;
        repairs.push(Repair { kind, row, before: stays, after: stays });
    });
    index.replace(stays);
}

/// Row → parent row; and whether the row names a parent that is not here.
fn find_parents(c: &Columns, index: &Index<'_>, role: &[Role]) -> (Vec<u32>, Vec<bool>) {
    let spans = &c.spans;
    let mut missing = vec![false; c.len()];
    let parent = (0..c.len())
        .map(|row| {
            let id = &spans.parent_span_id[row];
            if role[row] != Role::Unrelated || *id == [0; 8] {
                return NONE;
            }
            index.find(&spans.trace_id[row], id).unwrap_or_else(|| {
                missing[row] = true;
                NONE
            })
        })
        .collect();
    (parent, missing)
}

/// CLIENT rows of etcd calls made by the apiserver.
pub fn etcd_calls(c: &Columns, names: &shapes::KnownNames) -> impl Iterator<Item = u32> {
    (0..c.len() as u32).filter(move |&row| names.is_etcd_call(c, row as usize))
}

/// Pairs every etcd CLIENT span with the SERVER span below it.
fn rpc_pairs(names: &shapes::KnownNames, c: &Columns, forest: &Forest, parent: &[u32]) -> Vec<(u32, u32)> {
    let server = |row: u32| names.is_rpc(c, row as usize) && c.spans.kind[row as usize] == shapes::SERVER;
    let client = |row: u32| names.is_rpc(c, row as usize) && c.spans.kind[row as usize] == shapes::CLIENT;
    let rows = forest.order.iter().copied().filter(|&row| server(row));
    rows.map(|row| (parent[row as usize], row)).filter(|&(up, _)| up != NONE && client(up)).collect()
}

/// Gives every span that is still undecided its role, tree by tree.
fn assign_roles(
    names: &shapes::KnownNames,
    c: &Columns,
    index: &Index<'_>,
    forest: &Forest,
    missing: &[bool],
    prelude: &[(u32, u32)],
    role: &mut [Role],
) {
    let called = called_by_requests(c, names, index, forest);
    let mut at = 0;
    while at < forest.order.len() {
        let top = forest.order[at];
        let rows = &forest.order[at..at + forest.size[at] as usize];
        let has_request = rows.iter().any(|&row| names.is_request(c, row as usize));
        let called = called.binary_search(&top).is_ok();
        let is_prelude = |row: &u32| prelude.binary_search_by_key(row, |&(above, _)| above).is_ok();
        let of_top = match role_of_top(names, c, top as usize, missing[top as usize], called) {
            Role::Authentication if has_request || rows.iter().any(is_prelude) => Role::Unrelated,
            role => role,
        };
        let mut request_end = at;
        for (place, &row) in (at..).zip(rows) {
            if names.is_request(c, row as usize) {
                request_end = request_end.max(place + forest.size[place] as usize);
            }
            role[row as usize] = match of_top {
                _ if place < request_end => Role::Request,
                Role::Caller if row != top => Role::Unrelated,
                _ => of_top,
            };
        }
        at += rows.len();
    }
    for &(above, _) in prelude {
        role[above as usize] = Role::Prelude;
    }
}

/// Rows that a request here has as its parent or names in a span link, sorted.
fn called_by_requests(
    c: &Columns,
    names: &shapes::KnownNames,
    index: &Index<'_>,
    forest: &Forest,
) -> Vec<u32> {
    let is_kept = |row: usize| forest.position[row] != NONE;
    let mut rows: Vec<u32> = (0..c.len())
        .filter(|&row| names.is_request(c, row) && is_kept(row))
        .flat_map(|row| {
            let s = &c.spans;
            let links = run(&s.links_end, row).map(|link| (&c.links.trace_id[link], &c.links.span_id[link]));
            links.chain([(&s.trace_id[row], &s.parent_span_id[row])])
        })
        .filter_map(|(trace_id, span_id)| index.find(trace_id, span_id))
        .collect();
    rows.sort_unstable();
    rows
}

fn role_of_top(names: &shapes::KnownNames, c: &Columns, top: usize, missing: bool, called: bool) -> Role {
    let inner = c.spans.kind[top] == shapes::INTERNAL && names.in_apiserver(c, top);
    match missing {
        true if inner => Role::RootMissing,
        true => Role::Orphan,
        false if names.is_etcd_call(c, top) => Role::Background,
        false if called && names.is_http_call(c, top) => Role::Caller,
        false if names.is_authentication(c, top) => Role::Authentication,
        false => Role::Unrelated,
    }
}

fn count_traces(spans: &crate::columns::SpanColumns) -> u32 {
    let mut seen = hashbrown::HashSet::with_hasher(foldhash::fast::RandomState::default());
    let mut last = None;
    for (id, bits) in spans.trace_id.iter().zip(&spans.present) {
        if bits & present::TRACE_ID != 0 && *id != [0; 16] && last != Some(id) {
            seen.insert(*id);
            last = Some(id);
        }
    }
    seen.len() as u32
}
