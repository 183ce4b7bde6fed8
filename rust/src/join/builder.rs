//! What is known of the spans on their way through the join. Each step of [`crate::join::join_part`] reads it and adds
//! its part; what was sent stays as it is in the columns.

use std::cmp::Ordering;
use std::ops::Range;

use crate::columns::processes::Processes;
use crate::columns::{Columns, NONE};
use crate::join::apiservers::Apiservers;
use crate::join::clock::{self, Bound, ClockOffset, Evidence};
use crate::join::forest::Forest;
use crate::join::known_names::KnownNames;
use crate::join::named::Named;
use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::role::Role;
use crate::join::span_index::Index;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::join::times::{bad_time, id_key, saturated};
use crate::numbers::u32_of;
use crate::threads;

/// The spans, and what the steps have found so far. Row → is for all spans.
pub struct Builder<'a> {
    /// What was sent.
    pub c: &'a Columns,
    /// Names and scopes.
    pub names: KnownNames,
    /// Who sent it.
    pub processes: Processes,
    /// What calls in other parts say of the clocks.
    pub clocks: clock::Known<'a>,
    /// On how many threads to work at most.
    pub threads: usize,
    /// The spans by their ids, from when they are entered until all that are named are found.
    pub index: Index<'a>,
    /// Row → what became of it; [`Role::Unrelated`] until it is set aside or its tree has its role.
    pub role: Vec<Role>,
    /// Row → its parent's row, or [`NONE`]; empty until parents are found.
    pub parent: Vec<u32>,
    /// Row → it names a parent that is not here, and nothing took its place; empty until then.
    pub missing: Vec<bool>,
    /// Row → start in ns since the epoch; at most [`crate::join::times::LATEST`].
    pub start: Vec<i64>,
    /// Row → end.
    pub end: Vec<i64>,
    /// How many traces there are; counted when cycles are cut.
    pub traces: u32,
    /// `authentication` spans alone in their traces, in row order; found then too.
    pub lone_filters: Vec<u32>,
    /// Changes made so far.
    pub repairs: Vec<Repair>,
    /// SERVER rows of requests, in row order; empty until known shapes are repaired.
    pub requests: Vec<u32>,
    /// What they name, in the same order.
    pub named: Named,
    /// (`authentication` row, request row), sorted.
    pub preludes: Vec<(u32, u32)>,
    /// All trees, empty until they are laid out. No parent changes after that.
    pub forest: Forest,
    /// gRPC calls in trees whose SERVER span is here, as (client, server).
    pub rpc_pairs: Vec<(u32, u32)>,
    /// Measured clock offsets between processes.
    pub clock_offsets: Vec<ClockOffset>,
}

impl<'a> Builder<'a> {
    /// Every span by itself.
    pub fn new(c: &'a Columns, apiservers: &Apiservers, clocks: clock::Known<'a>, threads: usize) -> Self {
        let spans = &c.spans;
        Self {
            c,
            names: KnownNames::new(c, apiservers),
            processes: Processes::new(c),
            clocks,
            threads,
            index: Index::default(),
            role: vec![Role::Unrelated; c.len()],
            parent: Vec::new(),
            missing: Vec::new(),
            start: times(&spans.start_time_unix_nano, threads),
            end: times(&spans.end_time_unix_nano, threads),
            traces: 0,
            lone_filters: Vec::new(),
            requests: Vec::new(),
            named: Named::default(),
            repairs: Vec::new(),
            preludes: Vec::new(),
            forest: Forest::default(),
            rpc_pairs: Vec::new(),
            clock_offsets: Vec::new(),
        }
    }

    // Changes, each with a row that says so.

    /// Puts a span under another parent, or under none.
    pub fn reparent(&mut self, kind: RepairKind, row: u32, after: u32) {
        let before = std::mem::replace(&mut self.parent[row as usize], after);
        self.repairs.push(Repair { kind, row, change: Change::Parent { before, after } });
    }

    /// Puts a span whose parent never arrived under this one instead.
    pub fn adopt(&mut self, kind: RepairKind, row: u32, to: u32) {
        self.parent[row as usize] = to;
        self.missing[row as usize] = false;
        self.repairs.push(Repair { kind, row, change: Change::Adopted(to) });
    }

    /// Lets a span end later.
    pub fn extend(&mut self, kind: RepairKind, row: u32, after: i64) {
        let before = std::mem::replace(&mut self.end[row as usize], after);
        self.repairs.push(Repair { kind, row, change: Change::End { before, after } });
    }

    // Questions about rows.

    /// Rows that were not set aside, until roles are given.
    #[inline(always)]
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        self.rows_of(0..self.role.len())
    }

    /// Those of these.
    #[inline(always)]
    pub fn rows_of(&self, rows: Range<usize>) -> impl Iterator<Item = u32> {
        let kept = (u32_of(rows.start)..).zip(&self.role[rows]).filter(|&(_, &role)| role == Role::Unrelated);
        kept.map(|(row, _)| row)
    }

    /// The order of spans in tables: by (start, trace id, span id). No two that were not set aside are equal.
    pub fn order(&self, row: u32) -> (i64, [u8; 16], u64) {
        let at = row as usize;
        (self.start[at], self.c.spans.trace_id[at], id_key(self.c.spans.span_id[at]))
    }

    /// The order of siblings: by (start, span id). Those of two traces can have one span id.
    #[inline(always)]
    pub fn sibling_order(&self) -> impl Fn(u32, u32) -> Ordering {
        let (start, ids, traces) = (&self.start[..], &self.c.spans.span_id[..], &self.c.spans.trace_id[..]);
        let key = |row: u32| (start[row as usize], id_key(ids[row as usize]));
        move |a, b| key(a).cmp(&key(b)).then_with(|| traces[a as usize].cmp(&traces[b as usize]))
    }

    /// The end, never before the start.
    pub fn ended(&self, row: u32) -> i64 {
        self.end[row as usize].max(self.start[row as usize])
    }

    /// Nothing is wrong with its times.
    pub fn has_usable_times(&self, row: u32) -> bool {
        bad_time(self.start[row as usize].cast_unsigned(), self.end[row as usize].cast_unsigned()).is_none()
    }

    /// The process that sent it.
    #[inline(always)]
    pub fn process(&self, row: u32) -> u32 {
        self.processes.of(self.c, row as usize)
    }

    /// It is a request's SERVER span.
    #[inline(always)]
    pub fn is_request(&self, row: u32) -> bool {
        self.names.is_request(self.c, row as usize)
    }

    /// It is the `authentication` filter span.
    #[inline(always)]
    pub fn is_authentication(&self, row: u32) -> bool {
        self.names.is_authentication(self.c, row as usize)
    }

    /// It is a gRPC span of this kind.
    #[inline(always)]
    pub fn is_rpc(&self, row: u32, kind: i32) -> bool {
        self.c.spans.kind[row as usize] == kind && self.names.is_rpc(self.c, row as usize)
    }

    /// It was sent without a parent.
    #[inline(always)]
    pub fn is_parentless(&self, row: u32) -> bool {
        self.c.spans.parent_span_id[row as usize] == [0; 8]
    }

    /// The rows that its span links name.
    pub fn linked(&self, row: u32) -> impl Iterator<Item = u32> {
        self.index.linked(self.c, row as usize)
    }

    /// Those of the rows that are gRPC SERVER spans below their CLIENT span: (client, server).
    pub fn pair_rpcs(&self, rows: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
        let pairs = rows.filter(|&row| self.is_rpc(row, SERVER)).map(|row| (self.parent[row as usize], row));
        pairs.filter(|&(above, _)| above != NONE && self.is_rpc(above, CLIENT)).collect()
    }

    /// Measures the clocks of processes by these calls between them, and by those `measured` elsewhere.
    pub fn measure_clocks(
        &self,
        rpc_pairs: &[(u32, u32)],
        measured: &[Option<&'a Evidence>],
    ) -> Vec<ClockOffset> {
        let times = |row: usize| (self.start[row], self.end[row]);
        let bound = |&pair: &(u32, u32)| -> Option<((u32, u32), Bound)> {
            clock::bound(self.c, &self.processes, pair, times)
        };
        let elsewhere = self.clocks.pairs(&self.processes, measured);
        let known = |pair| self.clocks.of(&self.processes, pair, measured).collect();
        clock::measure(rpc_pairs.iter().filter_map(bound), elsewhere, known, self.clocks.whole)
    }
}

fn times(sent: &[u64], threads: usize) -> Vec<i64> {
    let write = |rows: Range<usize>, times: &mut [i64]| {
        times.iter_mut().zip(&sent[rows]).for_each(|(time, &ns)| *time = saturated(ns));
    };
    threads::written(sent.len(), threads, threads::PART_SPANS, write).0
}
