//! The shapes that kube-apiserver is known to send, recognised per span, and the repairs that make them usable.

use crate::clock;
use crate::columns::{Columns, present};
use crate::forest::NONE;
use crate::join::{Role, bad_time};
use crate::processes::Processes;
use crate::repair::Repair;
use crate::requests::Keys;

use apiservers::Apiservers;

pub mod apiservers;
pub mod authentication;
mod beside;
mod early_root;
pub mod orphans;
pub mod unended;

/// `SpanKind` numbers of the `.proto`.
pub const INTERNAL: i32 = 1;
/// The called side.
pub const SERVER: i32 = 2;
/// The calling side.
pub const CLIENT: i32 = 3;
/// The side that leaves a message.
pub const PRODUCER: i32 = 4;
/// The side that takes it up.
pub const CONSUMER: i32 = 5;

/// Verb spans: the handlers that read or write objects.
const VERBS: [&str; 6] = ["Create", "Delete", "Get", "List", "Patch", "Update"];
/// The same, and the first part of a watch.
const HANDLERS: [&str; 7] = ["Create", "Delete", "Get", "List", "Patch", "Update", "WatchList"];

/// Spans that only a watch has below it; so has it those of the `WatchServer`.
const OF_WATCH: [&str; 3] = ["WatchList", "cacher.Watch", "etcdserverpb.Watch/Watch"];

/// What a scope is, decided once per `ScopeSpans` message.
#[derive(Debug, Clone, Copy, Default)]
struct ScopeFacts {
    apiserver: bool,
    http: bool,
    rpc: bool,
}

/// Names and scopes that the rules ask for, looked up once per batch of spans.
#[derive(Debug)]
pub struct KnownNames {
    scopes: Vec<ScopeFacts>,
    authentication: Option<u32>,
    audit: Option<u32>,
    verbs: Vec<u32>,
    /// Name number → what only a watch has below it, see [`KnownNames::is_of_watch`].
    of_watch: Vec<bool>,
    beside: beside::Names,
    /// Name number → it begins with the package of etcd's RPCs.
    etcd_method: Vec<bool>,
}

impl KnownNames {
    /// Looks the names up.
    pub fn new(c: &Columns, apiservers: &Apiservers) -> Self {
        let services: Vec<bool> = (0..c.resources.batch.len())
            .map(|row| c.resource_text(row, "service.name").is_some_and(|name| apiservers.contains(name)))
            .collect();
        let facts = |(&name, &resource): (&u32, &u32)| ScopeFacts {
            apiserver: services[resource as usize],
            http: c.names.bytes(name).ends_with(b"net/http/otelhttp"),
            rpc: c.names.bytes(name).ends_with(b"otelgrpc"),
        };
        Self {
            scopes: c.scopes.name.iter().zip(&c.scopes.resource_spans).map(facts).collect(),
            authentication: c.names.find(b"authentication"),
            audit: c.names.find(b"audit"),
            verbs: HANDLERS.iter().filter_map(|name| c.names.find(name.as_bytes())).collect(),
            of_watch: c
                .names
                .iter()
                .map(|name| OF_WATCH.contains(&name) || name.starts_with("WatchServer"))
                .collect(),
            beside: beside::Names::new(c),
            etcd_method: (0..c.names.len() as u32)
                .map(|id| c.names.bytes(id).starts_with(b"etcdserverpb."))
                .collect(),
        }
    }

    #[inline(always)]
    fn scope(&self, c: &Columns, row: usize) -> ScopeFacts {
        self.scopes[c.spans.scope_spans[row] as usize]
    }

    /// A SERVER span of the HTTP server scope in an API server.
    #[inline(always)]
    pub fn is_request(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == SERVER && {
            let scope = self.scope(c, row);
            scope.apiserver && scope.http
        }
    }

    /// A gRPC span, of either side.
    #[inline(always)]
    pub fn is_rpc(&self, c: &Columns, row: usize) -> bool {
        self.scope(c, row).rpc
    }

    /// A call to etcd that the apiserver makes.
    #[inline(always)]
    pub fn is_etcd_call(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == CLIENT && self.etcd_method[c.spans.name[row] as usize] && {
            let scope = self.scope(c, row);
            scope.apiserver && scope.rpc
        }
    }

    /// What an API server sends of watches only: of opening one in the cache or in etcd, or of writing its events.
    pub fn is_of_watch(&self, c: &Columns, row: usize) -> bool {
        self.of_watch[c.spans.name[row] as usize] && self.in_apiserver(c, row) && c.spans.kind[row] != SERVER
    }

    /// Sent by an API server.
    pub fn in_apiserver(&self, c: &Columns, row: usize) -> bool {
        self.scope(c, row).apiserver
    }

    /// The `authentication` filter span.
    #[inline(always)]
    pub fn is_authentication(&self, c: &Columns, row: usize) -> bool {
        Some(c.spans.name[row]) == self.authentication && self.is_inner(c, row)
    }

    /// The span of a request's handler.
    pub fn is_verb(&self, c: &Columns, row: usize) -> bool {
        self.verbs.contains(&c.spans.name[row]) && self.is_inner(c, row)
    }

    /// The `audit` filter span, outermost of those that 1.34 and later nest in the request.
    pub fn is_audit(&self, c: &Columns, row: usize) -> bool {
        Some(c.spans.name[row]) == self.audit && self.is_inner(c, row)
    }

    /// Pairs gRPC SERVER spans with the CLIENT span that each hangs on: (client, server), in the order of `rows`.
    pub fn rpc_pairs(&self, c: &Columns, rows: impl Iterator<Item = u32>, parent: &[u32]) -> Vec<(u32, u32)> {
        let side = |row: u32, kind: i32| c.spans.kind[row as usize] == kind && self.is_rpc(c, row as usize);
        let pairs = rows.filter(|&row| side(row, SERVER)).map(|row| (parent[row as usize], row));
        pairs.filter(|&(above, _)| above != NONE && side(above, CLIENT)).collect()
    }

    /// INTERNAL, and sent by the apiserver.
    #[inline(always)]
    fn is_inner(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == INTERNAL && self.in_apiserver(c, row)
    }
}

/// Start and end of every span, in ns since the epoch, before any correction of clocks.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    /// Row → start.
    pub start: &'a [i64],
    /// Row → end.
    pub end: &'a [i64],
}

impl Times<'_> {
    /// The end, never before the start.
    fn ended(self, row: u32) -> i64 {
        self.end[row as usize].max(self.start[row as usize])
    }

    /// Nothing is wrong with them.
    fn usable(self, row: u32) -> bool {
        bad_time(self.start[row as usize] as u64, self.end[row as usize] as u64).is_none()
    }
}

/// What the rules look at.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// What was sent.
    pub c: &'a Columns,
    /// Names and scopes.
    pub names: &'a KnownNames,
    /// Who sent it.
    pub processes: &'a Processes,
    /// How many spans each trace has.
    pub traces: &'a Traces,
    /// What was set aside already.
    pub role: &'a [Role],
    /// When it was.
    pub times: Times<'a>,
    /// What other calls say of the clocks.
    pub clocks: clock::Known<'a>,
}

impl<'a> Seen<'a> {
    /// Rows that were not set aside and fit.
    fn rows(self, fits: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        (0..self.c.len() as u32).filter(move |&row| self.role[row as usize] == Role::Unrelated && fits(row))
    }

    #[inline(always)]
    fn process(self, row: u32) -> u32 {
        self.processes.of(self.c, row as usize)
    }

    #[inline(always)]
    fn is_request(self, row: u32) -> bool {
        self.names.is_request(self.c, row as usize)
    }

    #[inline(always)]
    fn is_parentless(self, row: u32) -> bool {
        self.c.spans.parent_span_id[row as usize] == [0; 8]
    }

    #[inline(always)]
    fn is_authentication(self, row: u32) -> bool {
        self.names.is_authentication(self.c, row as usize)
    }
}

/// The rows that the rules look at, found in one pass.
#[derive(Default)]
struct Sorted {
    /// With a parent.
    rows: Vec<u32>,
    requests: Vec<u32>,
    /// `authentication` spans that name no parent.
    filters: Vec<u32>,
}

impl Sorted {
    fn new(seen: Seen<'_>, parent: &[u32]) -> Self {
        let mut sorted = Self { rows: Vec::with_capacity(parent.len()), ..Self::default() };
        for row in seen.rows(|_| true) {
            if parent[row as usize] != NONE {
                sorted.rows.push(row);
            }
            match seen.c.spans.kind[row as usize] {
                SERVER if seen.is_request(row) => sorted.requests.push(row),
                INTERNAL if seen.is_authentication(row) && seen.is_parentless(row) => {
                    sorted.filters.push(row)
                }
                _ => {}
            }
        }
        sorted
    }
}

/// Applies the known-shape rules to `parent`, and finds what else they say of the requests: the repairs have the ends
/// that are to change. Returns the preludes as (authentication row, request row), sorted.
pub fn repair(seen: Seen<'_>, parent: &mut [u32], repairs: &mut Vec<Repair>) -> Vec<(u32, u32)> {
    let Sorted { rows, requests, filters } = Sorted::new(seen, parent);
    authentication::move_children(seen, &rows, parent, repairs);
    beside::move_siblings(seen, &rows, parent, repairs);
    let mut preludes = authentication::take_preludes(seen, &rows, parent, repairs);
    let keys = Keys::new(seen.c);
    let unanswered: Vec<u32> =
        requests.iter().copied().filter(|&row| keys.is_unanswered(seen.c, row as usize)).collect();
    let split = split(seen, &filters, (&requests, &unanswered, &preludes), &rows, parent);
    repairs.extend(authentication::split_repairs(&split));
    repairs.extend(early_root::extensions(seen, &unanswered, &rows, parent));
    preludes.extend(split);
    preludes.sort_unstable();
    preludes
}

/// Joins what 1.33 and later split, see [`authentication::join_split`].
fn split(
    seen: Seen<'_>,
    filters: &[u32],
    (requests, unanswered, preludes): (&[u32], &[u32], &[(u32, u32)]),
    rows: &[u32],
    parent: &[u32],
) -> Vec<(u32, u32)> {
    let filters: Vec<u32> =
        filters.iter().copied().filter(|&row| seen.traces.is_alone(seen.c, row)).collect();
    if filters.is_empty() {
        return Vec::new();
    }
    const NESTED: u8 = 1;
    const FILTERED: u8 = 2;
    const PRELUDED: u8 = 4;
    let mut is = vec![0u8; parent.len()];
    for &row in rows.iter().filter(|&&row| parent[row as usize] != NONE) {
        let above = parent[row as usize] as usize;
        if seen.names.is_audit(seen.c, row as usize) {
            is[above] |= NESTED;
        } else if seen.is_authentication(row) {
            is[above] |= FILTERED;
        }
    }
    for &(_, request) in preludes {
        is[request as usize] |= PRELUDED;
    }
    let shape = |&row: &u32| match is[row as usize] {
        it if it & PRELUDED != 0 => None,
        it if it & NESTED != 0 => Some((row, true)),
        it => (it & FILTERED == 0 && unanswered.binary_search(&row).is_ok()).then_some((row, false)),
    };
    authentication::join_split(seen, &filters, requests.iter().filter_map(shape))
}

/// How many spans each trace has, and how many traces there are.
pub struct Traces {
    kept: hashbrown::HashMap<[u8; 16], u32, foldhash::fast::RandomState>,
}

impl Traces {
    /// Counts them. What was set aside makes a trace, but is no span of it.
    pub fn new(c: &Columns, role: &[Role]) -> Self {
        let mut kept = hashbrown::HashMap::default();
        let (ids, mut at) = (&c.spans.trace_id, 0);
        while at < c.len() {
            let same = ids[at..].iter().take_while(|id| **id == ids[at]).count();
            let spans = role[at..at + same].iter().filter(|&&role| role == Role::Unrelated).count();
            if c.spans.present[at] & present::TRACE_ID != 0 && ids[at] != [0; 16] {
                *kept.entry(ids[at]).or_insert(0) += spans as u32;
            }
            at += same;
        }
        Self { kept }
    }

    /// How many traces there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The span is the only one of its trace.
    fn is_alone(&self, c: &Columns, row: u32) -> bool {
        self.kept.get(&c.spans.trace_id[row as usize]) == Some(&1)
    }
}
