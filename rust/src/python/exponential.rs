//! Exponential histograms, as Python sees them.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

use crate::exponential::{self, relative_error};

/// Durations in buckets whose limits grow by a factor.
#[pyclass(module = "k8strace._core")]
#[derive(Clone)]
pub struct Exponential(pub exponential::Exponential);

/// Count, zeros, sum, shortest and longest, and the buckets.
type Told = (u64, u64, i128, Option<(i64, i64)>, Vec<(i32, u64)>);

/// Scales from the finest to that of one bucket for everything.
const SCALES: std::ops::RangeInclusive<i32> = -7..=20;

#[pymethods]
impl Exponential {
    /// Empty, or what `told` gave of one of this scale.
    #[new]
    #[pyo3(signature = (scale, most_buckets, told=None))]
    fn new(scale: i32, most_buckets: u32, told: Option<Told>) -> PyResult<Self> {
        if !SCALES.contains(&scale) || most_buckets == 0 {
            return Err(PyValueError::new_err("expected a scale from -7 to 20, and buckets"));
        }
        let mut made = exponential::Exponential::new(scale, most_buckets);
        let Some((count, zeros, total_ns, range_ns, buckets)) = told else { return Ok(Self(made)) };
        let counted = buckets.iter().try_fold(zeros, |sum, &(_, count)| sum.checked_add(count));
        let is_ascending = buckets.is_sorted_by(|a, b| a.0 < b.0);
        if counted != Some(count) || !is_ascending || range_ns.is_some() != (count > 0) {
            return Err(PyValueError::new_err("expected ascending buckets that add up to the count"));
        }
        (made.count, made.zeros, made.total_ns) = (count, zeros, total_ns);
        (made.range_ns, made.buckets) = (range_ns, buckets);
        Ok(Self(made))
    }

    /// Adds one duration.
    fn add(&mut self, ns: i64) {
        self.0.add(ns);
    }

    /// The sum of two.
    fn merged(&self, other: &Self) -> PyResult<Self> {
        if self.0.count.checked_add(other.0.count).is_none() {
            return Err(PyOverflowError::new_err("expected fewer than 2^64 durations"));
        }
        let mut sum = self.0.clone();
        sum.merge(&other.0);
        Ok(Self(sum))
    }

    /// The value at a place among the sorted ones, from 0 on, within the relative error; None of none.
    fn at(&self, place: u64) -> Option<i64> {
        self.0.at(place)
    }

    fn told(&self) -> Told {
        let h = &self.0;
        (h.count, h.zeros, h.total_ns, h.range_ns, h.buckets.clone())
    }

    #[getter]
    fn scale(&self) -> i32 {
        self.0.scale
    }

    #[getter]
    fn most_buckets(&self) -> u32 {
        self.0.most_buckets
    }

    #[getter]
    fn relative_error(&self) -> f64 {
        relative_error(self.0.scale)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The bucket of a value above 0 in s.
    #[staticmethod]
    fn index_of(value: f64, scale: i32) -> i32 {
        exponential::index_of(value, scale)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Exponential>()
}
