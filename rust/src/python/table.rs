//! Arrow tables and columns as Python objects that any Arrow library can take.

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{Float64Type, Int8Type, Int64Type, TimestampNanosecondType, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, LargeListArray, LargeStringArray, RecordBatch,
    RecordBatchIterator,
};
use arrow_schema::{ArrowError, DataType, Field};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDateTime, PyDelta, PyDict, PyList, PyTzInfo};

use super::errors::arrow_err;
use crate::arrow::{instant_column, take};
use crate::tables::groups;

fn capsule<'py, T: 'static + Send>(
    py: Python<'py>,
    value: T,
    name: &'static CStr,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, value, name)
}

/// Named columns of equal length.
#[pyclass(frozen, module = "k8strace._core")]
pub struct Table(pub RecordBatch);

impl From<RecordBatch> for Table {
    fn from(batch: RecordBatch) -> Self {
        Self(batch)
    }
}

#[pymethods]
impl Table {
    fn __len__(&self) -> usize {
        self.0.num_rows()
    }

    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.0.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    pub fn column(&self, name: &str) -> PyResult<Column> {
        let column = self.0.column_by_name(name);
        column.map(|array| Column(array.clone())).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    /// These columns behind its own.
    fn with_columns(&self, columns: Vec<(String, PyRef<'_, Column>)>) -> PyResult<Self> {
        let own = self.0.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let own = own.into_iter().zip(self.0.columns().iter().cloned());
        let more = columns.into_iter().map(|(name, column)| (name, column.0.clone()));
        crate::arrow::named(own.chain(more).collect()).map(Self).map_err(arrow_err)
    }

    /// The rows at these places, in this order.
    fn take(&self, rows: Vec<isize>) -> PyResult<Self> {
        taken(&self.0, &known(rows, self.0.num_rows())?).map(Self).map_err(arrow_err)
    }

    /// Those of these rows, or of all, that latency statistics are about.
    fn judged(&self, rows: Option<Vec<isize>>, long_running: bool) -> PyResult<Vec<usize>> {
        Ok(groups::judged(&self.0, known_or_all(rows, self.0.num_rows())?, long_running))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.0.schema().as_ref()).map_err(arrow_err)?;
        capsule(py, schema, c"arrow_schema")
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let reader = RecordBatchIterator::new([Ok(self.0.clone())], self.0.schema());
        capsule(py, FFI_ArrowArrayStream::new(Box::new(reader)), c"arrow_array_stream")
    }
}

/// Rows of a table of `n`; refuses those that it does not have.
fn known(rows: Vec<isize>, n: usize) -> PyResult<Vec<usize>> {
    let place = |row: isize| {
        let row_of_table = usize::try_from(row).ok().filter(|&row| row < n);
        row_of_table.ok_or_else(|| PyIndexError::new_err(format!("row {row} of {n}")))
    };
    rows.into_iter().map(place).collect()
}

fn known_or_all(rows: Option<Vec<isize>>, n: usize) -> PyResult<Vec<usize>> {
    rows.map_or_else(|| Ok((0..n).collect()), |rows| known(rows, n))
}

/// These rows, which must exist, in this order.
pub fn taken(table: &RecordBatch, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
    let columns = table.columns().iter().map(|array| take(array, rows));
    RecordBatch::try_new(table.schema(), columns.collect::<Result<_, _>>()?)
}

/// One column.
#[pyclass(frozen, module = "k8strace._core")]
pub struct Column(pub ArrayRef);

impl From<ArrayRef> for Column {
    fn from(array: ArrayRef) -> Self {
        Self(array)
    }
}

#[pymethods]
impl Column {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let n = self.0.len();
        let at = if index < 0 { n.checked_add_signed(index) } else { usize::try_from(index).ok() };
        match at.filter(|&at| at < n) {
            Some(at) => value(py, &self.0, at),
            None => Err(PyIndexError::new_err(format!("row {index} of {n}"))),
        }
    }

    /// The values at these places, in this order.
    fn take(&self, rows: Vec<isize>) -> PyResult<Self> {
        take(&self.0, &known(rows, self.0.len())?).map(Self).map_err(arrow_err)
    }

    /// The integers of these rows, or of all: 8 bytes each, as the machine stores them. Null is 0.
    #[pyo3(signature = (rows=None))]
    fn packed<'py>(&self, py: Python<'py>, rows: Option<Vec<isize>>) -> PyResult<Bound<'py, PyBytes>> {
        let kind = || PyTypeError::new_err(format!("expected integers, got {}", self.0.data_type()));
        let numbers = self.0.as_primitive_opt::<Int64Type>().ok_or_else(kind)?;
        let value = |row: usize| if numbers.is_valid(row) { numbers.value(row) } else { 0 };
        let values = known_or_all(rows, numbers.len())?.into_iter().map(value);
        Ok(PyBytes::new(py, &values.flat_map(i64::to_ne_bytes).collect::<Vec<_>>()))
    }

    /// These integers, and where there is none those of another column.
    fn or_else(&self, other: &Self) -> PyResult<Self> {
        let both = self.0.as_primitive_opt::<Int64Type>().zip(other.0.as_primitive_opt::<Int64Type>());
        let (own, other) = both.ok_or_else(|| PyTypeError::new_err("expected integers"))?;
        if own.len() != other.len() {
            return Err(PyIndexError::new_err(format!("{} and {} rows", own.len(), other.len())));
        }
        let values = own.iter().zip(other.iter()).map(|(own, other)| own.or(other));
        Ok(Self(Arc::new(values.collect::<Int64Array>())))
    }

    #[getter]
    fn type_name(&self) -> String {
        self.0.data_type().to_string()
    }

    #[getter]
    fn null_count(&self) -> usize {
        self.0.null_count()
    }

    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        values(py, &self.0)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.0.data_type()).map_err(arrow_err)?;
        capsule(py, schema, c"arrow_schema")
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema;
        let array = capsule(py, FFI_ArrowArray::new(&self.0.to_data()), c"arrow_array")?;
        Ok((self.__arrow_c_schema__(py)?, array))
    }
}

/// All values; a dictionary's texts are made once.
fn values<'py>(py: Python<'py>, array: &ArrayRef) -> PyResult<Bound<'py, PyList>> {
    if let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() {
        let texts = values(py, dictionary.values())?;
        let keys = dictionary.keys().iter();
        let items = keys.map(|key| match key {
            Some(key) => texts.get_item(key as usize),
            None => Ok(py.None().into_bound(py)),
        });
        return PyList::new(py, items.collect::<PyResult<Vec<_>>>()?);
    }
    match array.data_type() {
        DataType::Int64 => PyList::new(py, array.as_primitive::<Int64Type>()),
        DataType::Boolean => PyList::new(py, array.as_boolean()),
        DataType::LargeUtf8 => PyList::new(py, array.as_string::<i64>()),
        DataType::Utf8 => PyList::new(py, array.as_string::<i32>()),
        DataType::Utf8View => PyList::new(py, array.as_string_view()),
        _ => {
            PyList::new(py, (0..array.len()).map(|row| value(py, array, row)).collect::<PyResult<Vec<_>>>()?)
        }
    }
}

/// One value as the Python object that people expect; null is None. Recursion follows the type, not the data.
fn value<'py>(py: Python<'py>, array: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>> {
    if array.is_null(row) {
        return Ok(py.None().into_bound(py));
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into_bound_py_any(py),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into_bound_py_any(py),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into_bound_py_any(py),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into_bound_py_any(py),
        DataType::Timestamp(..) => instant(py, array.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into_bound_py_any(py),
        DataType::Utf8 => array.as_string::<i32>().value(row).into_bound_py_any(py),
        DataType::Utf8View => array.as_string_view().value(row).into_bound_py_any(py),
        DataType::LargeBinary => Ok(PyBytes::new(py, array.as_binary::<i64>().value(row)).into_any()),
        DataType::BinaryView => Ok(PyBytes::new(py, array.as_binary_view().value(row)).into_any()),
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            value(py, dictionary.values(), dictionary.keys().value(row) as usize)
        }
        DataType::LargeList(_) => values(py, &array.as_list::<i64>().value(row)).map(Bound::into_any),
        DataType::Struct(fields) => {
            let dict = PyDict::new(py);
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                dict.set_item(field.name(), value(py, column, row)?)?;
            }
            Ok(dict.into_any())
        }
        other => Err(PyTypeError::new_err(format!("no Python value for {other}"))),
    }
}

/// A `datetime` with the zone UTC, to the microsecond: it has no nanoseconds.
fn instant(py: Python<'_>, nanos: i64) -> PyResult<Bound<'_, PyAny>> {
    const EPOCH: (i32, u8, u8) = (1970, 1, 1);
    const DAY_S: i64 = 86_400;
    let (seconds, micros) = (nanos / 1_000_000_000, nanos / 1_000 % 1_000_000);
    let utc = PyTzInfo::utc(py)?;
    let epoch = PyDateTime::new(py, EPOCH.0, EPOCH.1, EPOCH.2, 0, 0, 0, 0, Some(&utc))?;
    let part = |number: i64| i32::try_from(number);
    let since = PyDelta::new(py, part(seconds / DAY_S)?, part(seconds % DAY_S)?, part(micros)?, false)?;
    epoch.add(since)
}

/// A table of Python lists: (name, "text" | "int" | "float" | "bool" | "instant", values or None); instants in ns since 1970.
#[pyfunction]
pub fn make_table(columns: Vec<(String, String, Bound<'_, PyList>)>) -> PyResult<Table> {
    let arrays = columns.into_iter().map(|(name, kind, values)| Ok((name, array(&kind, &values)?)));
    let named = arrays.collect::<PyResult<Vec<_>>>()?;
    let fields: Vec<Field> = named.iter().map(|(n, a)| Field::new(n, a.data_type().clone(), true)).collect();
    let arrays = named.into_iter().map(|(_, array)| array).collect();
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    RecordBatch::try_new(schema, arrays).map(Table).map_err(arrow_err)
}

fn array(kind: &str, values: &Bound<'_, PyList>) -> PyResult<ArrayRef> {
    Ok(match kind {
        "text" => Arc::new(LargeStringArray::from(values.extract::<Vec<Option<String>>>()?)),
        "int" => Arc::new(Int64Array::from(integers(values)?)),
        "float" => Arc::new(Float64Array::from(values.extract::<Vec<Option<f64>>>()?)),
        "bool" => Arc::new(BooleanArray::from(values.extract::<Vec<Option<bool>>>()?)),
        "ints" => {
            let rows = values.extract::<Vec<Option<Vec<Option<i64>>>>>()?;
            Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(rows))
        }
        "instant" => instant_column(values.extract::<Vec<Option<i64>>>()?.into_iter()),
        other => return Err(PyTypeError::new_err(format!("no column type {other:?}"))),
    })
}

/// Integers of 64 bits; sums that are beyond are the greatest or least there is.
fn integers(values: &Bound<'_, PyList>) -> PyResult<Vec<Option<i64>>> {
    let error = match values.extract::<Vec<Option<i64>>>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(values.py()) => error,
        told => return told,
    };
    let nearest = |value: i128| i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX });
    let wide: Vec<Option<i128>> = values.extract().map_err(|_| error)?;
    Ok(wide.into_iter().map(|value| value.map(nearest)).collect())
}

/// Adds what this file has to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Table>()?;
    module.add_class::<Column>()?;
    module.add_function(wrap_pyfunction!(make_table, module)?)
}
