//! The door to `json` and `inflate`.
//!
//! Input is any contiguous buffer of bytes. It is copied once: the GIL is released, and the owner may change it meanwhile.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::to_py_err;
use crate::decode::inflate::{self, Compression};
use crate::decode::json;

/// Output of one `feed` at most, about: it is held here, and again by a caller who keeps a piece at a time.
const FEED_BYTES: usize = 1 << 20;

fn compression(kind: &str) -> PyResult<Compression> {
    match kind {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(PyValueError::new_err(format!("expected \"gzip\" or \"zstd\", got {kind:?}"))),
    }
}

/// One OTLP JSON document as the wire bytes of one `ExportTraceServiceRequest`.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn json_to_wire<'py>(py: Python<'py>, data: PyBuffer<u8>) -> PyResult<Bound<'py, PyBytes>> {
    let data = data.to_vec(py)?;
    let wire = py.detach(|| json::to_wire(&data)).map_err(|error| to_py_err(&error))?;
    Ok(PyBytes::new(py, &wire))
}

/// Is this JSON that breaks off: well-formed as far as it goes, but not to its end?
#[pyfunction]
#[pyo3(signature = (data, /))]
fn json_is_cut(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<bool> {
    let data = data.to_vec(py)?;
    Ok(py.detach(|| json::is_cut(&data)))
}

/// All of `data`, which must be complete, inflated to at most `limit` bytes.
#[pyfunction]
#[pyo3(signature = (kind, data, limit, /))]
fn inflate_all<'py>(
    py: Python<'py>,
    kind: &str,
    data: PyBuffer<u8>,
    limit: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let (kind, data) = (compression(kind)?, data.to_vec(py)?);
    let out = py.detach(|| inflate::inflate(kind, &data, limit)).map_err(|error| to_py_err(&error))?;
    Ok(PyBytes::new(py, &out))
}

/// Inflates a gzip or zstd stream that arrives in pieces, to at most `limit` bytes in all.
#[pyclass(module = "k8strace._core")]
struct Inflater {
    core: inflate::Inflater,
    waiting: Vec<u8>,
    /// Kept from feed to feed: memory of this size that comes and goes leaves holes in the heap.
    out: Vec<u8>,
}

#[pymethods]
impl Inflater {
    #[new]
    #[pyo3(signature = (kind, limit, /, window_bytes = 134_217_728))]
    fn new(kind: &str, limit: u64, window_bytes: u64) -> PyResult<Self> {
        let window_log = window_bytes.checked_ilog2().unwrap_or(0);
        let core = inflate::Inflater::with_window(compression(kind)?, limit, window_log)
            .map_err(|error| to_py_err(&error))?;
        Ok(Self { core, waiting: Vec::new(), out: Vec::new() })
    }

    /// The next piece of output, about 1 MiB at most. While `pending`, there is more: feed `b""` to get it.
    #[pyo3(signature = (chunk, /))]
    fn feed<'py>(&mut self, py: Python<'py>, chunk: PyBuffer<u8>) -> PyResult<Bound<'py, PyBytes>> {
        let Self { core, waiting, out } = self;
        let start = waiting.len();
        waiting.resize(start + chunk.item_count(), 0);
        chunk.copy_to_slice(py, &mut waiting[start..])?;
        out.clear();
        let fed: crate::error::Result<()> = py.detach(|| {
            let used = core.feed(waiting, out, FEED_BYTES)?;
            waiting.drain(..used);
            Ok(())
        });
        fed.map_err(|error| to_py_err(&error))?;
        Ok(PyBytes::new(py, out))
    }

    /// Is there output left that needs no more input?
    #[getter]
    fn pending(&self) -> bool {
        !self.waiting.is_empty() || self.core.is_pending()
    }

    /// True if the input ended where a member or frame ends, False if it was cut.
    fn finish(&self) -> bool {
        self.waiting.is_empty() && self.core.is_complete()
    }
}

/// Puts this room's functions and classes into the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(json_to_wire, module)?)?;
    module.add_function(wrap_pyfunction!(json_is_cut, module)?)?;
    module.add_function(wrap_pyfunction!(inflate_all, module)?)?;
    module.add_class::<Inflater>()
}
