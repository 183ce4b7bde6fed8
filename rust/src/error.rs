//! What went wrong with some bytes: what was expected, what came, and where.

use std::borrow::Cow;
use std::fmt;

/// Malformed input. The path is in the `.proto`'s words and grows outwards while the error travels up, so success pays nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What the format calls for here, such as "a varint of at most 10 bytes".
    pub expected: Cow<'static, str>,
    /// What was found instead.
    pub got: Cow<'static, str>,
    /// Field path, outermost first, such as "resource_spans.scope_spans.spans.name". Empty at the top.
    pub path: String,
    /// Byte offset in the input.
    pub offset: u64,
}

/// The result of reading untrusted bytes. The error is boxed, so that success fits in registers.
pub type Result<T> = std::result::Result<T, Box<DecodeError>>;

impl DecodeError {
    /// An error at `offset`, not yet inside any field.
    #[cold]
    pub fn new(
        expected: impl Into<Cow<'static, str>>,
        got: impl Into<Cow<'static, str>>,
        offset: usize,
    ) -> Box<Self> {
        let (expected, got) = (expected.into(), got.into());
        Box::new(Self { expected, got, path: String::new(), offset: offset as u64 })
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

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.path.is_empty() { "the top level" } else { &self.path };
        write!(f, "expected {}, got {} - at {at} (byte {})", self.expected, self.got, self.offset)
    }
}

impl std::error::Error for DecodeError {}
