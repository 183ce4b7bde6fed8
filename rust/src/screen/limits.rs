//! Limits, reasons and counts.

/// How much of each a request may have. `receiver/limits.py` documents them.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Limits {
    pub spans: u64,
    pub attributes: u32,
    pub events: u32,
    pub links: u32,
    pub value_bytes: usize,
    pub value_depth: u32,
    pub span_bytes: usize,
    pub columns_per_byte: u64,
    pub columns_free_bytes: u64,
}

/// Why something was cut. The names are those of `receiver/limits.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CutReason {
    Spans,
    Columns,
    SpanBytes,
    TraceId,
    SpanId,
    Utf8,
    Scattered,
    Attributes,
    Events,
    Links,
    ValueBytes,
    ValueDepth,
}

impl CutReason {
    /// In the order of their numbers.
    pub const NAMES: [&'static str; 12] = [
        "spans",
        "columns",
        "span_bytes",
        "trace_id",
        "span_id",
        "utf8",
        "scattered",
        "attributes",
        "events",
        "links",
        "value_bytes",
        "value_depth",
    ];
}

/// Counts: spans that are kept, and what was cut, by [`CutReason`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CutCounts {
    /// Spans that are in the wire that was passed on.
    pub accepted: u64,
    /// Spans, or parts of accepted spans, that are not.
    pub cut: [u64; CutReason::NAMES.len()],
}
