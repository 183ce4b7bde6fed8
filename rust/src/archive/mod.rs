//! Spans that are too many for one join, joined in parts: what the parts must know of each other.
//!
//! ```text
//! spans ─ split → one message a trace ─┐
//!       ─ couplings → groups of traces ┴→ parts of whole groups ─ clock evidence → summed → join of each part
//! ```

/// Traces whose results depend on each other.
pub mod couplings;
/// Clock evidence of all parts, and the services that are API servers.
pub mod evidence;
/// One message for each trace.
pub mod split;
