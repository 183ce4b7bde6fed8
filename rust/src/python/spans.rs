//! Decoded spans, as Python sees them.

use std::borrow::Cow;
use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::{arrow_err, to_py_bytes, to_py_err};
use super::table::{Column, Table};
use crate::arrow::{self, Builder};
use crate::columns::processes::Processes;
use crate::columns::{Columns, IdField};
use crate::decode::write::Out;
use crate::encode::{self, jaeger};
use crate::numbers::u32_of;

/// A process: service name, instance id, attributes of the first resource that it sent.
type Process = (String, Option<String>, Vec<(String, Option<String>)>);

/// What is told of a span: (request, component, phase, critical ns, repairs).
type Told = (Option<u32>, Option<String>, Option<String>, u64, Vec<String>);

/// Rows of some spans, and what is told of each.
type JaegerPart<'py> = (PyRef<'py, SpanColumns>, Vec<(usize, Told)>);

/// Decoded spans.
#[pyclass(frozen, module = "k8strace._core")]
pub struct SpanColumns(pub Arc<Columns>);

#[pymethods]
impl SpanColumns {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Counts by name: batches, spans, events, links, resources and so on.
    fn counts(&self) -> Vec<(&'static str, usize)> {
        let c = &self.0;
        vec![
            ("batches", c.batches as usize),
            ("spans", c.len()),
            ("attributes", c.span_attributes.key.len()),
            ("events", c.events.name.len()),
            ("links", c.links.flags.len()),
            ("scope_spans", c.scopes.name.len()),
            ("resource_spans", c.resources.batch.len()),
            ("odd_ids", c.spans.odd_ids.len()),
        ]
    }

    /// Bytes held: (columns, texts).
    #[getter]
    fn nbytes(&self) -> (usize, usize) {
        self.0.nbytes()
    }

    /// Ids of a wrong length: (field, its length, the right one, how many).
    fn odd_lengths(&self) -> Vec<(&'static str, usize, usize, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for odd in &self.0.spans.odd_ids {
            let (field, due) = match odd.field {
                IdField::Trace => ("trace id", 16),
                IdField::Span => ("span id", 8),
                IdField::Parent => ("parent span id", 8),
            };
            *counts.entry((field, odd.value.len(), due)).or_default() += 1;
        }
        counts.into_iter().take(8).map(|((field, len, due), count)| (field, len, due, count)).collect()
    }

    /// The earliest and the latest start; zeros if there is no span.
    fn start_times(&self) -> (u64, u64) {
        let times = &self.0.spans.start_time_unix_nano;
        (times.iter().copied().min().unwrap_or(0), times.iter().copied().max().unwrap_or(0))
    }

    /// The median of the ends that are told; None if none is.
    fn median_end(&self) -> Option<u64> {
        let mut ends: Vec<u64> =
            self.0.spans.end_time_unix_nano.iter().copied().filter(|&end| end > 0).collect();
        let middle = ends.len() / 2;
        (!ends.is_empty()).then(|| *ends.select_nth_unstable(middle).1)
    }

    /// Names of the columns of one table.
    #[staticmethod]
    fn column_names(table: &str) -> PyResult<Vec<&'static str>> {
        Ok(builders(table)?.iter().map(|(name, _)| *name).collect())
    }

    /// One of the tables `spans`, `scopes`, `resources`, `odd_ids`.
    fn table(&self, py: Python<'_>, table: &str) -> PyResult<Table> {
        let builders = builders(table)?;
        py.detach(|| arrow::table(&self.0, builders)).map(Table::from).map_err(arrow_err)
    }

    /// One column of the span table.
    fn column(&self, py: Python<'_>, name: &str) -> PyResult<Column> {
        let builder = arrow::SPANS.iter().find(|(known, _)| *known == name);
        let (_, build) = builder.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        py.detach(|| build(&self.0)).map(Column::from).map_err(arrow_err)
    }

    /// The values of one attribute key.
    fn attribute(&self, py: Python<'_>, key: &str) -> PyResult<Column> {
        py.detach(|| arrow::attribute_column(&self.0, key)).map(Column::from).map_err(arrow_err)
    }

    /// The `Span` messages of these rows, as wire bytes.
    fn span_wires<'py>(&self, py: Python<'py>, rows: Vec<usize>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.wires(py, &rows, self.0.len(), encode::span)
    }

    /// The `ScopeSpans` messages of these rows of "scopes", as wire bytes, without their spans.
    fn scope_wires<'py>(&self, py: Python<'py>, rows: Vec<usize>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.wires(py, &rows, self.0.scopes.name.len(), encode::scope)
    }

    /// The `ResourceSpans` messages of these rows of "resources", as wire bytes, without their scopes.
    fn resource_wires<'py>(&self, py: Python<'py>, rows: Vec<usize>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.wires(py, &rows, self.0.resources.batch.len(), encode::resource)
    }

    /// The requests as they came, as wire bytes; `ValueError` if the spans are not in the order of arrival.
    fn batch_wires<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let c = &self.0;
        let owners = [&c.resources.batch, &c.scopes.resource_spans, &c.spans.scope_spans];
        if !owners.iter().all(|owners| owners.is_sorted()) {
            return Err(PyValueError::new_err("expected spans in the order of their batches"));
        }
        let batches: Vec<usize> = (0..c.batches as usize).collect();
        self.wires(py, &batches, batches.len(), |c, batch, out| encode::batch(c, u32_of(batch), out))
    }

    /// Distinct processes: (service name, instance id or None, attributes of the resource).
    fn processes(&self) -> Vec<Process> {
        processes(&self.0)
    }
}

impl SpanColumns {
    fn wires<'py>(
        &self,
        py: Python<'py>,
        rows: &[usize],
        len: usize,
        encode: fn(&Columns, usize, &mut Out),
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let mut out = Out::default();
        let mut wire = |&row: &usize| {
            if row >= len {
                return Err(PyIndexError::new_err(format!("expected a row below {len}, got {row}")));
            }
            out.0.clear();
            encode(&self.0, row, &mut out);
            Ok(PyBytes::new(py, &out.0))
        };
        rows.iter().map(&mut wire).collect()
    }
}

fn builders(table: &str) -> PyResult<&'static [Builder]> {
    match table {
        "spans" => Ok(arrow::SPANS),
        "scopes" => Ok(arrow::SCOPES),
        "resources" => Ok(arrow::RESOURCES),
        "odd_ids" => Ok(arrow::ODD_IDS),
        _ => Err(PyKeyError::new_err(table.to_owned())),
    }
}

/// Decodes the requests in these buffers, one request a buffer, into one set of columns.
#[pyfunction]
fn decode(py: Python<'_>, buffers: Vec<Bound<'_, PyAny>>) -> PyResult<SpanColumns> {
    let requests: Vec<_> = buffers.iter().map(|buffer| stable(py, buffer)).collect::<PyResult<_>>()?;
    let columns = py.detach(|| crate::decode::otlp::decode(&requests)).map_err(|error| to_py_err(&error))?;
    Ok(SpanColumns(Arc::new(columns)))
}

/// One trace in Jaeger's own JSON: rows of these spans, what is told of each, and warnings about all.
#[pyfunction]
fn jaeger_trace<'py>(
    py: Python<'py>,
    trace_id: &str,
    parts: Vec<JaegerPart<'py>>,
    warnings: Vec<String>,
) -> PyResult<Bound<'py, PyBytes>> {
    let told =
        |(_, component, phase, critical_ns, repairs)| jaeger::Told { component, phase, critical_ns, repairs };
    let mut shared = Vec::with_capacity(parts.len());
    for (spans, rows) in parts {
        let (c, len) = (spans.0.clone(), spans.0.len());
        if let Some((row, _)) = rows.iter().find(|(row, _)| *row >= len) {
            return Err(PyIndexError::new_err(format!("expected a row below {len}, got {row}")));
        }
        shared.push((c, rows.into_iter().map(|(row, known)| (row, told(known))).collect::<Vec<_>>()));
    }
    let json = py.detach(|| {
        let parts: Vec<_> = shared.iter().map(|(c, rows)| (c.as_ref(), rows.as_slice())).collect();
        jaeger::trace(trace_id, &parts, &warnings)
    });
    to_py_bytes(py, &json)
}

/// Bytes that nobody changes while the GIL is released: those of a bytearray are copied.
pub fn stable<'a>(py: Python<'_>, buffer: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    match buffer.cast::<PyBytes>() {
        Ok(bytes) => Ok(Cow::Borrowed(bytes.as_bytes())),
        Err(_) => PyBuffer::<u8>::get(buffer)?.to_vec(py).map(Cow::Owned),
    }
}

/// All processes.
fn processes(c: &Columns) -> Vec<Process> {
    let processes = Processes::new(c);
    let attributes = |resource: usize| arrow::texts(c, &c.resource_attributes, resource);
    let mut first = vec![None; processes.names.len()];
    for resource in (0..c.resources.batch.len()).rev() {
        first[processes.of_resource(resource) as usize] = Some(resource);
    }
    let described = processes.names.iter().zip(first);
    described
        .map(|((service, instance), first)| {
            (service.clone(), instance.clone(), first.map(attributes).unwrap_or_default())
        })
        .collect()
}

/// Adds what this file has to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SpanColumns>()?;
    module.add_function(wrap_pyfunction!(decode, module)?)?;
    module.add_function(wrap_pyfunction!(jaeger_trace, module)?)
}
