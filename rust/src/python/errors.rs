//! Errors of the core as exceptions.

use arrow_schema::ArrowError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::DecodeError;

/// Raises `k8strace.exceptions.DecodeError`.
pub fn to_py_err(error: &DecodeError) -> PyErr {
    Python::attach(|py| {
        let make = || {
            let kind = py.import("k8strace.exceptions")?.getattr("DecodeError")?;
            kind.call1((error.expected.as_ref(), error.got.as_ref(), error.path.as_str(), error.offset))
        };
        match make() {
            Ok(value) => PyErr::from_value(value),
            Err(error) => error,
        }
    })
}

/// Arrow refuses only what breaks its own rules, which our columns never do; if they did, Python is told.
pub fn arrow_err(error: ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
