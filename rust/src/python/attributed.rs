//! Requests whose time was divided: what Python asks of them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::errors::{numbers, room};
use crate::attribute::{Attributed, Phase};
use crate::columns::run;
use crate::decode::write::push_varint;

/// Parts of the wall time of every request.
#[pyclass(frozen, module = "k8strace._core")]
pub struct AttributedRequests(pub Attributed);

impl AttributedRequests {
    /// Parts of one request.
    fn run(&self, request: usize) -> impl Iterator<Item = (Phase, u64)> {
        let rows = run(&self.0.end, request);
        self.0.phase[rows.clone()].iter().copied().zip(self.0.ns[rows].iter().copied())
    }
}

#[pymethods]
impl AttributedRequests {
    fn __len__(&self) -> usize {
        self.0.wall_ns.len()
    }

    /// (phase number, ns) of one request.
    fn parts(&self, request: usize) -> Vec<(Phase, u64)> {
        self.run(request).collect()
    }

    /// ns by group of phases, of each request: a dictionary of the groups that it has, by their names.
    fn grouped<'py>(
        &self,
        py: Python<'py>,
        requests: Vec<usize>,
        group: Vec<usize>,
        names: Vec<Bound<'py, PyString>>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        if group.iter().any(|&group| group >= names.len()) {
            return Err(PyValueError::new_err("known groups"));
        }
        let mut sums: Vec<(usize, u64)> = Vec::new();
        let mut of = |request: usize| {
            sums.clear();
            for (phase, ns) in self.run(request) {
                let &group =
                    group.get(usize::from(phase)).ok_or_else(|| PyValueError::new_err("known phases"))?;
                match sums.iter_mut().find(|sum| sum.0 == group) {
                    Some(sum) => sum.1 += ns,
                    None => sums.push((group, ns)),
                }
            }
            let found = PyDict::new(py);
            sums.iter().try_for_each(|&(group, ns)| found.set_item(&names[group], ns))?;
            Ok(found)
        };
        requests.into_iter().map(&mut of).collect()
    }

    /// Parts of these requests as varints: one more than each has, or 0 where they are those of `than`; and of the
    /// others their phases, by other numbers, and ns.
    #[pyo3(signature = (requests, numbers, than = None))]
    fn packed<'py>(
        &self,
        py: Python<'py>,
        requests: Vec<usize>,
        numbers: Vec<u64>,
        than: Option<&Self>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let (mut counts, mut phases, mut ns) = (Vec::new(), Vec::new(), Vec::new());
        for request in requests {
            if than.is_some_and(|than| than.run(request).eq(self.run(request))) {
                counts.push(0);
                continue;
            }
            push_varint(&mut counts, 1 + self.run(request).count() as u64);
            for (phase, each) in self.run(request) {
                let phase = numbers.get(usize::from(phase));
                push_varint(&mut phases, *phase.ok_or_else(|| PyValueError::new_err("known phases"))?);
                push_varint(&mut ns, each);
            }
        }
        Ok((PyBytes::new(py, &counts), PyBytes::new(py, &phases), PyBytes::new(py, &ns)))
    }

    /// ns by group of phases, per request: `requests × groups` numbers of 8 bytes, as the machine stores them.
    fn matrix<'py>(
        &self,
        py: Python<'py>,
        requests: Vec<usize>,
        group: Vec<usize>,
        groups: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if group.iter().any(|&group| group >= groups) {
            return Err(PyValueError::new_err("known groups"));
        }
        room(requests.len().saturating_mul(groups), "parts of requests")?;
        let mut ns = vec![0; requests.len() * groups];
        for (request, ns) in requests.into_iter().zip(ns.chunks_mut(groups.max(1))) {
            for row in run(&self.0.end, request) {
                if let Some(&group) = group.get(usize::from(self.0.phase[row])) {
                    ns[group] += self.0.ns[row].cast_signed();
                }
            }
        }
        Ok(numbers(py, &ns))
    }

    /// Those of these requests that one phase took at least that many ns of, and how much.
    #[pyo3(signature = (phase, requests, least=1))]
    fn spent(&self, phase: Phase, requests: Vec<usize>, least: u64) -> (Vec<usize>, Vec<u64>) {
        let of = |request: usize| {
            let mut parts = run(&self.0.end, request);
            parts
                .find(|&at| self.0.phase[at] == phase)
                .map(|at| (request, self.0.ns[at]))
                .filter(|part| part.1 >= least)
        };
        requests.into_iter().filter_map(of).unzip()
    }

    /// ns of one phase in every request.
    fn column(&self, phase: Phase) -> Vec<u64> {
        let of = |request: usize| {
            let mut parts = run(&self.0.end, request);
            parts.find(|&at| self.0.phase[at] == phase).map_or(0, |at| self.0.ns[at])
        };
        (0..self.0.wall_ns.len()).map(of).collect()
    }

    /// Sums per phase number over these requests.
    fn totals(&self, requests: Vec<usize>, phases: usize) -> Vec<u64> {
        let mut totals = vec![0; phases];
        for row in requests.into_iter().flat_map(|request| run(&self.0.end, request)) {
            if let Some(total) = totals.get_mut(usize::from(self.0.phase[row])) {
                *total += self.0.ns[row];
            }
        }
        totals
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<AttributedRequests>()
}
