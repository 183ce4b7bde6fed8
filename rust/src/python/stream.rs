//! The interface to `stream`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::archive::ClockEvidence;
use super::joined::JoinedSpans;
use super::spans::SpanColumns;
use crate::join::apiservers::Apiservers;
use crate::join::role::Role;
use crate::stream::{Released, Stream, StreamSettings, Taken};

/// Joined spans, the spans themselves; of each request its revision, and whether it is final; (trace id, span id,
/// revision) of what they replace; ids of traces that are released, 16 bytes each.
type PyTaken<'py> =
    (JoinedSpans, SpanColumns, Vec<u32>, Vec<bool>, Vec<(String, String, u32)>, Bound<'py, PyBytes>);

/// An endless series of spans. Threads take turns.
#[pyclass(frozen, module = "k8strace._core")]
struct SpanStream(Mutex<Stream>);

impl SpanStream {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_out<'py>(&self, py: Python<'py>, take: impl Fn(&mut Stream) -> Taken + Sync) -> PyTaken<'py> {
        let (joined, taken) = py.detach(|| {
            let Taken { joined, revision, replaced, is_final, released } = take(&mut self.lock());
            let spans = SpanColumns(Arc::clone(&joined.columns));
            (JoinedSpans::new(joined), (spans, revision, is_final, replaced, released))
        });
        let (spans, revision, is_final, replaced, released) = taken;
        let hex = |(trace, span, revision)| {
            (hex::encode::<[u8; 16]>(trace), hex::encode::<[u8; 8]>(span), revision)
        };
        let replaced = replaced.into_iter().map(hex).collect();
        (joined, spans, revision, is_final, replaced, PyBytes::new(py, released.as_flattened()))
    }
}

#[pymethods]
impl SpanStream {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "each has a name in Python")]
    #[pyo3(signature = (apiserver, *, window_ns, max_age_ns, max_spans, max_traces, max_trace_spans, max_bytes, early=true))]
    fn new(
        apiserver: Vec<String>,
        window_ns: u64,
        max_age_ns: u64,
        max_spans: usize,
        max_traces: usize,
        max_trace_spans: usize,
        max_bytes: u64,
        early: bool,
    ) -> Self {
        let settings = StreamSettings {
            window_ns,
            max_age_ns,
            max_spans,
            max_traces,
            max_trace_spans,
            max_bytes,
            early,
        };
        Self(Mutex::new(Stream::new(settings, Apiservers::named(apiserver))))
    }

    /// Takes decoded spans in.
    fn feed(&self, py: Python<'_>, spans: &SpanColumns, now_ns: u64) {
        let columns = Arc::clone(&spans.0);
        py.detach(|| self.lock().feed(&columns, now_ns));
    }

    /// Gives out what is due.
    fn take<'py>(&self, py: Python<'py>, now_ns: u64) -> PyTaken<'py> {
        self.give_out(py, |stream| stream.take(now_ns))
    }

    /// Gives out all that is left.
    fn flush<'py>(&self, py: Python<'py>) -> PyTaken<'py> {
        self.give_out(py, Stream::flush)
    }

    /// All held spans of traces; of each trace its id, when its first and when its last span came, oldest first.
    fn held<'py>(&self, py: Python<'py>) -> (SpanColumns, Bound<'py, PyBytes>, Vec<(u64, u64)>) {
        let (columns, times) = py.detach(|| self.lock().held());
        let ids: Vec<u8> = times.iter().flat_map(|(id, ..)| *id).collect();
        let times = times.into_iter().map(|(_, born, active)| (born, active)).collect();
        (SpanColumns(Arc::new(columns)), PyBytes::new(py, &ids), times)
    }

    /// Takes in what another stream held at this time.
    fn pick_up(&self, py: Python<'_>, spans: &SpanColumns, ids: &[u8], times: Vec<(u64, u64)>, now_ns: u64) {
        let times = ids.as_chunks::<16>().0.iter().copied().zip(times).collect();
        let columns = Arc::clone(&spans.0);
        py.detach(|| self.lock().pick_up(&columns, times, now_ns));
    }

    /// Takes what others know of clocks and services.
    fn hear(&self, py: Python<'_>, clock: &ClockEvidence) {
        py.detach(|| {
            let mut stream = self.lock();
            let calls = clock.0.numbered(stream.keys());
            stream.hear(calls, clock.0.services());
        });
    }

    /// The last traces that were released, 8 bytes each.
    fn released<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let keys: Vec<u8> = self.lock().released.keys().flat_map(u64::to_le_bytes).collect();
        PyBytes::new(py, &keys)
    }

    /// What `released` gave.
    fn know_released(&self, keys: &[u8]) {
        self.lock().released =
            Released::of(keys.as_chunks::<8>().0.iter().map(|&key| u64::from_le_bytes(key)));
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

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SpanStream>()
}
