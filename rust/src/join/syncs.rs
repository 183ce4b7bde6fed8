//! Pods as their kubelet sees them: its syncs, the calls to the container runtime, and which of them are probes.
//!
//! ```text
//! syncPod          ├───────────────────────┤
//! RunPodSandbox       ├──────┤                        waited for
//! StartContainer              ├────┤
//! ExecSync                          ├──┤              a hook: in turn, and over before the sync is
//! ExecSync                                      ├──┤  a probe: the trace lives as long as the pod
//! ```

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::role::Role;
use crate::join::span_kind::SERVER;

/// What a call to the container runtime is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A sync waits for it.
    Sync,
    /// A command that tells whether a container is well. No sync waits for it.
    Probe,
    /// The kubelet keeps house: relisting, statistics, garbage collection.
    Housekeeping,
    /// The kubelet was asked for it: exec, attach, port-forward, logs.
    Served,
    /// What it was for never arrived.
    Unknown,
}

impl Purpose {
    /// The names, in the order of the variants.
    pub const NAMES: [&'static str; 5] = ["sync", "probe", "housekeeping", "served", "unknown"];
}

/// A call to the container runtime. One of its spans can be missing, which is [`NONE`].
#[derive(Debug, Clone, Copy)]
pub struct CriCall {
    /// The kubelet's span.
    pub client: u32,
    /// The runtime's span.
    pub server: u32,
    /// The sync in whose tree it is, or [`NONE`].
    pub sync: u32,
    /// What it is for.
    pub purpose: Purpose,
}

impl CriCall {
    /// The outer one of its spans.
    pub fn row(&self) -> u32 {
        if self.client == NONE { self.server } else { self.client }
    }
}

/// The kubelet's side. Empty where there is none.
#[derive(Debug, Clone, Default)]
pub struct Syncs {
    /// The roots, by (start, trace id, span id).
    pub root: Vec<u32>,
    /// All calls to container runtimes, by (start, trace id, span id).
    pub calls: Vec<CriCall>,
    /// Rows below a sync that it did not wait for: they, and what is below them, are in no sum.
    pub detached: HashSet<u32, RandomState>,
}

impl Syncs {
    /// Finds them, after the clocks were corrected and the roles given.
    pub fn new(b: &Builder<'_>) -> Self {
        let mut syncs = Self::default();
        if !b.names.any_kubelet() {
            return syncs;
        }
        let is_root = |&row: &u32| {
            let is_top = b.parent[row as usize] == NONE;
            b.role[row as usize] == Role::Sync && is_top && b.names.is_sync(b.c, row as usize)
        };
        syncs.root = b.forest.order.iter().copied().filter(is_root).collect();
        syncs.root.sort_unstable_by_key(|&row| b.order(row));
        for &root in &syncs.root {
            syncs.detached.extend(not_waited_for(b, root));
        }
        syncs.calls = calls(b, &syncs.root, &syncs.detached);
        syncs.calls.sort_unstable_by_key(|call| b.order(call.row()));
        syncs
    }

    /// How many syncs there are.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

/// What hangs below a sync and runs beside it: what ends after it, and commands that run while it waits for another
/// call. A hook has its turn, like every call.
fn not_waited_for(b: &Builder<'_>, root: u32) -> Vec<u32> {
    let Builder { c, names, forest, parent, start, end, .. } = b;
    let over = end[root as usize];
    let below = forest.subtree(root).iter().copied();
    let children: Vec<u32> = below.filter(|&row| parent[row as usize] == root).collect();
    let stops = |row: u32| c.names.bytes(c.spans.name[row as usize]).ends_with(b"/StopContainer");
    let is_command = |row: u32| names.is_probe(c, row as usize);
    // Containers are stopped side by side, hooks included.
    let mut turns: Vec<(i64, i64)> = (children.iter())
        .filter(|&&row| names.is_cri_call(c, row as usize) && !is_command(row) && !stops(row))
        .map(|&row| (start[row as usize], end[row as usize]))
        .collect();
    turns.sort_unstable();
    let beside = |row: u32| {
        let (from, to) = (start[row as usize], end[row as usize]);
        let next = turns.partition_point(|&(start, _)| start < to);
        turns[..next].iter().any(|&(_, end)| from < end)
    };
    let detached = |&row: &u32| end[row as usize] > over || is_command(row) && beside(row);
    children.into_iter().filter(detached).collect()
}

fn calls(b: &Builder<'_>, roots: &[u32], detached: &HashSet<u32, RandomState>) -> Vec<CriCall> {
    let Builder { c, names, forest, parent, .. } = b;
    let number: HashMap<u32, u32, RandomState> = roots.iter().copied().zip(0..).collect();
    let mut calls: Vec<CriCall> = Vec::new();
    let mut of_client: HashMap<u32, usize, RandomState> = HashMap::default();
    let mut at = 0;
    while at < forest.order.len() {
        let top = forest.order[at];
        let rows = &forest.order[at..at + forest.size[at] as usize];
        at += rows.len();
        for &row in rows.iter().filter(|&&row| names.is_cri(c, row as usize)) {
            if names.is_cri_call(c, row as usize) {
                let purpose = purpose_of(b, top, row, detached);
                let sync = number.get(&top).copied().unwrap_or(NONE);
                of_client.insert(row, calls.len());
                calls.push(CriCall { client: row, server: NONE, sync, purpose });
            } else if c.spans.kind[row as usize] != SERVER {
            } else if let Some(&call) = of_client.get(&parent[row as usize]) {
                calls[call].server = row;
            } else {
                calls.push(CriCall { client: NONE, server: row, sync: NONE, purpose: Purpose::Unknown });
            }
        }
    }
    calls
}

fn purpose_of(b: &Builder<'_>, top: u32, row: u32, detached: &HashSet<u32, RandomState>) -> Purpose {
    let Builder { c, names, .. } = b;
    let is_missing = !b.is_parentless(top);
    match top as usize {
        _ if detached.contains(&row) => Purpose::Probe,
        top if names.is_sync(c, top) => Purpose::Sync,
        top if names.is_served_by_kubelet(c, top) => Purpose::Served,
        _ if !is_missing => Purpose::Housekeeping,
        _ if names.is_probe(c, row as usize) => Purpose::Probe,
        _ => Purpose::Unknown,
    }
}
