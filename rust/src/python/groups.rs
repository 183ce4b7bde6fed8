//! Rows in groups, as Python sees them.

use std::ops::Range;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::errors::arrow_err;
use super::exponential::Exponential;
use super::joined::AttributedRequests;
use super::table::{Column, Table};
use crate::tables::groups::{self, Groups};
use crate::tables::parts;

/// Which rows of a column have equal values.
#[pyclass(frozen, module = "k8strace._core")]
pub struct Codes(groups::Codes);

#[pymethods]
impl Codes {
    /// A number for each row.
    #[new]
    fn new(codes: Vec<u32>) -> Self {
        Self(codes)
    }

    /// Of a column's values.
    #[staticmethod]
    fn of(column: &Column) -> PyResult<Self> {
        let kind = || PyTypeError::new_err(format!("no key: {}", column.0.data_type()));
        groups::codes(&column.0).map(Self).ok_or_else(kind)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// Rows in groups, each group's by wall time.
#[pyclass(frozen, module = "k8strace._core")]
pub struct GroupedRows {
    groups: Groups,
    wall: Column,
}

/// Sum of wall times; phase and ns, of those that took time; hundreds of the status, how many, sum of wall times.
type Summed<'py> = (Whole<'py>, Vec<(usize, Whole<'py>)>, Vec<(i64, u64, Whole<'py>)>);

/// Durations of the component with that number; none for the wall time.
type Durations = Vec<(Option<u32>, Exponential)>;

type Whole<'py> = Bound<'py, PyAny>;

/// Of 128 bits, but nearly never: those of 64 are made much faster.
fn whole(py: Python<'_>, number: u128) -> PyResult<Whole<'_>> {
    match u64::try_from(number) {
        Ok(number) => number.into_bound_py_any(py),
        Err(_) => number.into_bound_py_any(py),
    }
}

#[pymethods]
impl GroupedRows {
    /// Groups rows by keys, each with as many codes as there are wall times.
    #[new]
    fn new(rows: Vec<usize>, keys: Vec<PyRef<'_, Codes>>, wall: &Column) -> PyResult<Self> {
        let numbers = wall.0.as_primitive_opt::<Int64Type>();
        let values = numbers.ok_or_else(|| PyTypeError::new_err("wall times are integers"))?.values();
        let n = values.len();
        if keys.iter().any(|key| key.0.len() != n) || rows.iter().any(|&row| row >= n) {
            return Err(PyIndexError::new_err(format!("a code for each of {n} rows")));
        }
        let keys: Vec<&[u32]> = keys.iter().map(|key| &key.0[..]).collect();
        Ok(Self { groups: groups::group(&rows, &keys, values), wall: Column(wall.0.clone()) })
    }

    fn __len__(&self) -> usize {
        self.groups.end.len()
    }

    /// Group → where its rows end.
    #[getter]
    fn ends(&self) -> Vec<u32> {
        self.groups.end.clone()
    }

    /// Group → the first of its rows.
    #[getter]
    fn first(&self) -> Vec<u32> {
        self.groups.first.clone()
    }

    /// The row at a place.
    fn row(&self, place: usize) -> PyResult<u32> {
        self.groups.rows.get(place).copied().ok_or_else(|| PyIndexError::new_err(place))
    }

    /// What the rows between places sum up to. `status`: HTTP status of every row.
    fn sums<'py>(
        &self,
        py: Python<'py>,
        attributed: &AttributedRequests,
        places: Vec<(usize, usize)>,
        status: Option<&Column>,
        phases: usize,
    ) -> PyResult<Vec<Summed<'py>>> {
        let n = self.groups.rows.len();
        if places.iter().any(|&(start, end)| start > end || end > n) {
            return Err(PyIndexError::new_err(format!("places in {n} rows")));
        }
        let wall = self.wall.0.as_primitive::<Int64Type>().values();
        let status = status.and_then(|status| status.0.as_primitive_opt::<Int64Type>());
        if status.is_some_and(|status| status.len() != wall.len()) || attributed.0.wall_ns.len() < wall.len()
        {
            return Err(PyValueError::new_err("one status and one division for each row"));
        }
        let ranges: Vec<Range<usize>> = places.into_iter().map(|(start, end)| start..end).collect();
        let sums = py.detach(|| groups::sums(&attributed.0, &self.groups, &ranges, (wall, status), phases));
        let row = |sum: groups::Sum| {
            let phases = sum.phases.into_iter().enumerate().filter(|&(_, ns)| ns > 0);
            let phases = phases.map(|(phase, ns)| Ok((phase, whole(py, ns)?)));
            let errors = sum.errors.into_iter().map(|(class, (many, ns))| Ok((class, many, whole(py, ns)?)));
            Ok((whole(py, sum.wall_ns)?, phases.collect::<PyResult<_>>()?, errors.collect::<PyResult<_>>()?))
        };
        sums.into_iter().map(row).collect()
    }

    /// Group → its wall times, and those of each component where it took time. `component`: phase → its number.
    fn durations(
        &self,
        py: Python<'_>,
        attributed: &AttributedRequests,
        component: Vec<u32>,
        empty: &Exponential,
    ) -> PyResult<Vec<Durations>> {
        let wall = self.wall.0.as_primitive::<Int64Type>().values();
        if attributed.0.wall_ns.len() < wall.len() {
            return Err(PyValueError::new_err("one division for each row"));
        }
        let found = py.detach(|| groups::durations(&attributed.0, &self.groups, wall, &component, &empty.0));
        let named = |group: groups::Durations| {
            group.into_iter().map(|(component, durations)| (component, Exponential(durations))).collect()
        };
        Ok(found.into_iter().map(named).collect())
    }
}

/// The parts of these rows of a table, or of all, one row for each part, with columns of the table.
/// `names`: component and name of every phase.
#[pyfunction]
pub fn parts_table(
    py: Python<'_>,
    attributed: &AttributedRequests,
    roots: &Table,
    rows: Option<Vec<usize>>,
    index: &str,
    identity: Vec<String>,
    names: Vec<(String, String)>,
) -> PyResult<Table> {
    let n = roots.0.num_rows();
    let rows = rows.unwrap_or_else(|| (0..n).collect());
    let unnamed = attributed.0.phase.iter().any(|&phase| usize::from(phase) >= names.len());
    if rows.iter().any(|&row| row >= n) || attributed.0.wall_ns.len() < n || unnamed {
        return Err(PyIndexError::new_err("known rows, and a name for each phase"));
    }
    let (components, phases): (Vec<String>, Vec<String>) = names.into_iter().unzip();
    let names = parts::Names { index, components: &components, phases: &phases };
    py.detach(|| parts::table(&attributed.0, (&roots.0, &identity), &rows, &names))
        .map(Table::from)
        .map_err(arrow_err)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Codes>()?;
    module.add_class::<GroupedRows>()?;
    module.add_function(wrap_pyfunction!(parts_table, module)?)
}
