//! The arrays that tables are made of.

use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int64Array, LargeListArray, LargeStringArray, RecordBatch, StringArray,
    StructArray, TimestampNanosecondArray, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, Field, Schema};

use super::views;
use crate::columns::interner::Interner;
use crate::columns::{Columns, TextRef};

/// A record batch of named arrays; a column may be null where its array has nulls.
pub fn named<N: Into<String>>(columns: Vec<(N, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let (names, arrays): (Vec<String>, Vec<ArrayRef>) =
        columns.into_iter().map(|(name, array)| (name.into(), array)).unzip();
    let fields: Vec<Field> = names.iter().zip(&arrays).map(|(name, array)| field(name, array)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

pub fn field(name: &str, array: &ArrayRef) -> Field {
    Field::new(name, array.data_type().clone(), true)
}

/// Which rows are valid; `None` when all are.
pub fn nulls_where<T>(rows: &[T], valid: impl Fn(&T) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), |row| valid(&rows[row])));
    Some(nulls).filter(|nulls| nulls.null_count() > 0)
}

pub fn name_column(names: &Interner, ids: &[u32]) -> Result<ArrayRef, ArrowError> {
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(names.iter()));
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(ids.to_vec()), values)?))
}

/// Strings as views into the arena; `None` is null.
pub fn strings_column(
    c: &Columns,
    texts: impl Iterator<Item = Option<TextRef>>,
) -> Result<ArrayRef, ArrowError> {
    let (texts, nulls) = texts_and_nulls(texts);
    views::strings(&c.arena, texts.into_iter(), nulls)
}

pub fn bytes_column(
    c: &Columns,
    texts: impl Iterator<Item = Option<TextRef>>,
) -> Result<ArrayRef, ArrowError> {
    let (texts, nulls) = texts_and_nulls(texts);
    views::bytes(&c.arena, texts.into_iter(), nulls)
}

pub fn texts_and_nulls(texts: impl Iterator<Item = Option<TextRef>>) -> (Vec<TextRef>, Option<NullBuffer>) {
    let (texts, valid): (Vec<TextRef>, Vec<bool>) =
        texts.map(|text| (text.unwrap_or_default(), text.is_some())).unzip();
    (texts, nulls_where(&valid, |&valid| valid))
}

pub fn list(end: &[u32], items: StructArray) -> Result<ArrayRef, ArrowError> {
    let offsets =
        OffsetBuffer::new(std::iter::once(0).chain(end.iter().map(|&end| i64::from(end))).collect());
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    Ok(Arc::new(LargeListArray::try_new(item, offsets, Arc::new(items), None)?))
}

pub fn structs(children: Vec<(&'static str, ArrayRef)>) -> Result<StructArray, ArrowError> {
    let fields: Vec<Field> = children.iter().map(|(name, array)| field(name, array)).collect();
    StructArray::try_new(fields.into(), children.into_iter().map(|(_, array)| array).collect(), None)
}

/// Byte → its two digits.
const DIGITS: [[u8; 2]; 256] = {
    let (digits, mut pairs, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Ids as lower-case hex, the way every tracing tool writes them; one type in every table.
pub fn hex_column<'a>(ids: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let (mut text, mut ends, mut valid) = (Vec::new(), vec![0], Vec::new());
    for id in ids {
        text.extend(id.unwrap_or_default().iter().map(|&byte| DIGITS[usize::from(byte)]));
        ends.push((2 * text.len()).cast_signed() as i64);
        valid.push(id.is_some());
    }
    let text = Buffer::from_vec(text.into_flattened());
    Arc::new(LargeStringArray::new(OffsetBuffer::new(ends.into()), text, nulls_where(&valid, |&valid| valid)))
}

/// The same of a whole column; what stands at a null does not matter.
pub fn hex_ids<const N: usize>(ids: &[[u8; N]], nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let mut text = vec![[0; 2]; N * ids.len()];
    for (pair, &byte) in text.iter_mut().zip(ids.as_flattened()) {
        *pair = DIGITS[usize::from(byte)];
    }
    let ends = (0..=ids.len()).map(|row| (2 * N * row).cast_signed() as i64).collect();
    let text = Buffer::from_vec(text.into_flattened());
    Ok(Arc::new(LargeStringArray::try_new(OffsetBuffer::new(ends), text, nulls)?))
}

/// Whole numbers, signed so that differences do not wrap: the bits of a number over `i64::MAX` are kept.
pub fn integers<T: Copy>(values: &[T], signed: impl Fn(T) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.iter().map(|&value| signed(value))))
}

/// ns since 1970 as instants; null where there is none, or it is after the year 2262.
pub fn instants(nanos: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let instants = nanos.map(|at| at.filter(|&at| at > 0));
    Arc::new(TimestampNanosecondArray::from_iter(instants).with_timezone("UTC"))
}

/// Strings of an interner as the values of dictionary columns.
pub fn words(words: &Interner) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(words.iter()))
}

/// A dictionary column of these values; `null` says which of them stand for null.
pub fn word_column(
    values: ArrayRef,
    ids: &[u32],
    null: impl Fn(u32) -> bool,
) -> Result<ArrayRef, ArrowError> {
    let ids = UInt32Array::from_iter(ids.iter().map(|&id| (!null(id)).then_some(id)));
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(ids, values)?))
}
