//! Quantiles of weighted sums, as Python asks for them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::quantiles::of_choices;

/// For each choice of parts and each share the quantile. Numbers come as the machine stores them, 8 bytes each.
#[pyfunction]
fn weighted_quantiles(
    py: Python<'_>,
    base: &[u8],
    parts: &[u8],
    weights: &[u8],
    choices: Vec<u32>,
    shares: Vec<f64>,
) -> PyResult<Vec<Vec<i64>>> {
    let count = parts.len().checked_div(base.len()).unwrap_or(0);
    let even = base.len() == weights.len() && parts.len() == count * base.len();
    let known = choices.iter().all(|&choice| count >= 32 || choice >> count == 0);
    if !even || !base.len().is_multiple_of(8) || !known {
        return Err(PyValueError::new_err("expected equally many numbers of 8 bytes, and known parts"));
    }
    let read = |part: &[u8]| numbers(part, i64::from_ne_bytes);
    let parts: Vec<Vec<i64>> = parts.chunks_exact(base.len().max(1)).map(read).collect();
    let (base, weights) = (numbers(base, i64::from_ne_bytes), numbers(weights, f64::from_ne_bytes));
    Ok(py.detach(|| of_choices(&base, &parts, &weights, &choices, &shares)))
}

fn numbers<T>(bytes: &[u8], read: impl Fn([u8; 8]) -> T) -> Vec<T> {
    bytes.as_chunks::<8>().0.iter().map(|&number| read(number)).collect()
}

/// Adds the function.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(weighted_quantiles, module)?)
}
