//! Spans → one OTLP message for each trace. Concatenated, such messages are one message again.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::LargeBinaryBuilder;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::ArrowError;

use crate::arrow::{hex_column, named};
use crate::columns::Columns;
use crate::decode::write::Out;
use crate::encode;
use crate::error::room_for;
use crate::join::times::saturated;
use crate::numbers::u32_of;

/// One row per trace id, ascending; the spans of each in the order in which they came. Those without one are of the id
/// of zeros.
///
/// Errors: [`ArrowError::MemoryError`].
pub fn by_trace(c: &Columns) -> Result<RecordBatch, ArrowError> {
    let ids = &c.spans.trace_id;
    let mut rows: Vec<u32> = (0..u32_of(c.len())).collect();
    rows.sort_unstable_by_key(|&row| (ids[row as usize], row));
    let traces = || rows.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]);
    let mut wires = LargeBinaryBuilder::new();
    let mut around = Around::new(c);
    let bytes = traces().map(|trace| around.bytes(c, trace)).sum();
    room_for(bytes, "resources and scopes of each trace").map_err(|error| {
        ArrowError::MemoryError(format!("expected {}, got {}", error.expected, error.got))
    })?;
    let mut out = Out::default();
    for trace in traces() {
        out.0.clear();
        around.write(c, trace, &mut out);
        wires.append_value(&out.0);
    }
    let (start, end) = (&c.spans.start_time_unix_nano, &c.spans.end_time_unix_nano);
    let first = |trace: &[u32]| trace.iter().map(|&row| saturated(start[row as usize])).min();
    let last = |trace: &[u32]| trace.iter().map(|&row| saturated(end[row as usize])).max();
    named(vec![
        ("trace_id", hex_column(traces().map(|trace| Some(&ids[trace[0] as usize][..])))),
        (
            "spans",
            Arc::new(Int64Array::from_iter_values(traces().map(|trace| trace.len().cast_signed() as i64)))
                as ArrayRef,
        ),
        ("start_unix_nano", Arc::new(Int64Array::from_iter(traces().map(first)))),
        ("end_unix_nano", Arc::new(Int64Array::from_iter(traces().map(last)))),
        ("otlp", Arc::new(wires.finish())),
    ])
}

fn scope_of(c: &Columns, row: u32) -> usize {
    c.spans.scope_spans[row as usize] as usize
}

/// Runs of rows with one scope.
fn by_scope<'a>(c: &'a Columns, rows: &'a [u32]) -> impl Iterator<Item = &'a [u32]> {
    rows.chunk_by(|&a, &b| scope_of(c, a) == scope_of(c, b))
}

/// The bytes around spans, written once for each scope and resource.
struct Around {
    scopes: Written,
    resources: Written,
}

/// Messages without their tags and lengths, concatenated.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    of: Vec<Range<usize>>,
}

impl Written {
    fn all(c: &Columns, count: usize, encode: fn(&Columns, usize, &mut Out)) -> Self {
        let mut out = Out::default();
        let of = (0..count).map(|row| {
            let start = out.0.len();
            encode(c, row, &mut out);
            start..out.0.len()
        });
        let of = of.collect();
        Self { bytes: out.0, of }
    }

    fn put(&self, row: usize, out: &mut Out) {
        out.0.extend_from_slice(&self.bytes[self.of[row].clone()]);
    }
}

impl Around {
    fn new(c: &Columns) -> Self {
        Self {
            scopes: Written::all(c, c.scopes.name.len(), encode::scope),
            resources: Written::all(c, c.resources.batch.len(), encode::resource),
        }
    }

    /// How much is written around the spans of a trace: it has its resources and scopes by itself, so a large resource
    /// of many small traces is written many times.
    fn bytes(&self, c: &Columns, rows: &[u32]) -> u64 {
        let of_scope = |rows: &[u32]| {
            let scope = scope_of(c, rows[0]);
            let resource = c.scopes.resource_spans[scope] as usize;
            (self.scopes.of[scope].len() + self.resources.of[resource].len()) as u64
        };
        by_scope(c, rows).map(of_scope).sum()
    }

    fn write(&mut self, c: &Columns, rows: &[u32], out: &mut Out) {
        for of_scope in by_scope(c, rows) {
            let scope = scope_of(c, of_scope[0]);
            let resource = out.open(1);
            self.resources.put(c.scopes.resource_spans[scope] as usize, out);
            let inside = out.open(2);
            self.scopes.put(scope, out);
            for &row in of_scope {
                let at = out.open(2);
                encode::span(c, row as usize, out);
                out.close_tight(at);
            }
            out.close_tight(inside);
            out.close_tight(resource);
        }
    }
}
