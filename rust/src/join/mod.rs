//! Spans → call trees: duplicates, parents, cycles, the known shapes of kube-apiserver, roles and the ledger.
//!
//! ```text
//! ids ─ parents ─ cycles ─ µs ─ orphans ─ known shapes ─ lay out trees ─ clocks ─ roles ─ requests
//! ```
//!
//! Every change to what was sent is a [`Repair`] row; every span gets exactly one [`Role`], so the counts add up.

use std::sync::Arc;

pub mod apiserver;
pub mod apiservers;
pub mod assign_roles;
pub mod clock;
pub mod completeness;
pub mod duplicates;
pub mod forest;
pub mod known_names;
pub mod microseconds;
pub mod orphans;
pub mod repair;
pub mod repair_context;
pub mod request_info;
pub mod request_keys;
pub mod requests;
pub mod role;
pub mod span_index;
pub mod span_kind;
pub mod syncs;
pub mod times;

use crate::columns::processes::Processes;
use crate::columns::{Columns, NONE, present};
use apiservers::Apiservers;
use clock::ClockOffset;
use duplicates::Twin;
use forest::Forest;
use known_names::KnownNames;
use repair::{Change, Repair, RepairKind};
use repair_context::{RepairContext, Times, Traces};
use requests::RequestColumns;
use role::Role;
use span_index::Index;
use syncs::Syncs;
use times::{id_key, saturated};

/// The joined spans.
#[derive(Debug)]
pub struct Joined {
    /// What was decoded.
    pub columns: Arc<Columns>,
    /// Row → what became of it.
    pub role: Vec<Role>,
    /// Row → its parent's row after repairs, or [`NONE`].
    pub parent: Vec<u32>,
    /// Row → it names a parent that is not here, and nothing took its place.
    pub missing: Vec<bool>,
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
    /// Pods as their kubelets see them.
    pub syncs: Syncs,
    /// CLIENT rows that are background calls, in row order.
    pub background: Vec<u32>,
    /// How many distinct traces there are.
    pub traces: u32,
    /// Traces that are not whole because they had to be given out early.
    pub evicted: TraceIds,
    /// Which services are API servers.
    pub apiservers: Apiservers,
}

/// Distinct trace ids.
pub type TraceIds = hashbrown::HashSet<[u8; 16], foldhash::fast::RandomState>;

/// What is known beside the spans, when they are a part of all.
#[derive(Debug, Default)]
pub struct Context<'a> {
    /// Calls between processes in other parts.
    pub clocks: clock::Known<'a>,
    /// Traces that are not whole because they had to be given out early.
    pub evicted: TraceIds,
    /// Which services are API servers, as far as other parts tell.
    pub apiservers: Apiservers,
}

/// Joins spans into call trees.
pub fn join(columns: Arc<Columns>) -> Joined {
    join_part(columns, Context::default())
}

/// The same, of these API servers.
pub fn join_of(columns: Arc<Columns>, apiservers: Apiservers) -> Joined {
    join_part(columns, Context { apiservers, ..Context::default() })
}

/// Joins spans that are a part of all: whole traces, and together with each the others that its result depends on.
pub fn join_part(columns: Arc<Columns>, context: Context<'_>) -> Joined {
    let Context { clocks, evicted, mut apiservers } = context;
    apiservers.learn(&columns);
    let c = &*columns;
    let spans = &c.spans;
    let mut start: Vec<i64> = spans.start_time_unix_nano.iter().map(|&ns| saturated(ns)).collect();
    let mut end: Vec<i64> = spans.end_time_unix_nano.iter().map(|&ns| saturated(ns)).collect();
    let mut repairs = Vec::new();
    let mut role = vec![Role::Unrelated; c.len()];
    let index = index_spans(c, &mut role, &mut repairs);
    let (mut parent, mut missing) = find_parents(c, &index, &role);
    let key = |row: u32| (start[row as usize], id_key(spans.span_id[row as usize]));
    for row in forest::cut_cycles(&mut parent, key) {
        let before = index.find(&spans.trace_id[row as usize], &spans.parent_span_id[row as usize]);
        repairs.push(Repair::parent(RepairKind::Cycle, row, before.unwrap_or(NONE), NONE));
    }
    microseconds::widen(c, &parent, &mut end, &mut repairs);
    let names = KnownNames::new(c, &apiservers);
    let processes = Processes::new(c);
    let traces = Traces::new(c, &role);
    let times = Times { start: &start, end: &end };
    let seen = RepairContext {
        c,
        names: &names,
        processes: &processes,
        traces: &traces,
        role: &role,
        times,
        clocks,
    };
    adopt_orphans(seen, &index, &mut parent, &mut missing, &mut repairs);
    let prelude = apiserver::repair(seen, &mut parent, &mut repairs);
    let traces = traces.len() as u32;
    for repair in &repairs {
        if let Change::End { after, .. } = repair.change {
            end[repair.row as usize] = after;
        }
    }
    let in_tree = |row: u32| role[row as usize] == Role::Unrelated;
    // Children of two traces can have one span id.
    let order = |a: u32, b: u32| {
        key(a).cmp(&key(b)).then_with(|| spans.trace_id[a as usize].cmp(&spans.trace_id[b as usize]))
    };
    let forest = forest::lay_out(&parent, in_tree, order);
    let rpc_pairs = names.rpc_pairs(c, forest.order.iter().copied(), &parent);
    let known = [clocks.calls, clocks.adopted];
    let clock_offsets = clock::measure(c, &processes, &rpc_pairs, (&start, &end), clocks, &known);
    clock::correct(&clock_offsets, c, &processes, &forest, &parent, &mut start, &mut end);
    assign_roles::assign(&names, c, &index, &forest, &missing, &prelude, &mut role);
    let requests = RequestColumns::new(c, &names, &index, &forest, &role, &prelude, &start);
    let syncs = Syncs::new(c, &names, &forest, &role, &parent, (&start, &end));
    let background = etcd_calls(c, &names).filter(|&row| role[row as usize] == Role::Background).collect();
    Joined {
        role,
        parent,
        missing,
        forest,
        start,
        end,
        processes,
        clock_offsets,
        rpc_pairs,
        repairs,
        requests,
        syncs,
        background,
        traces,
        evicted,
        apiservers,
        columns,
    }
}

/// Puts orphans where they can only belong; they are missing their parent no more. A request is no orphan.
fn adopt_orphans(
    seen: RepairContext<'_>,
    index: &Index<'_>,
    parent: &mut [u32],
    missing: &mut [bool],
    repairs: &mut Vec<Repair>,
) {
    let is_orphan = |&row: &u32| missing[row as usize] && !seen.names.is_request(seen.c, row as usize);
    let orphans: Vec<u32> = (0..missing.len() as u32).filter(is_orphan).collect();
    let mut adopted = orphans::adopt(seen, index, &orphans, parent);
    adopted.extend(apiserver::unended::adopt(seen, &orphans, parent));
    for repair in &adopted {
        missing[repair.row as usize] = false;
    }
    repairs.extend(adopted);
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
    let stays = duplicates::judge(c, rows, |row, verdict, stays| {
        let (aside, kind) = match verdict {
            Twin::Duplicate => (Role::Duplicate, RepairKind::Duplicate),
            Twin::Conflict => (Role::Conflict, RepairKind::Conflict),
        };
        role[row as usize] = aside;
        repairs.push(Repair { kind, row, change: Change::Copy(stays) });
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
pub fn etcd_calls(c: &Columns, names: &KnownNames) -> impl Iterator<Item = u32> {
    (0..c.len() as u32).filter(move |&row| names.is_etcd_call(c, row as usize))
}
