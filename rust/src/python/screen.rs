//! The interface to `screen`. The bytes are not copied: Python's `bytes` do not change.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::to_py_err;
use crate::decode::json;
use crate::screen::{self, CutReason};

/// The settings of `k8strace.receiver.Limits` that are for one request.
#[derive(FromPyObject)]
struct Limits {
    spans_per_request: u64,
    attributes: u32,
    events: u32,
    links: u32,
    value_bytes: usize,
    value_depth: u32,
    span_bytes: usize,
    columns_per_byte: u64,
    columns_free_bytes: u64,
}

impl From<Limits> for screen::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            spans: limits.spans_per_request,
            attributes: limits.attributes,
            events: limits.events,
            links: limits.links,
            value_bytes: limits.value_bytes,
            value_depth: limits.value_depth,
            span_bytes: limits.span_bytes,
            columns_per_byte: limits.columns_per_byte,
            columns_free_bytes: limits.columns_free_bytes,
        }
    }
}

/// Wire without what is over a limit, spans that are left in it, and what was cut: (reason, count).
type Screened<'py> = (Bound<'py, PyBytes>, u64, Vec<(&'static str, u64)>);

/// Looks through one request before it is kept.
#[pyfunction]
#[pyo3(name = "screen", signature = (wire, limits, /))]
fn screen_wire(wire: Bound<'_, PyBytes>, limits: Limits) -> PyResult<Screened<'_>> {
    let py = wire.py();
    let (bytes, limits) = (wire.as_bytes(), limits.into());
    let screened = py.detach(|| screen::screen(bytes, &limits)).map_err(|error| to_py_err(&error))?;
    let counts = CutReason::NAMES.into_iter().zip(screened.tally.cut).filter(|(_, count)| *count > 0);
    let accepted = screened.tally.accepted;
    let left = screened.wire.map(|left| PyBytes::new(py, &left));
    Ok((left.unwrap_or(wire), accepted, counts.collect()))
}

/// Where JSON is deeper than `limit` objects and arrays, if it is.
#[pyfunction]
#[pyo3(signature = (text, limit, /))]
fn json_too_deep(text: Bound<'_, PyBytes>, limit: u32) -> Option<usize> {
    let bytes = text.as_bytes();
    text.py().detach(|| screen::too_deep_json(bytes, limit))
}

/// JSON as wire; None if that would be longer than `limit` bytes. The text is not copied.
#[pyfunction]
#[pyo3(signature = (text, limit, /))]
fn json_to_wire_within(text: Bound<'_, PyBytes>, limit: usize) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let (py, bytes) = (text.py(), text.as_bytes());
    let wire = py.detach(|| json::to_wire(bytes)).map_err(|error| to_py_err(&error))?;
    Ok((wire.len() <= limit).then(|| PyBytes::new(py, &wire)))
}

/// Puts this room's functions into the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(screen_wire, module)?)?;
    module.add_function(wrap_pyfunction!(json_to_wire_within, module)?)?;
    module.add_function(wrap_pyfunction!(json_too_deep, module)?)
}
