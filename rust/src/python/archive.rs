//! Joins of parts of a whole, as Python sees what they must know.

use std::sync::Arc;

use arrow_array::ArrayRef;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::{arrow_err, room};
use super::joined::JoinedSpans;
use super::spans::SpanColumns;
use super::table::Table;
use crate::archive::couplings::{self, Meeting, Process, TraceId};
use crate::archive::{evidence, split};
use crate::arrow;
use crate::join::apiservers::Apiservers;
use crate::join::clock::Known;
use crate::join::{Context, join_part};

/// Clock evidence from calls.
#[pyclass(frozen, module = "k8strace._core")]
#[derive(Clone)]
pub struct ClockEvidence(pub evidence::ClockEvidence);

#[pymethods]
impl ClockEvidence {
    /// None, or what `to_json` wrote.
    #[new]
    #[pyo3(signature = (json=None))]
    fn new(json: Option<&str>) -> PyResult<Self> {
        let Some(json) = json else { return Ok(Self(evidence::ClockEvidence::default())) };
        let read = evidence::ClockEvidence::from_json(json);
        read.map(Self).ok_or_else(|| PyValueError::new_err("expected clock evidence as JSON"))
    }

    fn to_json(&self) -> String {
        self.0.to_json()
    }

    fn merged(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.0.merge(&other.0);
        sum
    }

    /// Calls; SERVER spans whose caller is missing.
    fn counts(&self) -> (u64, u64) {
        (self.0.calls(), self.0.waiting)
    }
}

/// The clock evidence of these spans, given that of everything.
#[pyfunction]
fn clock_evidence(
    py: Python<'_>,
    spans: &SpanColumns,
    apiserver: Vec<String>,
    clock: Option<&ClockEvidence>,
) -> PyResult<ClockEvidence> {
    room(spans.0.len(), "joined spans")?;
    Ok(py.detach(|| ClockEvidence(evidence::ClockEvidence::of(&joined(spans, apiserver, clock)))))
}

/// The clock evidence of joined spans.
#[pyfunction]
fn clock_evidence_of(py: Python<'_>, joined: &JoinedSpans) -> ClockEvidence {
    py.detach(|| ClockEvidence(evidence::ClockEvidence::of(joined.inner())))
}

/// Joins spans that are a part of all: whole groups of traces.
#[pyfunction]
fn join_part_of(
    py: Python<'_>,
    spans: &SpanColumns,
    apiserver: Vec<String>,
    clock: &ClockEvidence,
) -> PyResult<JoinedSpans> {
    room(spans.0.len(), "joined spans")?;
    Ok(py.detach(|| JoinedSpans::new(joined(spans, apiserver, Some(clock)))))
}

fn joined(spans: &SpanColumns, apiserver: Vec<String>, clock: Option<&ClockEvidence>) -> crate::Joined {
    let columns = Arc::clone(&spans.0);
    let Some(ClockEvidence(clock)) = clock else {
        return crate::join::join_of(columns, Apiservers::named(apiserver), 1);
    };
    let whole = clock.whole();
    let clocks = Known {
        keys: Some(&whole.keys),
        calls: Some(&whole.calls),
        adopted: Some(&whole.adopted),
        whole: true,
    };
    join_part(columns, Context { clocks, apiservers: clock.apiservers(apiserver), ..Context::default() })
}

/// What couples traces.
#[pyclass(frozen, module = "k8strace._core")]
#[derive(Clone)]
pub struct Couplings(couplings::Couplings);

/// The same, as it is read.
type MeetingsRead = (Process, Vec<i64>, Vec<bool>, Vec<u8>);
/// Process, then instants, whether each is of a filter, and traces, behind one another.
type Meetings<'py> = (Process, Vec<i64>, Vec<bool>, Bound<'py, PyBytes>);

#[pymethods]
impl Couplings {
    /// Of what `parts` gave.
    #[new]
    fn new(links: &[u8], meetings: Vec<MeetingsRead>) -> PyResult<Self> {
        let mut read = couplings::Couplings::default();
        let ids = |bytes: &[u8]| bytes.as_chunks::<16>().0.to_vec();
        read.links = ids(links).chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        for (process, at, is_filter, traces) in meetings {
            let traces: Vec<TraceId> = ids(&traces);
            if at.len() != traces.len() || at.len() != is_filter.len() {
                return Err(PyValueError::new_err("as many traces as instants"));
            }
            let rows = at.into_iter().zip(is_filter).zip(traces);
            let meeting = |((at, is_filter), trace)| Meeting { at, is_filter, trace };
            read.meetings.entry(process).or_default().extend(rows.map(meeting));
        }
        let mut sum = couplings::Couplings::default();
        sum.merge(&read);
        Ok(Self(sum))
    }

    /// All of it, to be pickled.
    fn parts<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>, Vec<Meetings<'py>>) {
        let links: Vec<u8> = self.0.links.iter().flat_map(|&(a, b)| [a, b]).flatten().collect();
        let meetings = self.0.meetings.iter().map(|(process, meetings)| {
            let traces: Vec<u8> = meetings.iter().flat_map(|meeting| meeting.trace).collect();
            let at = meetings.iter().map(|meeting| meeting.at).collect();
            let is_filter = meetings.iter().map(|meeting| meeting.is_filter).collect();
            (process.clone(), at, is_filter, PyBytes::new(py, &traces))
        });
        (PyBytes::new(py, &links), meetings.collect())
    }

    #[staticmethod]
    fn merged(parts: Vec<PyRef<'_, Couplings>>) -> Self {
        let mut sum = couplings::Couplings::default();
        for part in &parts {
            sum.merge(&part.0);
        }
        Self(sum)
    }

    /// Links; places where halves can meet.
    fn counts(&self) -> (usize, usize) {
        (self.0.links.len(), self.0.meetings.values().map(Vec::len).sum())
    }

    /// Trace and group, for traces that are coupled with others.
    fn groups(&self, py: Python<'_>) -> PyResult<Table> {
        let groups = py.detach(|| self.0.groups());
        let ids = |id: fn(&(TraceId, TraceId)) -> &TraceId| -> ArrayRef {
            arrow::hex_column(groups.iter().map(|pair| Some(&id(pair)[..])))
        };
        let columns = vec![("trace_id", ids(|pair| &pair.0)), ("group", ids(|pair| &pair.1))];
        arrow::named(columns).map(Table::from).map_err(arrow_err)
    }

    /// How many couplings go from one of these parts to another.
    #[staticmethod]
    fn crossings(parts: Vec<PyRef<'_, Couplings>>) -> u64 {
        let parts: Vec<&couplings::Couplings> = parts.iter().map(|part| &part.0).collect();
        couplings::Couplings::crossings(&parts)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// What couples the traces of these spans; with `whole`, also which targets of its links are here.
#[pyfunction]
fn couplings_of(py: Python<'_>, spans: &SpanColumns, whole: Option<&Couplings>) -> Couplings {
    py.detach(|| Couplings(couplings::Couplings::new(&spans.0, whole.map(|whole| &whole.0))))
}

/// One OTLP message for each trace.
#[pyfunction]
fn split_by_trace(py: Python<'_>, spans: &SpanColumns) -> PyResult<Table> {
    py.detach(|| split::by_trace(&spans.0)).map(Table::from).map_err(arrow_err)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ClockEvidence>()?;
    module.add_class::<Couplings>()?;
    module.add_function(wrap_pyfunction!(clock_evidence, module)?)?;
    module.add_function(wrap_pyfunction!(clock_evidence_of, module)?)?;
    module.add_function(wrap_pyfunction!(join_part_of, module)?)?;
    module.add_function(wrap_pyfunction!(couplings_of, module)?)?;
    module.add_function(wrap_pyfunction!(split_by_trace, module)?)
}
