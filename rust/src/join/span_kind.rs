//! `SpanKind` numbers of the `.proto`.

/// Inside a process.
pub const INTERNAL: i32 = 1;
/// The called side.
pub const SERVER: i32 = 2;
/// The calling side.
pub const CLIENT: i32 = 3;
/// The side that leaves a message.
pub const PRODUCER: i32 = 4;
/// The side that takes it up.
pub const CONSUMER: i32 = 5;
