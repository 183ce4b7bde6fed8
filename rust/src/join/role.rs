//! What became of a span: one role each, so that the counts add up.

/// What became of a span. The first three are used, the rest are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// In a request's tree.
    Request,
    /// An `authentication` span above its request.
    Prelude,
    /// In a tree below an etcd call that no request made.
    Background,
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
    /// A client's call that one of the requests here answers.
    Caller,
    /// `authentication` in a trace of its own.
    Authentication,
    /// Anything else.
    Unrelated,
}

impl Role {
    /// All roles, in the ledger's order, with their names.
    pub const NAMES: [&'static str; 11] = [
        "request",
        "prelude",
        "background",
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
    pub const USED: usize = 3;
}
