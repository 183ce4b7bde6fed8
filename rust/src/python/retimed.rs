//! Projected requests, as Python sees them.

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use super::errors::arrow_err;
use super::groups::GroupedRows;
use super::table::Table;
use crate::retime::Retimed;
use crate::retime::edits::{CallEdit, Edits, Factor, Op};
use crate::retime::summary::{Figures, Quantile, figures};
use crate::retime::table;

/// What happens to calls (`takes`, `at_most`, `plus`, `once`, `gone`), two times in ns, request → whether there, and
/// number of a named call → how its calls vary.
type CallRow = (String, i64, i64, Option<Vec<bool>>, Vec<(i64, i64)>);
/// The members of [`Edits`], in their order.
pub type EditsRow = (i64, Vec<u16>, Vec<Vec<(i64, i64)>>, Vec<Vec<u32>>, Vec<u32>, Vec<CallRow>, Vec<u16>);
/// The members of [`Quantile`].
type QuantileRow = (u64, u64, u64);
/// The members of [`Figures`].
type FiguresRow = (u64, u128, [QuantileRow; 2], u64, u64, Vec<(u64, u128)>);

/// The edits that a row of Python's means.
pub fn edits_of((unit, set, factors, part_of, whole, calls, together): EditsRow) -> PyResult<Edits> {
    let factor = |(all, last)| Factor { all, last };
    let rows = factors.into_iter().map(|row| row.into_iter().map(factor).collect());
    let call = |(op, ns, unseen, chosen, varies): CallRow| {
        let op = match op.as_str() {
            "takes" => Op::Takes { ns, unseen },
            "at_most" => Op::AtMost(ns),
            "plus" => Op::Plus(ns),
            "once" => Op::Once,
            "gone" => Op::Gone,
            _ => return Err(PyValueError::new_err(format!("no change {op:?}"))),
        };
        Ok(CallEdit { op, chosen: chosen.unwrap_or_default(), varies })
    };
    let calls = calls.into_iter().map(call).collect::<PyResult<_>>()?;
    Ok(Edits { unit, set, factors: rows.collect(), part_of, whole, calls, together })
}

/// How long requests took, and how long they take now.
#[pyclass(frozen, module = "k8strace._core")]
pub struct RetimedRequests(pub Retimed);

#[pymethods]
impl RetimedRequests {
    fn __len__(&self) -> usize {
        self.0.before.len()
    }

    /// Of every request, ns: "before", "all" or "last"; 0 for those that were not chosen.
    fn ns(&self, of: &str) -> PyResult<Vec<u64>> {
        self.of(of).cloned()
    }

    /// How long calls took that are set to another time: the change's place, the number of the named call, 5th and 95th
    /// percentile in ns.
    fn took(&self) -> Vec<(u32, u32, i64, i64)> {
        self.0.took.iter().map(|took| (took.edit, took.class, took.p5, took.p95)).collect()
    }

    /// Of a group, before and in both readings: count, sum, median and 99th percentile with what another recording's may
    /// be, least and most, and count and sum of each block.
    fn figures(
        &self,
        py: Python<'_>,
        blocks: &[u8],
        count: u8,
        grouped: &GroupedRows,
        group: usize,
        spread: f64,
    ) -> PyResult<[FiguresRow; 3]> {
        let (known, group) = (self.0.before.len(), grouped.groups.rows_of(group));
        if blocks.len() != known
            || blocks.iter().any(|&block| block >= count)
            || group.iter().any(|&request| request as usize >= known)
        {
            return Err(PyIndexError::new_err("expected a block for each request, and known requests"));
        }
        let ends = |of: Quantile| (of.value, of.low, of.high);
        let row = |f: Figures| (f.count, f.sum, f.quantiles.map(ends), f.least, f.most, f.blocks);
        let rows = |values: &Vec<u64>| row(figures(values, blocks, count, group, spread));
        Ok(py.detach(|| [&self.0.before, &self.0.all, &self.0.last].map(rows)))
    }
}

impl RetimedRequests {
    fn of(&self, of: &str) -> PyResult<&Vec<u64>> {
        match of {
            "before" => Ok(&self.0.before),
            "all" => Ok(&self.0.all),
            "last" => Ok(&self.0.last),
            _ => Err(PyValueError::new_err(format!("no time {of:?}"))),
        }
    }
}

/// These requests, with columns of their table, and how long they take before, after, at least and at most: `after` is
/// the first of the readings, the others are what else it may be.
#[pyfunction]
pub fn retimed_table(
    py: Python<'_>,
    runs: Vec<PyRef<'_, RetimedRequests>>,
    requests: &Table,
    rows: Option<Vec<usize>>,
    identity: Vec<String>,
) -> PyResult<Table> {
    let known = runs.iter().map(|run| run.0.before.len()).min().unwrap_or(0).min(requests.0.num_rows());
    let rows = rows.unwrap_or_else(|| (0..requests.0.num_rows()).collect());
    if let Some(row) = rows.iter().find(|&&row| row >= known) {
        return Err(PyIndexError::new_err(format!("row {row} of {known}")));
    }
    let runs: Vec<&Retimed> = runs.iter().map(|run| &run.0).collect();
    py.detach(|| table::table(&runs, (&requests.0, &identity), &rows)).map(Table::from).map_err(arrow_err)
}

/// Adds the class.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(retimed_table, module)?)?;
    module.add_class::<RetimedRequests>()
}
