//! The compiled core of k8strace. It builds and tests without Python; only the feature `python` uses `PyO3`.
//!
//! The modules, in the order in which they may use each other:
//!
//! ```text
//! bytes ─ decode → columns ─ join → call trees, requests ─ attribute → segments, phases ─ tables ─ retime ─ python
//!           └ screen: what a receiver accepts    ├ stream: the same join, a part at a time
//!                                                └ archive: the same join, in parts with common evidence
//!                      columns ─ arrow: tables that other libraries read ─ search: the traces that match a query
//! ```

// Half of the core is used only by Python; with that feature, every function has a caller.
#![cfg_attr(not(feature = "python"), allow(dead_code, unused_imports))]
// Numbers in tests are small, and made there.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::cast_lossless,
        clippy::needless_for_each,
        clippy::unreadable_literal,
        clippy::format_collect,
        clippy::match_bool,
        clippy::range_plus_one
    )
)]

/// Numbers that change their width.
mod numbers;

/// What was expected, what came, and where.
mod error;

/// Work divided among threads.
mod threads;

/// Durations in buckets, mergeable.
mod exponential;

/// Everything that was decoded, one array per field.
mod columns;

/// Bytes → columns: OTLP on the wire, as JSON, compressed.
mod decode;

/// What a receiver accepts of a request.
mod screen;

/// Columns → tables that other libraries read.
mod arrow;

/// Columns → wire bytes again, and other tools' JSON.
mod encode;

/// Columns → the traces that match a search.
mod search;

/// Columns → call trees and requests.
mod join;

/// Requests → whose time it was.
mod attribute;

/// The same join, a part at a time.
mod stream;

/// A whole in parts that are joined one by one.
mod archive;

/// Results about joined spans, as tables.
mod tables;

/// Requests → how long they would have taken.
mod retime;

/// Quantiles of weighted sums.
mod quantiles;

/// What is wrong, as far as every span must be looked at.
mod findings;

/// The interface to Python.
#[cfg(feature = "python")]
mod python;

pub use arrow::{Builder, ODD_IDS, RESOURCES, SCOPES, SPANS, table};
pub use attribute::sweep::Overlap;
pub use attribute::{Attributed, EventRule, Method, Phase, PhaseTable, Signature, Signatures, attribute};
pub use columns::gather::{Gather, Room};
pub use columns::{
    Arena, Attributes, Columns, EventColumns, IdField, LinkColumns, OddId, Rare, ResourceColumns,
    ScopeColumns, SpanColumns, TextRef, ValueKind, present, run,
};
pub use decode::inflate::{Compression, Inflater, inflate};
pub use decode::json::to_wire as json_to_wire;
pub use decode::otlp::decode;
pub use decode::write::Out;
pub use encode::json::to_json as wire_to_json;
pub use encode::{resource as encode_resource, scope as encode_scope, span as encode_span};
pub use error::{DecodeError, Result};
pub use join::apiservers::Apiservers;
pub use join::role::Role;
pub use join::{Joined, join};
pub use screen::{CutReason, Limits, Screened, screen};
pub use stream::{Stream, StreamSettings, Taken};
