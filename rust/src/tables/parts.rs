//! Divided time as a table: one row per root of a tree and phase.

use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::ArrowError;

use crate::arrow::{named, repeat, take};
use crate::attribute::Attributed;
use crate::columns::run;
use crate::numbers::u32_of;

/// What the rows are called: the index's column, and the component and name of every phase.
pub struct Names<'a> {
    /// The column of the root's index.
    pub index: &'a str,
    /// Phase → its component.
    pub components: &'a [String],
    /// Phase → its name.
    pub phases: &'a [String],
    /// Whether texts of the identity are views: smaller, as they repeat, and of another type than those of the roots.
    pub views: bool,
}

/// The parts of these rows, with columns of the table that they are rows of.
pub fn table(
    attributed: &Attributed,
    (roots, identity): (&RecordBatch, &[String]),
    rows: &[usize],
    names: &Names<'_>,
) -> Result<RecordBatch, ArrowError> {
    let many = rows.iter().map(|&row| run(&attributed.end, row).len()).sum();
    let (mut of, mut phase, mut ns) =
        (Vec::with_capacity(many), Vec::with_capacity(many), Vec::with_capacity(many));
    for &row in rows {
        let parts = run(&attributed.end, row);
        of.extend(std::iter::repeat_n(row, parts.len()));
        phase.extend(attributed.phase[parts.clone()].iter().map(|&phase| u32::from(phase)));
        ns.extend(attributed.ns[parts].iter().map(|&ns| ns.cast_signed()));
    }
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for name in identity {
        let column = roots.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(name.clone()))?;
        columns.push((name, if names.views { repeat(column, &of) } else { take(column, &of) }?));
    }
    // Where the rows stood: collecting numbers of the same size takes no new memory.
    let of: Vec<i64> = of.into_iter().map(|row| row.cast_signed() as i64).collect();
    columns.insert(0, (names.index, Arc::new(Int64Array::from(of))));
    let words = |words: &[String], phase: Vec<u32>| -> Result<ArrayRef, ArrowError> {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(words));
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(phase), values)?))
    };
    let (distinct, of_phase) = distinct(names.components);
    let component = phase.iter().map(|&phase| of_phase[phase as usize]).collect();
    columns.push(("component", words(&distinct, component)?));
    columns.push(("phase", words(names.phases, phase)?));
    columns.push(("ns", Arc::new(Int64Array::from(ns))));
    named(columns)
}

/// The words without repeats, and which of them each is.
fn distinct(words: &[String]) -> (Vec<String>, Vec<u32>) {
    let mut found: Vec<String> = words.to_vec();
    found.sort_unstable();
    found.dedup();
    let at = |word: &String| found.binary_search(word).map_or(0, u32_of);
    let which = words.iter().map(at).collect();
    (found, which)
}
