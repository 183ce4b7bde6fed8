//! What became of a span: one role each, so that the counts add up.

/// What became of a span. The first six are used, the rest are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// In a request's tree.
    Request,
    /// An `authentication` span above its request.
    Prelude,
    /// In a tree below an etcd call that no request made.
    Background,
    /// In the tree of a pod's sync by its kubelet, or called from one that is not here.
    Sync,
    /// In another tree that begins in a kubelet: housekeeping, and what it was asked for.
    Kubelet,
    /// In a tree that begins in a container runtime.
    Runtime,
    /// An exact repeat.
    Duplicate,
    /// The same id as another span, with other content.
    Conflict,
    /// Without a usable id.
    InvalidId,
    /// In a tree whose top names a parent that never arrived.
    Orphan,
    /// The same, but the top is an inner span of the apiserver: the request's SERVER span is missing.
    RootMissing,
    /// A client's call that one of the requests here answers, or a kubelet's call to the API server.
    Caller,
    /// `authentication` in a trace of its own.
    Authentication,
    /// Anything else.
    Unrelated,
}

impl Role {
    /// All roles, in the ledger's order, with their names.
    pub const NAMES: [&'static str; 14] = [
        "request",
        "prelude",
        "background",
        "sync",
        "kubelet",
        "runtime",
        "duplicate",
        "conflict",
        "invalid_id",
        "orphan",
        "root_missing",
        "caller",
        "authentication",
        "unrelated",
    ];
    /// How many of them are uses.
    pub const USED: usize = 6;
}
