//! The steps whose instructions `benchmarks/core/instructions.py` counts, each once, on one file.
//!
//! Valgrind's callgrind collects only inside the functions named `measured_*`. What a clock cannot do on a busy
//! machine, the count does anywhere: the same build and the same file give the same number.

#![allow(clippy::print_stdout, missing_docs)]
#![allow(clippy::pedantic, reason = "what a bench counts is small, and what it prints is rounded")]

mod support;

use std::hint::black_box;
use std::sync::Arc;

use k8strace_core::{
    Apiservers, Attributed, Columns, Joined, Method, Overlap, PhaseTable, SPANS, Signatures, Stream,
    StreamSettings, attribute, decode, join, table,
};
use support::{Options, Workload, label_everything};

fn main() {
    let options = Options::read();
    let workload = Workload::load(&options.files[0]);
    let requests: Vec<&[u8]> = workload.requests().collect();
    let apart = |request| Arc::new(decode(&[request]).expect("a valid request"));
    measured_stream(requests.iter().map(apart).collect());
    let apart = measured_decode_apart(&requests);
    let columns = measured_decode_whole(&requests);
    assert_eq!(apart, columns.len(), "both ways see the same spans");
    measured_arrow(&columns);
    let (joined, signatures) = measured_join(Arc::new(columns));
    let table = label_everything(&signatures);
    let attributed = measured_attribute(&joined, &signatures, &table);
    println!("{} spans, {} requests", joined.columns.len(), attributed.wall_ns.len());
}

/// All requests in one call.
#[inline(never)]
fn measured_decode_whole(requests: &[&[u8]]) -> Columns {
    black_box(decode(requests).expect("valid requests"))
}

/// Each request in a call of its own.
#[inline(never)]
fn measured_decode_apart(requests: &[&[u8]]) -> usize {
    requests.iter().map(|request| decode(&[request]).expect("a valid request").len()).sum()
}

/// Every batch by itself, with a take every few: what a stream does beside decoding and attribution.
#[inline(never)]
fn measured_stream(batches: Vec<Arc<Columns>>) {
    let many = 1 << 30;
    let settings = StreamSettings {
        window_ns: 1 << 40,
        max_age_ns: 1 << 41,
        max_spans: many,
        max_traces: many,
        max_trace_spans: many,
        early: true,
        max_bytes: 1 << 30,
    };
    let mut stream = Stream::new(settings, Apiservers::default());
    for (at, columns) in batches.into_iter().enumerate() {
        stream.feed(&columns, at as u64);
        if at % 8 == 7 {
            black_box(Signatures::new(&stream.take(at as u64).joined));
        }
    }
    black_box(Signatures::new(&stream.flush().joined));
}

/// The span table, as other libraries take it.
#[inline(never)]
fn measured_arrow(columns: &Columns) {
    black_box(table(columns, SPANS).expect("columns that fit each other"));
}

#[inline(never)]
fn measured_join(columns: Arc<Columns>) -> (Joined, Signatures) {
    let joined = join(columns);
    let signatures = Signatures::new(&joined);
    black_box((joined, signatures))
}

/// Critical path and phases.
#[inline(never)]
fn measured_attribute(joined: &Joined, signatures: &Signatures, table: &PhaseTable) -> Attributed {
    black_box(attribute(joined, signatures, table, Method::CriticalPath, Overlap::Clip))
}
