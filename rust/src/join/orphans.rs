//! Spans whose parent never arrived, and what they are put under instead, when it can only be that.
//!
//! ```text
//! by link                        by RPC
//! trace 1  A |=====|             KV/Txn (CLIENT) |=========|   open: no SERVER span below it
//! trace 2    o |==|  link: A     KV/Txn (SERVER)    |====|     its parent is missing
//! ```

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::columns::{Columns, NONE, run};
use crate::join::clock::{self, ClockOffset};
use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::repair_context::RepairContext;
use crate::join::span_index::Index;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::join::times::id_key;

/// Where more calls of one RPC are open in one trace, or more orphans wait for one, none is told from the others.
const CANDIDATES: usize = 64;

/// Finds new parents. `orphans` are tops of trees whose parent is missing, requests left out: those are whole.
///
/// Only links and containment are evidence; a span that fits two places is left where it is. `parent` is changed.
pub fn adopt(seen: RepairContext<'_>, index: &Index<'_>, orphans: &[u32], parent: &mut [u32]) -> Vec<Repair> {
    let RepairContext { c, names, times, .. } = seen;
    if orphans.is_empty() {
        return Vec::new();
    }
    let by_link = |&row: &u32| linked(c, index, row).map(|to| (row, to, RepairKind::OrphanLink));
    let mut found: Vec<(u32, u32, RepairKind)> = orphans.iter().filter_map(by_link).collect();
    let left = orphans.iter().copied().filter(|&row| {
        linked(c, index, row).is_none()
            && c.spans.kind[row as usize] == SERVER
            && names.is_rpc(c, row as usize)
    });
    let calls = by_call(seen, &left.collect::<Vec<_>>(), parent);
    found.extend(calls.into_iter().map(|(row, to)| (row, to, RepairKind::OrphanRpc)));
    let when = |row: u32| (times.start[row as usize], id_key(c.spans.span_id[row as usize]));
    found.sort_unstable_by_key(|&(row, ..)| (when(row), c.spans.trace_id[row as usize]));
    let mut tops = Tops::default();
    let mut repairs = Vec::new();
    for (row, to, kind) in found {
        // Two orphans may each have what the other should go under: the later stays alone.
        if tops.of(parent, to) != row {
            parent[row as usize] = to;
            repairs.push(Repair { kind, row, change: Change::Adopted(to) });
        }
    }
    repairs
}

/// The one span here, other than itself, that a span's links name.
fn linked(c: &Columns, index: &Index<'_>, row: u32) -> Option<u32> {
    let links = run(&c.spans.links_end, row as usize);
    let mut named = links.filter_map(|link| index.find(&c.links.trace_id[link], &c.links.span_id[link]));
    let first = named.find(|&to| to != row)?;
    named.all(|to| to == first || to == row).then_some(first)
}

/// Tops of trees, walking each edge once however often it is asked. A top that has got a parent since is passed.
#[derive(Default)]
struct Tops(HashMap<u32, u32, RandomState>);

impl Tops {
    fn of(&mut self, parent: &[u32], row: u32) -> u32 {
        let (mut at, mut path) = (row, Vec::new());
        while parent[at as usize] != NONE {
            path.push(at);
            at = self.0.get(&at).copied().unwrap_or(parent[at as usize]);
        }
        self.0.extend(path.into_iter().map(|row| (row, at)));
        at
    }
}

/// Spans of one trace and one RPC.
type Group = HashMap<([u8; 16], u32), Vec<u32>, RandomState>;

fn key(c: &Columns, row: u32) -> ([u8; 16], u32) {
    (c.spans.trace_id[row as usize], c.spans.name[row as usize])
}

/// SERVER spans to the open CLIENT span of the same trace and name that contains each, where neither fits another.
fn by_call(seen: RepairContext<'_>, orphans: &[u32], parent: &[u32]) -> Vec<(u32, u32)> {
    let RepairContext { c, names, times, .. } = seen;
    let mut served: Group = HashMap::default();
    for &row in orphans {
        served.entry(key(c, row)).or_default().push(row);
    }
    let calls = open_calls(seen, &served, parent);
    if calls.is_empty() {
        return Vec::new();
    }
    let pairs = names.rpc_pairs(c, seen.rows(|_| true), parent);
    let measured = clock::measure(
        c,
        seen.processes,
        &pairs,
        (times.start, times.end),
        seen.clocks,
        &[seen.clocks.calls],
    );
    let ahead: HashMap<(u32, u32), &ClockOffset, RandomState> =
        measured.iter().map(|offset| ((offset.client, offset.server), offset)).collect();
    let contains = |client: u32, server: u32| {
        let (outer, inner) = (client as usize, server as usize);
        let ahead = ahead
            .get(&(seen.process(client), seen.process(server)))
            .map_or(0, |offset| offset.at(times.start[outer]));
        times.usable(client)
            && times.usable(server)
            && times.start[outer] <= times.start[inner] - ahead
            && times.end[inner] - ahead <= times.end[outer]
    };
    calls.iter().flat_map(|(key, clients)| unique_pairs(clients, &served[key], contains)).collect()
}

/// CLIENT spans without a SERVER span below them, where an orphan of the same trace and RPC waits.
fn open_calls(seen: RepairContext<'_>, served: &Group, parent: &[u32]) -> Group {
    let RepairContext { c, names, .. } = seen;
    let of_kind =
        |kind: i32| seen.rows(move |row| c.spans.kind[row as usize] == kind && names.is_rpc(c, row as usize));
    let mut open: HashSet<u32, RandomState> = match served.is_empty() {
        true => HashSet::default(),
        false => of_kind(CLIENT).filter(|&row| served.contains_key(&key(c, row))).collect(),
    };
    if !open.is_empty() {
        for row in of_kind(SERVER) {
            open.remove(&parent[row as usize]);
        }
    }
    let mut calls: Group = HashMap::default();
    for row in open {
        calls.entry(key(c, row)).or_default().push(row);
    }
    calls
}

/// (orphan, call) wherever each is the only one that fits the other.
fn unique_pairs(calls: &[u32], orphans: &[u32], contains: impl Fn(u32, u32) -> bool) -> Vec<(u32, u32)> {
    if calls.len() > CANDIDATES || orphans.len() > CANDIDATES {
        return Vec::new();
    }
    let fits: Vec<(u32, u32)> = orphans
        .iter()
        .flat_map(|&orphan| calls.iter().map(move |&call| (orphan, call)))
        .filter(|&(orphan, call)| contains(call, orphan))
        .collect();
    let alone = |&(orphan, call): &(u32, u32)| {
        fits.iter().filter(|&&(o, other)| o == orphan || other == call).count() == 1
    };
    fits.iter().copied().filter(alone).collect()
}
