//! What went wrong with some bytes: what was expected, what came, and where.

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;

/// What is wrong, for those who decide by it. The text is for people, and nothing may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorKind {
    /// Not the wire format, or a value of the wrong kind.
    #[default]
    Malformed,
    /// Sound as far as it goes, but its end is missing.
    Cut,
    /// Text that is not UTF-8.
    Utf8,
    /// Not JSON.
    Json,
    /// JSON, but no OTLP.
    NotOtlp,
    /// OTLP metrics.
    Metrics,
    /// OTLP logs.
    Logs,
    /// OTLP profiles.
    Profiles,
    /// More than a limit.
    Limit,
    /// Corrupt compression.
    Compression,
    /// There is not enough memory.
    Memory,
    /// Another checksum than that of the content.
    Checksum,
    /// Zeros where a message must be.
    Zeros,
}

impl ErrorKind {
    /// The names that Python knows the kinds by, in their order.
    pub const NAMES: [&'static str; 13] = [
        "malformed",
        "cut",
        "utf8",
        "json",
        "not_otlp",
        "metrics",
        "logs",
        "profiles",
        "limit",
        "compression",
        "memory",
        "checksum",
        "zeros",
    ];

    /// The name that Python knows it by.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Malformed input. The path is in the `.proto`'s words and grows outwards while the error travels up, so success pays nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What the format calls for here, such as "a varint of at most 10 bytes".
    pub expected: Cow<'static, str>,
    /// What was found instead.
    pub got: Cow<'static, str>,
    /// Field path, outermost first, such as `resource_spans.scope_spans.spans.name`. Empty at the top.
    pub path: String,
    /// Byte offset in the input.
    pub offset: u64,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// The result of reading untrusted bytes. The error is boxed, so that success fits in registers.
pub type Result<T> = std::result::Result<T, Box<DecodeError>>;

impl DecodeError {
    /// An error at `offset`, in bytes, not yet inside any field.
    #[cold]
    pub fn new(
        expected: impl Into<Cow<'static, str>>,
        got: impl Into<Cow<'static, str>>,
        offset: impl TryInto<u64>,
    ) -> Box<Self> {
        let (expected, got) = (expected.into(), got.into());
        Box::new(Self {
            expected,
            got,
            path: String::new(),
            offset: offset.try_into().unwrap_or(u64::MAX),
            kind: ErrorKind::Malformed,
        })
    }

    /// The same error as one of this kind.
    #[cold]
    pub fn of(mut self: Box<Self>, kind: ErrorKind) -> Box<Self> {
        self.kind = kind;
        self
    }

    /// The same error, seen from one field further out.
    #[cold]
    pub fn within(mut self: Box<Self>, field: &str) -> Box<Self> {
        if self.path.is_empty() {
            self.path = field.to_owned();
        } else {
            self.path = format!("{field}.{}", self.path);
        }
        self
    }
}

/// Whether this much memory is available. Checked before large work, since a vector that cannot grow ends the process.
///
/// Errors: [`ErrorKind::Memory`].
pub fn room_for(bytes: u64, what: &str) -> Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut room = Vec::<u8>::new();
    let found = room.try_reserve_exact(bytes);
    // Memory that nobody looks at may be left out by the compiler, which then takes it for found.
    black_box(&room);
    found.map_err(|_| no_memory(bytes, what))
}

/// There is none for this many bytes.
#[cold]
pub fn no_memory(bytes: usize, what: &str) -> Box<DecodeError> {
    DecodeError::new(format!("memory for {bytes} bytes of {what}"), "none: read in pieces, with scan", 0)
        .of(ErrorKind::Memory)
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.path.is_empty() { "the top level" } else { &self.path };
        write!(f, "expected {}, got {} - at {at} (byte {})", self.expected, self.got, self.offset)
    }
}

impl std::error::Error for DecodeError {}
