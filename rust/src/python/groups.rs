//! Rows in groups, as Python sees them.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::attributed::AttributedRequests;
use super::errors::arrow_err;
use super::exponential::Exponential;
use super::table::{Column, Table, taken};
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

    /// Of steps of time, in ns; rows without valid times have the same code.
    #[staticmethod]
    fn steps(start: &Column, valid: &Column, step: i64) -> PyResult<Self> {
        let kind = || PyTypeError::new_err("expected times and whether they are valid, of the same rows");
        groups::steps(&start.0, &valid.0, step).map(Self).ok_or_else(kind)
    }

    /// Codes of other rows: each has the code of the row in `column`; all rows with null there have the same code.
    fn at(&self, column: &Column) -> PyResult<Self> {
        let codes = groups::codes_at(&self.0, integers(column)?);
        codes.map(Self).ok_or_else(|| PyIndexError::new_err(format!("a row of {}", self.0.len())))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

fn integers(column: &Column) -> PyResult<&Int64Array> {
    let kind = || PyTypeError::new_err(format!("expected integers, got {}", column.0.data_type()));
    column.0.as_primitive_opt::<Int64Type>().ok_or_else(kind)
}

/// Rows in groups, each group's by wall time, or as they came.
#[pyclass(frozen, module = "k8strace._core")]
pub struct GroupedRows {
    pub groups: Groups,
    wall: Option<Column>,
    /// How many rows there are, grouped or not.
    known: usize,
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
    /// Groups some of `known` rows, or all, by keys, each with a code for every row. With `wall`: those of a group by it.
    #[new]
    #[pyo3(signature = (rows, known, keys, wall=None))]
    fn new(
        rows: Option<Vec<usize>>,
        known: usize,
        keys: Vec<PyRef<'_, Codes>>,
        wall: Option<&Column>,
    ) -> PyResult<Self> {
        let rows = rows.unwrap_or_else(|| (0..known).collect());
        let values = wall.map(|wall| integers(wall).map(|wall| &wall.values()[..])).transpose()?;
        let others = keys.iter().any(|key| key.0.len() != known) || rows.iter().any(|&row| row >= known);
        if others || values.is_some_and(|wall| wall.len() != known) {
            return Err(PyIndexError::new_err(format!("a code for each of {known} rows")));
        }
        let keys: Vec<&[u32]> = keys.iter().map(|key| &key.0[..]).collect();
        let groups = groups::group(&rows, &keys, values);
        Ok(Self { groups, wall: wall.map(|wall| Column(wall.0.clone())), known })
    }

    /// All these rows grouped anew, by other keys.
    fn by(&self, keys: Vec<PyRef<'_, Codes>>) -> PyResult<Self> {
        self.of(self.groups.rows.iter().map(|&row| row as usize).collect(), keys)
    }

    /// Those of them whose number in a column is at least that, in one group; null is none.
    fn at_least(&self, column: &Column, least: i64) -> PyResult<Self> {
        self.own(column)?;
        let rows = groups::at_least(&column.0, &self.groups.rows, least);
        self.of(rows.unwrap_or_default(), Vec::new())
    }

    /// Those of them whose text in a column is one of these, in one group; None is null.
    fn among(&self, column: &Column, texts: Vec<Option<String>>) -> PyResult<Self> {
        let short = || PyIndexError::new_err(format!("a text for each of {} rows", self.known));
        if column.0.len() < self.known {
            return Err(short());
        }
        let kind = || PyTypeError::new_err(format!("expected texts, got {}", column.0.data_type()));
        self.of(groups::among(&column.0, &self.groups.rows, &texts).ok_or_else(kind)?, Vec::new())
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

    /// All rows, group after group.
    fn all(&self) -> Vec<u32> {
        self.groups.rows.clone()
    }

    /// The rows of a group.
    fn rows(&self, group: usize) -> PyResult<Vec<u32>> {
        let n = self.groups.end.len();
        if group >= n {
            return Err(PyIndexError::new_err(format!("group {group} of {n}")));
        }
        Ok(self.groups.rows_of(group).to_vec())
    }

    /// The number of each row's group, as they came: numbers of 8 bytes, as the machine stores them.
    fn numbers<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let numbers = self.groups.of_row.iter().flat_map(|&group| i64::from(group).to_ne_bytes());
        PyBytes::new(py, &numbers.collect::<Vec<_>>())
    }

    /// Which rows have equal codes if each group gets one; all rows must be grouped.
    fn coded(&self, codes: Vec<u32>) -> PyResult<Codes> {
        if self.groups.of_row.len() != self.known || codes.len() != self.groups.end.len() {
            return Err(PyIndexError::new_err("a code for each group, and a group for each row"));
        }
        Ok(Codes(self.groups.of_row.iter().map(|&group| codes[group as usize]).collect()))
    }

    /// Group → the sum of a column; null counts as nothing.
    fn totals(&self, column: &Column) -> PyResult<Vec<i128>> {
        Ok(self.groups.totals(self.own(column)?))
    }

    /// Group → how many different values a column of integers has.
    fn distinct(&self, column: &Column) -> PyResult<Vec<usize>> {
        Ok(self.groups.distinct(self.own(column)?))
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
        let wall = self.wall()?;
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
        let wall = self.wall()?;
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

impl GroupedRows {
    /// Other rows of the same table.
    fn of(&self, rows: Vec<usize>, keys: Vec<PyRef<'_, Codes>>) -> PyResult<Self> {
        let wall = self.wall.as_ref();
        Self::new(Some(rows), self.known, keys, wall)
    }

    fn wall(&self) -> PyResult<&[i64]> {
        let wall = self.wall.as_ref().ok_or_else(|| PyValueError::new_err("grouped without wall times"))?;
        Ok(integers(wall)?.values())
    }

    fn own<'a>(&self, column: &'a Column) -> PyResult<&'a Int64Array> {
        let numbers = integers(column)?;
        let short = || PyIndexError::new_err(format!("a number for each of {} rows", self.known));
        if numbers.len() < self.known { Err(short()) } else { Ok(numbers) }
    }
}

/// Sums of integers by key, of some rows or all: the keys in the order in which they come first, and their sums.
#[pyfunction]
#[pyo3(signature = (keys, numbers, rows=None))]
fn sum_by(keys: &Column, numbers: &Column, rows: Option<Vec<usize>>) -> PyResult<(Vec<i64>, Vec<i64>)> {
    let (keys, numbers) = (integers(keys)?, integers(numbers)?);
    let rows = rows.unwrap_or_else(|| (0..keys.len()).collect());
    if keys.len() != numbers.len() || rows.iter().any(|&row| row >= keys.len()) {
        return Err(PyIndexError::new_err(format!("a number for each of {} rows", keys.len())));
    }
    Ok(groups::sum_by(keys, numbers, rows.into_iter()))
}

/// Which rows of a table are about each of some roots.
#[pyclass(frozen, module = "k8strace._core")]
pub struct About {
    about: groups::About,
    table: RecordBatch,
}

#[pymethods]
impl About {
    /// `column`: the column with the root of each row of the table, or null.
    #[new]
    fn new(table: &Table, column: &str, roots: usize) -> PyResult<Self> {
        let root = integers(&table.column(column)?).map(|root| groups::About::new(root, roots))?;
        Ok(Self { about: root, table: table.0.clone() })
    }

    /// The rows about these roots, or about any, in the table's order.
    fn of(&self, py: Python<'_>, roots: Option<Vec<usize>>) -> PyResult<Table> {
        let roots = roots.unwrap_or_else(|| (0..self.about.roots()).collect());
        py.detach(|| taken(&self.table, &self.about.rows(&roots))).map(Table::from).map_err(arrow_err)
    }
}

/// What stands beside the parts: what the column of the rows is called, columns of the table that they are rows of, and
/// whether their texts are views, which copy nothing.
type Beside = (String, Vec<String>, bool);

/// The parts of these rows of a table, or of all, one row for each part.
/// `names`: component and name of every phase.
#[pyfunction]
pub fn parts_table(
    py: Python<'_>,
    attributed: &AttributedRequests,
    roots: &Table,
    rows: Option<Vec<usize>>,
    beside: Beside,
    names: Vec<(String, String)>,
) -> PyResult<Table> {
    let n = roots.0.num_rows();
    let rows = rows.unwrap_or_else(|| (0..n).collect());
    let unnamed = attributed.0.phase.iter().any(|&phase| usize::from(phase) >= names.len());
    if rows.iter().any(|&row| row >= n) || attributed.0.wall_ns.len() < n || unnamed {
        return Err(PyIndexError::new_err("known rows, and a name for each phase"));
    }
    let (components, phases): (Vec<String>, Vec<String>) = names.into_iter().unzip();
    let (index, identity, views) = beside;
    let names = parts::Names { index: &index, components: &components, phases: &phases, views };
    py.detach(|| parts::table(&attributed.0, (&roots.0, &identity), &rows, &names))
        .map(Table::from)
        .map_err(arrow_err)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Codes>()?;
    module.add_class::<GroupedRows>()?;
    module.add_class::<About>()?;
    module.add_function(wrap_pyfunction!(sum_by, module)?)?;
    module.add_function(wrap_pyfunction!(parts_table, module)?)
}
