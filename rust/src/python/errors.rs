//! Errors of the core as exceptions.

use arrow_schema::ArrowError;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;

use crate::error::{DecodeError, ErrorKind};

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

/// Arrow refuses only what breaks its own rules, which our columns never do; if they did, Python is told.
pub fn arrow_err(error: ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
