//! Rows of a column, at any places and as often as wanted.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, LargeStringArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_data::transform::MutableArrayData;
use arrow_schema::ArrowError;

use super::views::repeated;

/// The rows at these places, in this order. All of them must be there.
pub fn take(array: &ArrayRef, rows: &[usize]) -> Result<ArrayRef, ArrowError> {
    if let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() {
        let keys = dictionary.keys();
        let taken = UInt32Array::new(rows.iter().map(|&row| keys.value(row)).collect(), nulls(keys, rows));
        return Ok(Arc::new(DictionaryArray::try_new(taken, Arc::clone(dictionary.values()))?));
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        let taken = rows.iter().map(|&row| numbers.value(row)).collect();
        return Ok(Arc::new(Int64Array::new(taken, nulls(numbers, rows))));
    }
    if let Some(texts) = array.as_string_opt::<i64>() {
        return texts_at(texts, rows);
    }
    let data = array.to_data();
    let mut taken = MutableArrayData::new(vec![&data], true, rows.len());
    for &row in rows {
        taken.try_extend(0, row, row + 1)?;
    }
    Ok(arrow_array::make_array(taken.freeze()))
}

/// The same for rows that repeat: texts are not copied.
pub fn repeat(array: &ArrayRef, rows: &[usize]) -> Result<ArrayRef, ArrowError> {
    let texts = array.as_string_opt::<i64>();
    let views = texts.and_then(|texts| repeated(texts, rows, nulls(texts, rows)));
    views.unwrap_or_else(|| take(array, rows))
}

fn nulls(array: &dyn Array, rows: &[usize]) -> Option<NullBuffer> {
    let known = array.nulls()?;
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), |at| known.is_valid(rows[at])));
    Some(nulls).filter(|nulls| nulls.null_count() > 0)
}

fn texts_at(texts: &LargeStringArray, rows: &[usize]) -> Result<ArrayRef, ArrowError> {
    let mut ends = Vec::with_capacity(rows.len() + 1);
    let mut taken = Vec::with_capacity(rows.iter().map(|&row| texts.value(row).len()).sum());
    ends.push(0);
    for &row in rows {
        taken.extend_from_slice(texts.value(row).as_bytes());
        ends.push(taken.len().cast_signed() as i64);
    }
    let offsets = OffsetBuffer::new(ends.into());
    Ok(Arc::new(LargeStringArray::try_new(offsets, Buffer::from_vec(taken), nulls(texts, rows))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_in_any_order_and_more_than_once_with_their_nulls() {
        let rows = [2, 0, 2, 1];
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(9)]));
        let expected: ArrayRef = Arc::new(Int64Array::from(vec![Some(9), Some(7), Some(9), None]));
        assert_eq!(&expected, &take(&numbers, &rows).expect("numbers"));
        let texts: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("ab"), None, Some("")]));
        let expected: ArrayRef = Arc::new(LargeStringArray::from(vec![Some(""), Some("ab"), Some(""), None]));
        assert_eq!(&expected, &take(&texts, &rows).expect("texts"));
        let words: DictionaryArray<UInt32Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
        let words: ArrayRef = Arc::new(words);
        let expected: DictionaryArray<UInt32Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
        let keys = UInt32Array::from(vec![Some(1), Some(0), Some(1), None]);
        let expected: ArrayRef =
            Arc::new(DictionaryArray::try_new(keys, Arc::clone(expected.values())).expect("words"));
        assert_eq!(&expected, &take(&words, &rows).expect("words"));
        let flags: ArrayRef = Arc::new(arrow_array::BooleanArray::from(vec![true, false, true]));
        let expected: ArrayRef = Arc::new(arrow_array::BooleanArray::from(vec![true, true, true, false]));
        assert_eq!(&expected, &take(&flags, &rows).expect("flags"));
    }
}
