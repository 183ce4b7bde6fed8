//! Errors of the core as exceptions.

use arrow_schema::ArrowError;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{DecodeError, ErrorKind, room_for};

/// Raises `k8strace.exceptions.DecodeError`.
pub fn to_py_err(error: &DecodeError) -> PyErr {
    Python::attach(|py| {
        if error.kind == ErrorKind::Memory {
            return PyMemoryError::new_err(format!("expected {}, got {}", error.expected, error.got));
        }
        let make = || {
            let class = py.import("k8strace.exceptions")?.getattr("DecodeError")?;
            let (expected, got) = (error.expected.as_ref(), error.got.as_ref());
            class.call1((expected, got, error.path.as_str(), error.offset, error.kind.name()))
        };
        match make() {
            Ok(value) => PyErr::from_value(value),
            Err(error) => error,
        }
    })
}

/// There is no memory; or Arrow refuses what breaks its own rules, which our columns never do.
pub fn arrow_err(error: ArrowError) -> PyErr {
    match error {
        ArrowError::MemoryError(message) => PyMemoryError::new_err(message),
        error => PyRuntimeError::new_err(error.to_string()),
    }
}

/// A copy of a buffer, or `MemoryError`.
pub fn copied(py: Python<'_>, data: &PyBuffer<u8>) -> PyResult<Vec<u8>> {
    let mut copy = Vec::new();
    let size = data.len_bytes();
    copy.try_reserve_exact(size)
        .map_err(|_| PyMemoryError::new_err(format!("expected memory for {size} bytes, got none")))?;
    copy.resize(size, 0);
    data.copy_to_slice(py, &mut copy)?;
    Ok(copy)
}

/// Bytes for Python, or `MemoryError`.
pub fn to_py_bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, data.len(), |bytes| {
        bytes.copy_from_slice(data);
        Ok(())
    })
}

/// What joining takes of memory for each span at most, about; dividing and a table take less.
const WORK_BYTES: u64 = 512;

/// Raises `MemoryError`, instead of ending the process in the middle of the work.
pub fn room(spans: usize, what: &str) -> PyResult<()> {
    room_for(WORK_BYTES * spans as u64, what).map_err(|error| to_py_err(&error))
}

/// Numbers as the machine stores them: what `numpy.frombuffer` takes.
pub fn numbers<'py>(py: Python<'py>, numbers: &[i64]) -> Bound<'py, PyBytes> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    PyBytes::new(py, &bytes)
}
