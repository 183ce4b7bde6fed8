//! Projected requests as a table: one row each.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::ArrowError;

use super::Retimed;
use crate::arrow::{named, take};

/// These requests, with columns of the table that they are rows of. `after` is the first reading; the least and the most
/// are over all of them.
pub fn table(
    runs: &[&Retimed],
    (requests, identity): (&RecordBatch, &[String]),
    rows: &[usize],
) -> Result<RecordBatch, ArrowError> {
    let readings: Vec<&[u64]> = runs.iter().flat_map(|run| [&run.all[..], &run.last[..]]).collect();
    let column = |of: &dyn Fn(usize) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|&row| of(row).cast_signed())))
    };
    let each = |row: usize| readings.iter().map(move |reading| reading[row]);
    let mut columns = vec![("request", column(&|row| row as u64))];
    for name in identity {
        let of = requests.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(name.clone()))?;
        columns.push((name, take(of, rows)?));
    }
    columns.push(("before_ns", column(&|row| runs.first().map_or(0, |run| run.before[row]))));
    columns.push(("after_ns", column(&|row| each(row).next().unwrap_or(0))));
    columns.push(("low_ns", column(&|row| each(row).min().unwrap_or(0))));
    columns.push(("high_ns", column(&|row| each(row).max().unwrap_or(0))));
    named(columns)
}
