//! Spans whose parent never arrived, and what they are put under instead, when it can only be that.
//!
//! ```text
//! by link                        by RPC
//! trace 1  A |=====|             KV/Txn (CLIENT) |=========|   open: no SERVER span below it
//! trace 2    o |==|  link: A     KV/Txn (SERVER)    |====|     its parent is missing
//! ```

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::columns::Columns;
use crate::join::apiserver::unended;
use crate::join::builder::Builder;
use crate::join::clock::ClockOffset;
use crate::join::repair::RepairKind;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::join::tops::Tops;

/// Where more calls of one RPC are open in one trace, or more orphans wait for one, none is told from the others.
const CANDIDATES: usize = 64;

/// Puts spans whose parent is missing where they can only belong; they are missing it no more.
pub fn adopt(b: &mut Builder<'_>, mut orphans: Vec<u32>) {
    // A request is no orphan: its tree is whole.
    orphans.retain(|&row| !b.is_request(row));
    if !orphans.is_empty() {
        adopt_by_evidence(b, &orphans);
        unended::adopt(b, &orphans);
    }
}

/// Only links and containment are evidence; a span that fits two places is left where it is.
fn adopt_by_evidence(b: &mut Builder<'_>, orphans: &[u32]) {
    let by_link = |&row: &u32| linked(b, row).map(|to| (row, to, RepairKind::OrphanLink));
    let mut found: Vec<(u32, u32, RepairKind)> = orphans.iter().filter_map(by_link).collect();
    let left = orphans.iter().copied().filter(|&row| b.is_rpc(row, SERVER) && linked(b, row).is_none());
    let calls = by_call(b, &left.collect::<Vec<_>>());
    found.extend(calls.into_iter().map(|(row, to)| (row, to, RepairKind::OrphanRpc)));
    sort_as_siblings(b, &mut found);
    let mut tops = Tops::default();
    for (row, to, kind) in found {
        // Two orphans may each have what the other should go under: the later stays alone.
        if tops.of(&b.parent, to) != row {
            b.adopt(kind, row, to);
        }
    }
}

fn sort_as_siblings(b: &Builder<'_>, found: &mut [(u32, u32, RepairKind)]) {
    let order = b.sibling_order();
    found.sort_unstable_by(|a, b| order(a.0, b.0));
}

/// The one span here, other than itself, that a span's links name.
fn linked(b: &Builder<'_>, row: u32) -> Option<u32> {
    let mut named = b.linked(row);
    let first = named.find(|&to| to != row)?;
    named.all(|to| to == first || to == row).then_some(first)
}

/// Spans of one trace and one RPC.
type Group = HashMap<([u8; 16], u32), Vec<u32>, RandomState>;

fn key(c: &Columns, row: u32) -> ([u8; 16], u32) {
    (c.spans.trace_id[row as usize], c.spans.name[row as usize])
}

/// SERVER spans to the open CLIENT span of the same trace and name that contains each, where neither fits another.
fn by_call(b: &Builder<'_>, orphans: &[u32]) -> Vec<(u32, u32)> {
    let mut served: Group = HashMap::default();
    for &row in orphans {
        served.entry(key(b.c, row)).or_default().push(row);
    }
    let calls = open_calls(b, &served);
    if calls.is_empty() {
        return Vec::new();
    }
    let measured = b.measure_clocks(&b.pair_rpcs(b.rows()), &[b.clocks.calls]);
    let ahead: HashMap<(u32, u32), &ClockOffset, RandomState> =
        measured.iter().map(|offset| ((offset.client, offset.server), offset)).collect();
    let contains = |client: u32, server: u32| {
        let (outer, inner) = (client as usize, server as usize);
        let ahead =
            ahead.get(&(b.process(client), b.process(server))).map_or(0, |offset| offset.at(b.start[outer]));
        b.has_usable_times(client)
            && b.has_usable_times(server)
            && b.start[outer] <= b.start[inner] - ahead
            && b.end[inner] - ahead <= b.end[outer]
    };
    calls.iter().flat_map(|(key, clients)| unique_pairs(clients, &served[key], contains)).collect()
}

/// CLIENT spans without a SERVER span below them, where an orphan of the same trace and RPC waits.
fn open_calls(b: &Builder<'_>, served: &Group) -> Group {
    let of_kind = |kind: i32| b.rows().filter(move |&row| b.is_rpc(row, kind));
    let mut open: HashSet<u32, RandomState> = if served.is_empty() {
        HashSet::default()
    } else {
        of_kind(CLIENT).filter(|&row| served.contains_key(&key(b.c, row))).collect()
    };
    if !open.is_empty() {
        for row in of_kind(SERVER) {
            open.remove(&b.parent[row as usize]);
        }
    }
    let mut calls: Group = HashMap::default();
    for row in open {
        calls.entry(key(b.c, row)).or_default().push(row);
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
