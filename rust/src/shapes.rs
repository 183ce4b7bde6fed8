//! The shapes that kube-apiserver is known to send, recognised per span, and the repairs that make them usable.

use crate::columns::Columns;
use crate::forest::NONE;
use crate::join::{Repair, RepairKind, id_key};
use crate::processes::Processes;

/// `SpanKind` numbers of the `.proto`.
pub const INTERNAL: i32 = 1;
/// The called side.
pub const SERVER: i32 = 2;
/// The calling side.
pub const CLIENT: i32 = 3;

/// Verb spans: the handlers that read or write objects.
const VERBS: [&str; 6] = ["Create", "Delete", "Get", "List", "Patch", "Update"];

/// Spans that are sent beside the span that they happened in: (rule, their names, names of what contains them).
///
/// ```text
/// List             |==========|           List             |==========|
/// SerializeObject       |====|     →        SerializeObject     |====|
/// ```
///
/// `SerializeObject` up to 1.31; webhooks of an update in all versions, since admission runs inside the storage
/// call that retries on conflict.
const BESIDE: [(RepairKind, &[&str], &[&str]); 2] = [
    (RepairKind::SerializeSibling, &["SerializeObject"], &VERBS),
    (
        RepairKind::WebhookSibling,
        &["Call mutating webhook", "Call validating webhook"],
        &["GuaranteedUpdate etcd3"],
    ),
];

/// A parent has one or two spans that can contain others; more than this many are not searched for one that fits.
const CONTAINERS: usize = 16;

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
    /// Name number → index into [`BESIDE`] plus one of the rule that moves spans of that name; 0 for none.
    moved_by: Vec<u8>,
    /// The same for the names that can contain them.
    contains_for: Vec<u8>,
    /// Name number → it begins with the package of etcd's RPCs.
    etcd_method: Vec<bool>,
}

impl KnownNames {
    /// Looks the names up.
    pub fn new(c: &Columns) -> Self {
        let services: Vec<bool> = (0..c.resources.batch.len())
            .map(|row| c.resource_text(row, "service.name") == Some("apiserver"))
            .collect();
        let facts = |(&name, &resource): (&u32, &u32)| ScopeFacts {
            apiserver: services[resource as usize],
            http: c.names.text(name).ends_with("net/http/otelhttp"),
            rpc: c.names.text(name).ends_with("otelgrpc"),
        };
        Self {
            scopes: c.scopes.name.iter().zip(&c.scopes.resource_spans).map(facts).collect(),
            authentication: c.names.find(b"authentication"),
            moved_by: rule_of_name(c, |(_, moved, _)| moved),
            contains_for: rule_of_name(c, |(_, _, containers)| containers),
            etcd_method: c.names.iter().map(|name| name.starts_with("etcdserverpb.")).collect(),
        }
    }

    #[inline(always)]
    fn scope(&self, c: &Columns, row: usize) -> ScopeFacts {
        self.scopes[c.spans.scope_spans[row] as usize]
    }

    /// A SERVER span of the HTTP server scope in service `apiserver`.
    #[inline(always)]
    pub fn is_request(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == SERVER && {
            let scope = self.scope(c, row);
            scope.apiserver && scope.http
        }
    }

    /// An HTTP call that the apiserver makes.
    pub fn is_http_call(&self, c: &Columns, row: usize) -> bool {
        let scope = self.scope(c, row);
        c.spans.kind[row] == CLIENT && scope.apiserver && scope.http
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

    /// Sent by a process of service `apiserver`.
    pub fn in_apiserver(&self, c: &Columns, row: usize) -> bool {
        self.scope(c, row).apiserver
    }

    /// The `authentication` filter span.
    #[inline(always)]
    pub fn is_authentication(&self, c: &Columns, row: usize) -> bool {
        Some(c.spans.name[row]) == self.authentication && self.is_inner(c, row)
    }

    /// INTERNAL, and sent by the apiserver.
    #[inline(always)]
    fn is_inner(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == INTERNAL && self.in_apiserver(c, row)
    }
}

type Rule = (RepairKind, &'static [&'static str], &'static [&'static str]);

fn rule_of_name(c: &Columns, names: fn(&Rule) -> &'static [&'static str]) -> Vec<u8> {
    let rule = |name: &str| BESIDE.iter().position(|rule| names(rule).contains(&name));
    c.names.iter().map(|name| rule(name).map_or(0, |at| at as u8 + 1)).collect()
}

/// Applies the known-shape rules to `parent`. Returns the preludes as (authentication row, request row).
pub fn repair(
    c: &Columns,
    names: &KnownNames,
    processes: &Processes,
    in_tree: &impl Fn(u32) -> bool,
    times: (&[i64], &[i64]),
    parent: &mut [u32],
    repairs: &mut Vec<Repair>,
) -> Vec<(u32, u32)> {
    let rows: Vec<u32> =
        (0..c.len() as u32).filter(|&row| in_tree(row) && parent[row as usize] != NONE).collect();
    move_authentication_children(c, names, &rows, times, parent, repairs);
    move_siblings(c, names, processes, &rows, times, parent, repairs);
    take_preludes(c, names, &rows, parent, repairs)
}

/// 1.26 to 1.32: the filter ended, and what it called still hangs on it.
///
/// ```text
/// request        |===============|          request        |===============|
/// authentication  |=|                  →    authentication  |=|
///   Create            |========|            Create              |========|
/// ```
fn move_authentication_children(
    c: &Columns,
    names: &KnownNames,
    rows: &[u32],
    (start, end): (&[i64], &[i64]),
    parent: &mut [u32],
    repairs: &mut Vec<Repair>,
) {
    let ended = |row: u32| end[row as usize].max(start[row as usize]);
    let moves = rows.iter().filter_map(|&row| {
        let filter = parent[row as usize];
        let request = parent[filter as usize];
        let left = names.is_authentication(c, filter as usize)
            && ended(filter) <= start[row as usize]
            && request != NONE
            && names.is_request(c, request as usize);
        let kind = RepairKind::AuthenticationChildren;
        left.then_some(Repair { kind, row, before: filter, after: request })
    });
    // All moves are found before the first is made, so that their order does not matter.
    let moves: Vec<Repair> = moves.collect();
    for repair in &moves {
        parent[repair.row as usize] = repair.after;
    }
    repairs.extend(moves);
}

/// Moves spans under the one beside them that contains them, by [`BESIDE`]; of several, the smallest span id.
fn move_siblings(
    c: &Columns,
    names: &KnownNames,
    processes: &Processes,
    rows: &[u32],
    (start, end): (&[i64], &[i64]),
    parent: &mut [u32],
    repairs: &mut Vec<Repair>,
) {
    let rule_of = |rules: &[u8], row: u32| match rules[c.spans.name[row as usize] as usize] {
        0 => None,
        rule if names.is_inner(c, row as usize) => Some(rule),
        _ => None,
    };
    let mut containers: Vec<(u8, u32, u64, u32)> = rows
        .iter()
        .filter_map(|&row| rule_of(&names.contains_for, row).map(|rule| (rule, row)))
        .map(|(rule, row)| (rule, parent[row as usize], id_key(c.spans.span_id[row as usize]), row))
        .collect();
    containers.sort_unstable();
    let ended = |row: usize| end[row].max(start[row]);
    for &row in rows {
        let Some(rule) = rule_of(&names.moved_by, row) else { continue };
        let (at, above) = (row as usize, parent[row as usize]);
        let fits = |&span: &u32| {
            let span = span as usize;
            start[span] <= start[at]
                && ended(at) <= ended(span)
                && processes.of(c, span) == processes.of(c, at)
        };
        let first = containers.partition_point(|&(r, up, ..)| (r, up) < (rule, above));
        let beside =
            containers[first..].iter().take(CONTAINERS).take_while(|&&(r, up, ..)| (r, up) == (rule, above));
        if let Some(span) = beside.map(|&(.., span)| span).find(fits) {
            parent[at] = span;
            repairs.push(Repair { kind: BESIDE[usize::from(rule) - 1].0, row, before: above, after: span });
        }
    }
}

/// 1.34 and later, privileged callers: the `authentication` span covers the request and is its parent.
fn take_preludes(
    c: &Columns,
    names: &KnownNames,
    rows: &[u32],
    parent: &mut [u32],
    repairs: &mut Vec<Repair>,
) -> Vec<(u32, u32)> {
    let above = |row: u32| parent[row as usize];
    let candidates = rows
        .iter()
        .copied()
        .filter(|&row| names.is_request(c, row as usize) && names.is_authentication(c, above(row) as usize));
    let candidates: Vec<(u32, u32)> = candidates.map(|row| (above(row), row)).collect();
    let mut inside = Inside::new(c, names);
    let preludes: Vec<(u32, u32)> =
        candidates.into_iter().filter(|&(filter, _)| !inside.a_request(parent, filter)).collect();
    for &(before, row) in &preludes {
        parent[row as usize] = NONE;
        repairs.push(Repair { kind: RepairKind::Prelude, row, before, after: NONE });
    }
    preludes
}

/// Asks whether spans are below a request, walking each edge once however often it is asked.
struct Inside<'a> {
    c: &'a Columns,
    names: &'a KnownNames,
    known: hashbrown::HashMap<u32, bool, foldhash::fast::RandomState>,
}

impl<'a> Inside<'a> {
    fn new(c: &'a Columns, names: &'a KnownNames) -> Self {
        Self { c, names, known: hashbrown::HashMap::default() }
    }

    fn a_request(&mut self, parent: &[u32], row: u32) -> bool {
        let (mut at, mut path) = (row, Vec::new());
        let answer = loop {
            if let Some(&known) = self.known.get(&at) {
                break known;
            }
            path.push(at);
            match parent[at as usize] {
                NONE => break false,
                above if self.names.is_request(self.c, above as usize) => break true,
                above => at = above,
            }
        };
        self.known.extend(path.into_iter().map(|row| (row, answer)));
        answer
    }
}
