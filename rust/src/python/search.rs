//! What is looked for over the columns of many takes.

use std::sync::Arc;

use pyo3::prelude::*;

use super::spans::SpanColumns;
use crate::columns::Columns;
use crate::search::{self, Wanted};

type Takes<'py> = Vec<PyRef<'py, SpanColumns>>;

/// The columns by themselves, to be looked at without the GIL.
fn columns(takes: &Takes<'_>) -> Vec<Arc<Columns>> {
    takes.iter().map(|take| take.0.clone()).collect()
}

fn with<T: Send>(py: Python<'_>, takes: &Takes<'_>, look: impl FnOnce(&[&Columns]) -> T + Send) -> T {
    let shared = columns(takes);
    py.detach(|| look(&shared.iter().map(Arc::as_ref).collect::<Vec<_>>()))
}

/// What a span must be like: (service, name, kind, error, start, duration, attributes).
type Asked = (
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<bool>,
    (u64, u64),
    (u64, u64),
    Vec<(String, String)>,
);

/// Ids of the traces with a span that fits, the latest first.
#[pyfunction]
fn find_traces(py: Python<'_>, takes: Takes<'_>, wanted: Asked, limit: usize) -> Vec<String> {
    let (service, name, kind, error, start, duration, attributes) = wanted;
    let wanted = Wanted { service, name, kind, error, start, duration, attributes };
    let found = with(py, &takes, |takes| search::traces(takes, &wanted, limit));
    found.iter().map(hex::encode).collect()
}

/// For each trace, (take, row) of its spans.
#[pyfunction]
fn trace_rows(py: Python<'_>, takes: Takes<'_>, trace_ids: Vec<[u8; 16]>) -> Vec<Vec<(u32, u32)>> {
    with(py, &takes, |takes| search::rows(takes, &trace_ids))
}

/// Every (service, span name, kind), sorted.
#[pyfunction]
fn operations(py: Python<'_>, takes: Takes<'_>) -> Vec<(String, String, i32)> {
    with(py, &takes, |takes| search::operations(takes).into_iter().collect())
}

/// (service of the parent, service of the child, children that began between two times, both included), sorted.
#[pyfunction]
fn dependencies(py: Python<'_>, takes: Takes<'_>, start: (u64, u64)) -> Vec<(String, String, u64)> {
    let found = with(py, &takes, |takes| search::dependencies(takes, start));
    found.into_iter().map(|((parent, child), count)| (parent, child, count)).collect()
}

/// Adds what this file has to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(find_traces, module)?)?;
    module.add_function(wrap_pyfunction!(trace_rows, module)?)?;
    module.add_function(wrap_pyfunction!(operations, module)?)?;
    module.add_function(wrap_pyfunction!(dependencies, module)?)
}
