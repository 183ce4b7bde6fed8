//! The door to `stream`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use super::joined::JoinedSpans;
use super::spans::SpanColumns;
use crate::columns::hex;
use crate::join::apiservers::Apiservers;
use crate::join::role::Role;
use crate::stream::{Stream, StreamSettings, Taken};

/// Joined spans, the spans themselves, revisions of the requests, and (trace id, span id, revision) of what they replace.
type PyTaken = (JoinedSpans, SpanColumns, Vec<u32>, Vec<(String, String, u32)>);

/// An endless series of spans. Threads take turns.
#[pyclass(frozen, module = "k8strace._core")]
struct SpanStream(Mutex<Stream>);

impl SpanStream {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl SpanStream {
    #[new]
    #[pyo3(signature = (apiserver, *, window_ns, max_age_ns, max_spans, max_traces, max_trace_spans, max_bytes))]
    fn new(
        apiserver: Vec<String>,
        window_ns: u64,
        max_age_ns: u64,
        max_spans: usize,
        max_traces: usize,
        max_trace_spans: usize,
        max_bytes: u64,
    ) -> Self {
        let settings =
            StreamSettings { window_ns, max_age_ns, max_spans, max_traces, max_trace_spans, max_bytes };
        Self(Mutex::new(Stream::new(settings, Apiservers::named(apiserver))))
    }

    /// Takes decoded spans in.
    fn feed(&self, py: Python<'_>, spans: &SpanColumns, now_ns: u64) {
        let columns = Arc::clone(&spans.0);
        py.detach(|| self.lock().feed(&columns, now_ns));
    }

    /// Gives out what is due.
    fn take(&self, py: Python<'_>, now_ns: u64) -> PyTaken {
        py.detach(|| as_python(self.lock().take(now_ns)))
    }

    /// Gives out all that is left.
    fn flush(&self, py: Python<'_>) -> PyTaken {
        py.detach(|| as_python(self.lock().flush()))
    }

    /// Counts by name.
    fn counts(&self, py: Python<'_>) -> Vec<(String, u64)> {
        py.detach(|| self.lock().counts())
    }

    /// (role, is a use, spans), in the ledger's order, over all that was emitted.
    fn ledger(&self, py: Python<'_>) -> Vec<(&'static str, bool, u64)> {
        let counts = py.detach(|| self.lock().ledger());
        let rows = Role::NAMES.iter().zip(counts).enumerate();
        rows.map(|(at, (name, count))| (*name, at < Role::USED, count)).collect()
    }
}

fn as_python(taken: Taken) -> PyTaken {
    let Taken { joined, revision, replaced } = taken;
    let spans = SpanColumns(Arc::clone(&joined.columns));
    let ids = replaced.into_iter().map(|(trace, span, revision)| (hex(&trace), hex(&span), revision));
    let replaced = ids.collect();
    (JoinedSpans::new(joined), spans, revision, replaced)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SpanStream>()
}
