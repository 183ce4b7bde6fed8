//! The interface to `json` and `inflate`.
//!
//! Input is any contiguous buffer of bytes. It is copied once: the GIL is released, and the owner may change it meanwhile.

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::errors::{copied, to_py_bytes, to_py_err};
use super::spans::{SpanColumns, stable};
use crate::decode::inflate::{self, Compression};
use crate::decode::json::{self, Found};
use crate::decode::runs;
use crate::decode::sound::{Bounds, Requests};
use crate::encode::json::to_json;
use crate::error::{DecodeError, ErrorKind};

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
fn json_to_wire(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<Bound<'_, PyBytes>> {
    let data = copied(py, &data)?;
    let wire = py.detach(|| json::to_wire(&data)).map_err(|error| to_py_err(&error))?;
    to_py_bytes(py, &wire)
}

/// One `ExportTraceServiceRequest` in wire bytes as a line of OTLP JSON.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn wire_to_json(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<Bound<'_, PyBytes>> {
    let data = copied(py, &data)?;
    let json = py.detach(|| to_json(&data)).map_err(|error| to_py_err(&error))?;
    to_py_bytes(py, &json)
}

/// Many messages at once, and what is none.
#[pyclass(module = "k8strace._core", frozen)]
struct Run {
    core: runs::Run,
    data: Py<PyBytes>,
}

/// Offset, size, line (0 if it is no text), error, first bytes.
type Damage<'py> = (u64, u64, u64, Bound<'py, PyAny>, Bound<'py, PyBytes>);

#[pymethods]
impl Run {
    fn __len__(&self) -> usize {
        self.core.messages.len()
    }

    /// What the messages' wire is part of.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// By message: where its wire begins and ends in `data`, offset, size, line (0 if it is no text), texts replaced.
    fn messages(&self) -> Vec<(usize, usize, u64, u32, u64, u32)> {
        let row =
            |m: &runs::Placed| (m.start, m.start + m.len as usize, m.offset, m.size, m.line, m.replaced);
        self.core.messages.iter().map(row).collect()
    }

    /// Of all messages: bytes of wire, sizes, texts replaced.
    fn sums(&self) -> (u64, u64, u64) {
        self.core.messages.iter().fold((0, 0, 0), |(wire, size, replaced), m| {
            (wire + u64::from(m.len), size + u64::from(m.size), replaced + u64::from(m.replaced))
        })
    }

    /// How many messages have times in µs.
    #[getter]
    fn micros(&self) -> u32 {
        self.core.micros
    }

    /// Offsets (u64) and sizes (u32) of the messages that are not empty, as the machine stores them.
    fn places(&self) -> (Vec<u8>, Vec<u8>) {
        let full = || self.core.messages.iter().filter(|m| m.len > 0);
        let offsets = full().flat_map(|m| m.offset.to_ne_bytes()).collect();
        (offsets, full().flat_map(|m| m.size.to_ne_bytes()).collect())
    }

    /// The first damages.
    fn damages<'py>(&self, py: Python<'py>) -> Vec<Damage<'py>> {
        self.core.damages.iter().filter_map(|piece| damage(py, piece)).collect()
    }

    /// What more there is: kind, how many, bytes.
    fn more(&self) -> Vec<(&'static str, u64, u64)> {
        let row =
            |(kind, (count, bytes)): (&u8, &(u64, u64))| (ErrorKind::NAMES[*kind as usize], *count, *bytes);
        self.core.more.iter().map(row).collect()
    }

    /// What the content ends within, if it does.
    #[getter]
    fn torn<'py>(&self, py: Python<'py>) -> Option<Damage<'py>> {
        self.core.torn.as_ref().and_then(|piece| damage(py, piece))
    }
}

fn damage<'py>(py: Python<'py>, piece: &json::Piece) -> Option<Damage<'py>> {
    let (Found::Bad(error) | Found::Torn(error)) = &piece.found else { return None };
    let error = to_py_err(error).into_value(py).into_bound(py).into_any();
    Some((piece.offset, piece.size, piece.line, error, PyBytes::new(py, &piece.sample)))
}

/// The whole frames of `data` from `at` on, up to what needs a closer look, and where they end.
#[pyfunction]
#[pyo3(signature = (data, at, base, limit, /))]
fn split_frames(py: Python<'_>, data: Py<PyBytes>, at: usize, base: u64, limit: usize) -> (Run, usize) {
    let bytes = data.as_bytes(py);
    let (core, end) = py.detach(|| runs::frames(bytes, at, base, limit));
    (Run { core, data }, end)
}

/// Takes a stream of JSON values apart.
#[pyclass(module = "k8strace._core")]
struct JsonReader {
    core: json::Reader,
    pending: bool,
}

#[pymethods]
impl JsonReader {
    #[new]
    #[pyo3(signature = (limit, /))]
    fn new(limit: usize) -> Self {
        Self { core: json::Reader::new(limit), pending: false }
    }

    /// The next messages. While `pending`, there are more: read `b""` to get them.
    #[pyo3(signature = (chunk, /, last=false))]
    fn read(&mut self, py: Python<'_>, chunk: PyBuffer<u8>, last: bool) -> PyResult<Run> {
        let chunk = copied(py, &chunk)?;
        let Self { core, pending } = self;
        let read = || {
            core.feed(&chunk)?;
            let (mut run, mut wires) = (runs::Run::default(), Vec::new());
            *pending = true;
            while *pending && !run.is_full() {
                match core.next(last)? {
                    Some(piece) => run.add(piece, &mut wires),
                    None => *pending = false,
                }
            }
            Ok((run, wires))
        };
        let read: crate::error::Result<(runs::Run, Vec<u8>)> = py.detach(read);
        let (core, wires) = read.map_err(|error| to_py_err(&error))?;
        Ok(Run { core, data: to_py_bytes(py, &wires)?.unbind() })
    }

    /// Are there pieces left that take no more input?
    #[getter]
    fn pending(&self) -> bool {
        self.pending
    }
}

/// Requests that are decoded together; what is not sound is left out.
#[pyclass(module = "k8strace._core")]
struct RequestBuffer {
    core: Requests,
}

/// Columns; by request that is not empty 0 or the number, from 1, in `KINDS`; the first errors and their requests; texts replaced by request.
type Decoded = (SpanColumns, Vec<u8>, Vec<(usize, Py<PyAny>)>, Vec<(usize, u32)>);

#[pymethods]
impl RequestBuffer {
    /// Names of what can be wrong with a request.
    #[classattr]
    const KINDS: [&'static str; ErrorKind::NAMES.len()] = ErrorKind::NAMES;

    #[new]
    #[pyo3(signature = (per_byte, free_bytes, threads, /))]
    fn new(per_byte: u64, free_bytes: u64, threads: usize) -> Self {
        Self { core: Requests::new(Bounds { per_byte, free_bytes }, threads) }
    }

    fn __len__(&self) -> usize {
        self.core.count()
    }

    /// Takes one request.
    #[pyo3(signature = (wire, /))]
    fn add(&mut self, py: Python<'_>, wire: &Bound<'_, PyAny>) -> PyResult<()> {
        let wire = stable(py, wire)?;
        let core = &mut self.core;
        py.detach(|| core.add(&wire)).map_err(|error| to_py_err(&error))
    }

    /// Takes each message of a run.
    fn add_run(&mut self, py: Python<'_>, run: PyRef<'_, Run>) {
        let full = |message: &&runs::Placed| message.len > 0;
        let messages = &run.core.messages;
        let requests: Vec<_> = messages.iter().filter(full).map(runs::Placed::range).collect();
        (requests.len()..messages.len()).for_each(|_| self.core.add_empty());
        let bytes = PyBackedBytes::from(run.data.bind(py).clone());
        let core = &mut self.core;
        py.detach(|| core.add_all(Box::new(bytes), requests));
    }

    /// Takes an empty request, which is only counted.
    fn add_empty(&mut self) {
        self.core.add_empty();
    }

    /// Decodes what is sound, and forgets all.
    fn decode(&mut self, py: Python<'_>) -> PyResult<Decoded> {
        let core = self.core.take();
        let sound = py.detach(|| core.decode()).map_err(|error| to_py_err(&error))?;
        let verdicts = sound.verdicts.into_iter().map(|kind| kind.map_or(0, |kind| kind as u8 + 1)).collect();
        let fault = |error: &DecodeError| to_py_err(error).into_value(py).into_any();
        let errors = sound.errors.iter().map(|(index, error)| (*index, fault(error))).collect();
        Ok((SpanColumns(Arc::new(sound.columns)), verdicts, errors, sound.replaced))
    }
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
    let (kind, data) = (compression(kind)?, copied(py, &data)?);
    let out = py.detach(|| inflate::inflate(kind, &data, limit)).map_err(|error| to_py_err(&error))?;
    to_py_bytes(py, &out)
}

/// Inflates a gzip or zstd stream that arrives in pieces, to at most `limit` bytes in all.
#[pyclass(module = "k8strace._core")]
struct Inflater {
    core: inflate::Inflater,
    waiting: Vec<u8>,
    /// Kept from feed to feed, at its full length.
    out: Vec<u8>,
    /// Corrupt data behind what was given last.
    fault: Option<Box<DecodeError>>,
}

#[pymethods]
impl Inflater {
    #[new]
    #[pyo3(signature = (kind, limit, /, window_bytes = 134_217_728))]
    fn new(kind: &str, limit: u64, window_bytes: u64) -> PyResult<Self> {
        let window_log = window_bytes.checked_ilog2().unwrap_or(0);
        let core = inflate::Inflater::with_window(compression(kind)?, limit, window_log)
            .map_err(|error| to_py_err(&error))?;
        Ok(Self { core, waiting: Vec::new(), out: Vec::new(), fault: None })
    }

    /// The next piece of output, about 1 MiB at most. While `pending`, there is more: feed `b""` to get it.
    #[pyo3(signature = (chunk, /))]
    fn feed<'py>(&mut self, py: Python<'py>, chunk: PyBuffer<u8>) -> PyResult<Bound<'py, PyBytes>> {
        if let Some(error) = self.fault.take() {
            return Err(to_py_err(&error));
        }
        let Self { core, waiting, out, fault } = self;
        let start = waiting.len();
        waiting
            .try_reserve(chunk.item_count())
            .map_err(|_| PyMemoryError::new_err("expected memory for a chunk, got none"))?;
        waiting.resize(start + chunk.item_count(), 0);
        chunk.copy_to_slice(py, &mut waiting[start..])?;
        let mut made = 0;
        let fed: crate::error::Result<()> = py.detach(|| {
            let used = core.feed_over(waiting, out, &mut made, FEED_BYTES)?;
            waiting.drain(..used);
            Ok(())
        });
        match fed {
            Err(error) if error.kind == ErrorKind::Compression && made > 0 => *fault = Some(error),
            fed => fed.map_err(|error| to_py_err(&error))?,
        }
        to_py_bytes(py, &out[..made])
    }

    /// Is there output left that needs no more input?
    #[getter]
    fn pending(&self) -> bool {
        self.fault.is_some() || !self.waiting.is_empty() || self.core.is_pending()
    }

    /// Where zeros begin behind the last member or frame; None if there are none.
    #[getter]
    fn zeros_at(&self) -> Option<u64> {
        self.core.zeros_at()
    }

    /// True if the input ended where a member or frame ends, False if it was cut.
    fn finish(&self) -> bool {
        self.waiting.is_empty() && self.core.is_complete()
    }
}

/// Puts this room's functions and classes into the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(json_to_wire, module)?)?;
    module.add_function(wrap_pyfunction!(wire_to_json, module)?)?;
    module.add_class::<Run>()?;
    module.add_function(wrap_pyfunction!(split_frames, module)?)?;
    module.add_class::<JsonReader>()?;
    module.add_class::<RequestBuffer>()?;
    module.add_function(wrap_pyfunction!(inflate_all, module)?)?;
    module.add_class::<Inflater>()
}
