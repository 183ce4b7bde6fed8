//! Attributes as Arrow: the list of structs that a table holds, the column of one key, and texts for people.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int64Type};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Float64Array, Int8Array, Int64Array, PrimitiveArray, StringArray,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::ArrowError;

use super::arrays::{bytes_column, list, name_column, nulls_where, strings_column, structs};
use super::views;
use crate::columns::{Attributes, Columns, TextRef, ValueKind};
use crate::numbers::low_u32;

/// One struct per attribute: the key, which member of the value is set, and one child per type of value.
pub(super) fn attributes_column(c: &Columns, table: &Attributes) -> Result<ArrayRef, ArrowError> {
    let zeros = &Zeros::new(table.key.len());
    let items = structs(vec![
        ("key", name_column(&c.keys, &table.key)?),
        ("type", Arc::new(Int8Array::from_iter_values(table.kind.iter().map(|&kind| kind as i8)))),
        ("string_value", string_values(c, table, zeros)?),
        ("bool_value", bool_values(table, zeros)),
        ("int_value", numbers::<Int64Type>(table, zeros, ValueKind::Int, u64::cast_signed)),
        ("double_value", numbers::<Float64Type>(table, zeros, ValueKind::Double, f64::from_bits)),
        ("bytes_value", bytes_values(c, table, zeros)?),
        (
            "string_value_strindex",
            numbers::<Int64Type>(table, zeros, ValueKind::Strindex, |bits| {
                i64::from(low_u32(bits).cast_signed())
            }),
        ),
        ("key_strindex", key_strindex(table, zeros)),
    ])?;
    list(&table.end, items)
}

/// Which rows hold a value of this kind; `None` when none does, as is usual for most kinds.
fn rows_of(table: &Attributes, kind: ValueKind) -> Option<NullBuffer> {
    let bit = |(place, &is): (usize, &ValueKind)| u8::from(is == kind) << place;
    let byte = |eight: &[ValueKind]| eight.iter().enumerate().map(bit).fold(0, |byte, bit| byte | bit);
    let (eights, rest) = table.kind.as_chunks::<8>();
    let bits: Vec<u8> = eights.iter().map(|eight| byte(eight)).chain([byte(rest)]).collect();
    let rows = NullBuffer::new(BooleanBuffer::new(bits.into(), 0, table.kind.len()));
    Some(rows).filter(|rows| rows.null_count() < rows.len())
}

/// The value where a row is of this kind, else zeros.
fn bits_of(table: &Attributes, kind: ValueKind) -> impl ExactSizeIterator<Item = u64> {
    let pairs = table.kind.iter().zip(&table.value);
    pairs.map(move |(&is, &value)| if is == kind { value } else { 0 })
}

fn string_values(c: &Columns, table: &Attributes, zeros: &Zeros) -> Result<ArrayRef, ArrowError> {
    let rows = rows_of(table, ValueKind::String).unwrap_or_else(|| zeros.nulls.clone());
    views::strings(&c.arena, bits_of(table, ValueKind::String).map(TextRef::from_bits), Some(rows))
}

fn bool_values(table: &Attributes, zeros: &Zeros) -> ArrayRef {
    let Some(rows) = rows_of(table, ValueKind::Bool) else {
        return Arc::new(BooleanArray::new(zeros.nulls.inner().clone(), Some(zeros.nulls.clone())));
    };
    let set = BooleanBuffer::collect_bool(table.value.len(), |row| table.value[row] == 1);
    Arc::new(BooleanArray::new(&set & rows.inner(), Some(rows)))
}

/// Zeros, shared by all children that hold nothing but nulls.
struct Zeros {
    widest: BinaryViewArray,
    nulls: NullBuffer,
}

impl Zeros {
    fn new(rows: usize) -> Self {
        Self { widest: BinaryViewArray::new_null(rows), nulls: NullBuffer::new_null(rows) }
    }

    fn bytes(&self) -> ArrayRef {
        Arc::new(self.widest.clone())
    }

    fn numbers<T: ArrowPrimitiveType>(&self) -> ArrayRef {
        let values = ScalarBuffer::new(self.widest.views().inner().clone(), 0, self.nulls.len());
        Arc::new(PrimitiveArray::<T>::new(values, Some(self.nulls.clone())))
    }
}

fn numbers<T: ArrowPrimitiveType>(
    table: &Attributes,
    zeros: &Zeros,
    kind: ValueKind,
    number: fn(u64) -> T::Native,
) -> ArrayRef {
    let Some(rows) = rows_of(table, kind) else { return zeros.numbers::<T>() };
    let values: Vec<T::Native> = bits_of(table, kind).map(number).collect();
    Arc::new(PrimitiveArray::<T>::new(values.into(), Some(rows)))
}

/// Bytes, and nested values as their wire bytes.
fn bytes_values(c: &Columns, table: &Attributes, zeros: &Zeros) -> Result<ArrayRef, ArrowError> {
    use ValueKind::{Array, Bytes, KvList};
    let is_bytes = |kind: ValueKind| matches!(kind, Bytes | Array | KvList);
    if !table.kind.iter().any(|&kind| is_bytes(kind)) {
        return Ok(zeros.bytes());
    }
    let pairs = table.kind.iter().zip(&table.value);
    let texts = pairs.map(|(&kind, &value)| TextRef::from_bits(if is_bytes(kind) { value } else { 0 }));
    views::bytes(&c.arena, texts, nulls_where(&table.kind, |&kind| is_bytes(kind)))
}

fn key_strindex(table: &Attributes, zeros: &Zeros) -> ArrayRef {
    if table.key_strindex.is_empty() {
        return zeros.numbers::<Int64Type>();
    }
    let mut values = vec![None; table.key.len()];
    for &(row, value) in &table.key_strindex {
        values[row as usize] = Some(i64::from(value));
    }
    Arc::new(Int64Array::from(values))
}

/// The column of one attribute key over all spans: the type that its values have, text when they are mixed.
/// Null where a span has no such attribute or one without value; the last one counts when a key is repeated.
pub fn attribute_column(c: &Columns, key: &str) -> Result<ArrayRef, ArrowError> {
    let table = &c.span_attributes;
    let key = c.keys.find(key.as_bytes());
    let unset = |row: &usize| matches!(table.kind[*row], ValueKind::Empty | ValueKind::Absent);
    let find = |span| key.and_then(|key| table.find(span, key)).filter(|row| !unset(row));
    let rows: Vec<Option<usize>> = (0..c.len()).map(find).collect();
    let mut kinds: Vec<ValueKind> = rows.iter().flatten().map(|&row| table.kind[row]).collect();
    kinds.sort_unstable_by_key(|&kind| kind as u8);
    kinds.dedup();
    let values = rows.iter().map(|row| row.map(|row| table.value[row]));
    Ok(match kinds.as_slice() {
        [] | [ValueKind::String] => strings_column(c, values.map(|v| v.map(TextRef::from_bits)))?,
        [ValueKind::Int] => Arc::new(Int64Array::from_iter(values.map(|v| v.map(u64::cast_signed)))),
        [ValueKind::Double] => Arc::new(Float64Array::from_iter(values.map(|v| v.map(f64::from_bits)))),
        [ValueKind::Bool] => Arc::new(BooleanArray::from_iter(values.map(|v| v.map(|v| v != 0)))),
        [ValueKind::Bytes] => bytes_column(c, values.map(|v| v.map(TextRef::from_bits)))?,
        _ => Arc::new(StringArray::from_iter(
            rows.iter().map(|row| row.and_then(|row| value_text(c, table, row))),
        )),
    })
}

/// The attributes of one owner as (key, text), for people to read; none for an owner that there is not.
pub fn texts(c: &Columns, table: &Attributes, owner: usize) -> Vec<(String, Option<String>)> {
    let rows = if owner < table.end.len() { table.of(owner) } else { 0..0 };
    rows.map(|row| (c.keys.text(table.key[row]).to_owned(), value_text(c, table, row))).collect()
}

/// A value as text: strings as they are, nested values as JSON; `None` when nothing is set.
pub fn value_text(c: &Columns, table: &Attributes, row: usize) -> Option<String> {
    let bits = table.value[row];
    Some(match table.kind[row] {
        ValueKind::Empty | ValueKind::Absent => return None,
        ValueKind::String => c.text(TextRef::from_bits(bits)).to_owned(),
        ValueKind::Bool => (bits != 0).to_string(),
        ValueKind::Int | ValueKind::Strindex => bits.cast_signed().to_string(),
        ValueKind::Double => f64::from_bits(bits).to_string(),
        kind => nested_text(TextRef::from_bits(bits).of(&c.arena), kind),
    })
}

fn nested_text(bytes: &[u8], kind: ValueKind) -> String {
    match crate::decode::any_value::to_json(bytes, kind) {
        serde_json::Value::String(hex) => hex,
        value => value.to_string(),
    }
}
