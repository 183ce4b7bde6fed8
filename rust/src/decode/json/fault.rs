//! What is wrong with a value.

use std::borrow::Cow;

use crate::error::{DecodeError, ErrorKind};

/// What a value should have been, and what it was.
pub(super) struct Fault {
    pub(super) expected: Cow<'static, str>,
    pub(super) got: Cow<'static, str>,
    pub(super) kind: ErrorKind,
}

impl Fault {
    /// From a message of the parser's or of ours: "got, expected …".
    pub(super) fn of_words(message: &str) -> Self {
        let (got, expected) =
            message.rsplit_once(", expected ").unwrap_or((message, "a value of another kind"));
        Self { expected: expected.to_owned().into(), got: got.to_owned().into(), kind: ErrorKind::Malformed }
    }

    pub(super) fn beyond(limit: usize) -> Self {
        let expected = format!("JSON that takes at most {limit} bytes as protobuf");
        Self { expected: expected.into(), got: "more".into(), kind: ErrorKind::Limit }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        let within = if error.path.is_empty() { String::new() } else { format!(" in {}", error.path) };
        let kind = if error.kind == ErrorKind::Json { ErrorKind::NotOtlp } else { error.kind };
        Self { expected: error.expected, got: format!("{}{within}", error.got).into(), kind }
    }
}
