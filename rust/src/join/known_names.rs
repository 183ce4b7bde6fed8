//! Names and scopes by which kube-apiserver and etcd are known: what a span is, asked once per distinct name.

use crate::columns::{Columns, NONE};
use crate::join::apiservers::Apiservers;
use crate::join::span_kind::{CLIENT, INTERNAL, SERVER};

/// Verb spans: the handlers that read or write objects.
pub const VERBS: [&str; 6] = ["Create", "Delete", "Get", "List", "Patch", "Update"];
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

    /// An HTTP call that an API server makes.
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

    /// etcd's side of a call.
    #[inline(always)]
    pub fn is_etcd_answer(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == SERVER && self.etcd_method[c.spans.name[row] as usize] && self.is_rpc(c, row)
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
    pub fn is_inner(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == INTERNAL && self.in_apiserver(c, row)
    }
}
