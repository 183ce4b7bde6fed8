//! Names and scopes by which kube-apiserver and etcd are known: what a span is, asked once per distinct name.

use crate::columns::Columns;
use crate::join::apiservers::Apiservers;
use crate::join::span_kind::{CLIENT, INTERNAL, SERVER};
use crate::numbers::u32_of;

/// Verb spans: the handlers that read or write objects.
pub const VERBS: [&str; 6] = ["Create", "Delete", "Get", "List", "Patch", "Update"];
/// The same, and the first part of a watch.
const HANDLERS: [&str; 7] = ["Create", "Delete", "Get", "List", "Patch", "Update", "WatchList"];

/// The kubelet's work on a pod, as its spans are called; their scope.
pub const SYNCS: [&str; 3] = ["syncPod", "syncTerminatingPod", "syncTerminatedPod"];
const SYNC_SCOPE: &[u8] = b"k8s.io/kubernetes/pkg/kubelet";

/// What the kubelet calls itself, and container runtimes do.
const KUBELET: &str = "kubelet";
const RUNTIMES: [&str; 3] = ["containerd", "crio", "cri-o"];

/// Packages of the container runtime interface: `runtime.v1`, and before 1.26 `runtime.v1alpha2`.
const CRI: &[u8] = b"runtime.v1";

/// Spans that only a watch has below it; so has it those of the `WatchServer`.
const OF_WATCH: [&[u8]; 3] = [b"WatchList", b"cacher.Watch", b"etcdserverpb.Watch/Watch"];

/// What a scope is, decided once per `ScopeSpans` message.
#[derive(Debug, Clone, Copy, Default)]
struct ScopeFacts {
    apiserver: bool,
    http: bool,
    rpc: bool,
    kubelet: bool,
    runtime: bool,
    /// Kubelet's own scope, in which it syncs pods.
    syncs: bool,
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
    /// The spans in which the kubelet works on pods, in the order of [`SYNCS`].
    syncs: [Option<u32>; 3],
    /// Name number → it is a call of the container runtime interface; empty if none is.
    cri_method: Vec<bool>,
}

impl KnownNames {
    /// Looks the names up.
    pub fn new(c: &Columns, apiservers: &Apiservers) -> Self {
        let of_service = |row: usize| {
            let service = c.resource_text(row, "service.name");
            service.map_or(ScopeFacts::default(), |name| ScopeFacts {
                apiserver: apiservers.contains(name),
                kubelet: name == KUBELET,
                runtime: RUNTIMES.contains(&name),
                ..ScopeFacts::default()
            })
        };
        let services: Vec<ScopeFacts> = (0..c.resources.batch.len()).map(of_service).collect();
        let facts = |(&name, &resource): (&u32, &u32)| ScopeFacts {
            http: c.names.bytes(name).ends_with(b"net/http/otelhttp"),
            rpc: c.names.bytes(name).ends_with(b"otelgrpc"),
            syncs: c.names.bytes(name) == SYNC_SCOPE,
            ..services[resource as usize]
        };
        let each_name = |holds: fn(&[u8]) -> bool| -> Vec<bool> {
            (0..u32_of(c.names.len())).map(|id| holds(c.names.bytes(id))).collect()
        };
        let cri_method = each_name(|name| name.starts_with(CRI));
        Self {
            syncs: SYNCS.map(|name| c.names.find(name.as_bytes())),
            cri_method: if cri_method.contains(&true) { cri_method } else { Vec::new() },
            scopes: c.scopes.name.iter().zip(&c.scopes.resource_spans).map(facts).collect(),
            authentication: c.names.find(b"authentication"),
            audit: c.names.find(b"audit"),
            verbs: HANDLERS.iter().filter_map(|name| c.names.find(name.as_bytes())).collect(),
            of_watch: each_name(|name| OF_WATCH.contains(&name) || name.starts_with(b"WatchServer")),
            etcd_method: each_name(|name| name.starts_with(b"etcdserverpb.")),
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

    /// Some spans can be of kubelets: none of the rules about them has anything to do otherwise.
    pub fn any_kubelet(&self) -> bool {
        !self.cri_method.is_empty()
            || self.syncs.iter().any(Option::is_some)
            || self.scopes.iter().any(|scope| scope.kubelet || scope.runtime)
    }

    /// The kubelet's work on a pod.
    #[inline(always)]
    pub fn is_sync(&self, c: &Columns, row: usize) -> bool {
        self.syncs.contains(&Some(c.spans.name[row]))
            && c.spans.kind[row] == INTERNAL
            && self.scope(c, row).syncs
    }

    /// `syncPod`, in which a pod's containers are started.
    pub fn is_sync_pod(&self, c: &Columns, row: usize) -> bool {
        Some(c.spans.name[row]) == self.syncs[0] && self.is_sync(c, row)
    }

    /// A call of the container runtime interface, of either side.
    #[inline(always)]
    pub fn is_cri(&self, c: &Columns, row: usize) -> bool {
        self.cri_method.get(c.spans.name[row] as usize).is_some_and(|&is| is) && self.is_rpc(c, row)
    }

    /// A call to a container runtime.
    #[inline(always)]
    pub fn is_cri_call(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == CLIENT && self.is_cri(c, row)
    }

    /// A command that the kubelet runs in a container: a probe, or a hook.
    pub fn is_probe(&self, c: &Columns, row: usize) -> bool {
        self.is_cri_call(c, row) && c.names.bytes(c.spans.name[row]).ends_with(b"/ExecSync")
    }

    /// Sent by a kubelet.
    pub fn in_kubelet(&self, c: &Columns, row: usize) -> bool {
        self.scope(c, row).kubelet || self.is_cri_call(c, row)
    }

    /// An HTTP call that a kubelet makes, to the API server.
    pub fn is_kubelet_request(&self, c: &Columns, row: usize) -> bool {
        let scope = self.scope(c, row);
        c.spans.kind[row] == CLIENT && scope.kubelet && scope.http
    }

    /// A request that a kubelet answers.
    pub fn is_served_by_kubelet(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == SERVER && self.scope(c, row).kubelet
    }

    /// Sent by a container runtime.
    pub fn in_runtime(&self, c: &Columns, row: usize) -> bool {
        self.scope(c, row).runtime
            || c.spans.kind[row] == SERVER && self.is_cri(c, row)
            || c.names.bytes(c.spans.name[row]).starts_with(b"containerd.")
    }

    /// INTERNAL, and sent by the apiserver.
    #[inline(always)]
    pub fn is_inner(&self, c: &Columns, row: usize) -> bool {
        c.spans.kind[row] == INTERNAL && self.in_apiserver(c, row)
    }
}
