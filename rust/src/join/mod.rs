//! Spans → call trees: duplicates, parents, cycles, the known shapes of kube-apiserver, roles and the ledger.
//!
//! ```text
//! ids ─ parents ─ cycles ─ traces ─ µs ─ orphans ─ known shapes ─ named rows ─ lay out trees ─ clocks ─ roles ─ requests, syncs
//! ```
//!
//! Each is a step over one [`Builder`]; [`join_part`] calls them in this order.
//! Every change to what was sent is a [`Repair`] row; every span gets exactly one [`Role`], so the counts add up.

use std::sync::Arc;

pub mod apiserver;
pub mod apiservers;
pub mod assign_roles;
mod builder;
pub mod clock;
pub mod completeness;
mod correction;
pub mod duplicates;
pub mod forest;
mod ids;
pub mod known_names;
pub mod microseconds;
mod named;
pub mod orphans;
mod parents;
pub mod repair;
pub mod request_info;
pub mod request_keys;
pub mod requests;
pub mod role;
pub mod span_index;
pub mod span_kind;
pub mod syncs;
pub mod times;
mod tops;
mod traces;

use crate::columns::Columns;
use crate::columns::processes::Processes;
use crate::numbers::ns_between;
use apiservers::Apiservers;
use builder::Builder;
use clock::ClockOffset;
use forest::Forest;
use known_names::KnownNames;
use named::Named;
use repair::Repair;
use requests::RequestColumns;
use role::Role;
use span_index::Index;
use syncs::Syncs;

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
    /// What names and scopes tell of the rows.
    pub names: KnownNames,
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
    /// Traces that are not whole because they had to be emitted early.
    pub evicted: TraceIds,
    /// Which services are API servers.
    pub apiservers: Apiservers,
    /// On how many threads to work at most; what comes of it is the same.
    pub threads: usize,
}

impl Joined {
    /// How long a span took after clock correction, in ns; 0 if it ended before it began.
    pub fn took_ns(&self, row: u32) -> u64 {
        ns_between(self.start[row as usize], self.end[row as usize])
    }
}

/// Distinct trace ids.
pub type TraceIds = hashbrown::HashSet<[u8; 16], foldhash::fast::RandomState>;

/// What is known beside the spans, when they are a part of all.
#[derive(Debug, Default)]
pub struct Context<'a> {
    /// Calls between processes in other parts.
    pub clocks: clock::Known<'a>,
    /// Traces that are not whole because they had to be emitted early.
    pub evicted: TraceIds,
    /// Which services are API servers, as far as other parts tell.
    pub apiservers: Apiservers,
    /// On how many threads to work at most; what comes of it is the same.
    pub threads: usize,
}

/// Joins spans into call trees.
pub fn join(columns: Arc<Columns>) -> Joined {
    join_part(columns, Context::default())
}

/// The same, of these API servers, on at most so many threads.
pub fn join_of(columns: Arc<Columns>, apiservers: Apiservers, threads: usize) -> Joined {
    join_part(columns, Context { apiservers, threads, ..Context::default() })
}

/// Joins spans that are a part of all: whole traces, and together with each the others that its result depends on.
pub fn join_part(columns: Arc<Columns>, context: Context<'_>) -> Joined {
    let Context { clocks, evicted, mut apiservers, threads } = context;
    apiservers.learn(&columns);
    let mut b = Builder::new(&columns, &apiservers, clocks, threads);
    ids::enter(&mut b);
    let mut seen = parents::find(&mut b);
    parents::cut_cycles(&mut b, &mut seen);
    traces::count(&mut b, &seen.tops);
    microseconds::widen(&mut b, &seen.outlive);
    orphans::adopt(&mut b, seen.orphans);
    apiserver::repair(&mut b);
    b.named = Named::new(b.c, &b.index, &b.requests, b.threads);
    // Nothing is looked up by its id any more, and the index is large.
    b.index = Index::default();
    lay_out_trees(&mut b);
    correction::correct_clocks(&mut b);
    assign_roles::assign(&mut b);
    let requests = RequestColumns::new(&b);
    let syncs = Syncs::new(&b);
    let in_background = (0..).zip(&b.role).filter(|&(_, &role)| role == Role::Background);
    let background = in_background.map(|(row, _)| row).filter(|&row| b.names.is_etcd_call(b.c, row as usize));
    let background = background.collect();
    let Builder { role, parent, missing, names, forest, start, end, processes, .. } = b;
    let Builder { clock_offsets, rpc_pairs, repairs, traces, .. } = b;
    Joined {
        columns,
        role,
        parent,
        missing,
        names,
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
        threads,
    }
}

/// What was not set aside makes trees; from here on no parent changes.
fn lay_out_trees(b: &mut Builder<'_>) {
    let role = &b.role[..];
    let in_tree = |row: u32| role[row as usize] == Role::Unrelated;
    b.forest = forest::lay_out(&b.parent, in_tree, b.sibling_order(), b.threads);
}
