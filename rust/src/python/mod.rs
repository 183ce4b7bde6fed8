//! The interface to Python: convert, release the GIL, call one core function, map the error. No logic lives here.
#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]

mod archive;
mod attributed;
mod errors;
mod exponential;
mod formats;
mod groups;
mod joined;
mod quantiles;
mod retimed;
mod screen;
mod search;
mod spans;
mod stream;
mod table;

use pyo3::prelude::*;

/// The compiled core of k8strace.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("DEBUG", cfg!(debug_assertions))?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    table::register(module)?;
    spans::register(module)?;
    formats::register(module)?;
    screen::register(module)?;
    joined::register(module)?;
    attributed::register(module)?;
    archive::register(module)?;
    exponential::register(module)?;
    groups::register(module)?;
    retimed::register(module)?;
    quantiles::register(module)?;
    stream::register(module)?;
    search::register(module)
}
