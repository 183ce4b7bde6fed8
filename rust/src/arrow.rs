//! Columns → Arrow arrays, so that other libraries read them without copying our types.
//!
//! One table of (name, builder) per Arrow table: the schema is what the builders return.
//! String values become views into the retained wire bytes; names and keys become dictionaries.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array,
    Int32Array, Int64Array, LargeListArray, RecordBatch, StringArray, StringViewArray, StructArray,
    UInt8Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field, Schema};

use crate::columns::{Attributes, Columns, OddId, TextRef, ValueKind, present, run};
use crate::intern::Interner;

/// A column of a table: its name and how it is made.
pub type Builder = (&'static str, fn(&Columns) -> Result<ArrayRef, ArrowError>);

/// The span table.
pub const SPANS: &[Builder] = &[
    ("trace_id", |c| id_column(&c.spans.trace_id, &c.spans.present, present::TRACE_ID)),
    ("span_id", |c| id_column(&c.spans.span_id, &c.spans.present, present::SPAN_ID)),
    ("parent_span_id", |c| id_column(&c.spans.parent_span_id, &c.spans.present, present::PARENT)),
    ("trace_state", |c| text_column(c, &c.spans.trace_state)),
    ("flags", |c| Ok(Arc::new(UInt32Array::from(c.spans.flags.clone())))),
    ("name", |c| name_column(&c.names, &c.spans.name)),
    ("kind", |c| Ok(Arc::new(Int32Array::from(c.spans.kind.clone())))),
    ("start_time_unix_nano", |c| Ok(Arc::new(UInt64Array::from(c.spans.start_time_unix_nano.clone())))),
    ("end_time_unix_nano", |c| Ok(Arc::new(UInt64Array::from(c.spans.end_time_unix_nano.clone())))),
    ("attributes", |c| attributes_column(c, &c.span_attributes)),
    ("dropped_attributes_count", |c| {
        Ok(Arc::new(UInt32Array::from(c.spans.dropped_attributes_count.clone())))
    }),
    ("events", events_column),
    ("dropped_events_count", |c| Ok(Arc::new(UInt32Array::from(c.spans.dropped_events_count.clone())))),
    ("links", links_column),
    ("dropped_links_count", |c| Ok(Arc::new(UInt32Array::from(c.spans.dropped_links_count.clone())))),
    ("status_code", |c| {
        let nulls = presence(&c.spans.present, present::STATUS);
        Ok(Arc::new(Int32Array::new(c.spans.status_code.clone().into(), nulls)))
    }),
    ("status_message", |c| text_column(c, &c.spans.status_message)),
    ("service_name", |c| per_span_text(c, "service.name")),
    ("scope_name", |c| {
        let names: Vec<u32> = (0..c.len()).map(|row| c.scope_name(row)).collect();
        name_column(&c.names, &names)
    }),
    ("scope_spans", |c| Ok(Arc::new(UInt32Array::from(c.spans.scope_spans.clone())))),
];

/// The scope table: one row per `ScopeSpans` message.
pub const SCOPES: &[Builder] = &[
    ("resource_spans", |c| Ok(Arc::new(UInt32Array::from(c.scopes.resource_spans.clone())))),
    ("scope_present", |c| Ok(Arc::new(BooleanArray::from(c.scopes.present.clone())))),
    ("name", |c| name_column(&c.names, &c.scopes.name)),
    ("version", |c| text_column(c, &c.scopes.version)),
    ("attributes", |c| attributes_column(c, &c.scope_attributes)),
    ("dropped_attributes_count", |c| {
        Ok(Arc::new(UInt32Array::from(c.scopes.dropped_attributes_count.clone())))
    }),
    ("schema_url", |c| text_column(c, &c.scopes.schema_url)),
];

/// The resource table: one row per `ResourceSpans` message.
pub const RESOURCES: &[Builder] = &[
    ("batch", |c| Ok(Arc::new(UInt32Array::from(c.resources.batch.clone())))),
    ("resource_present", |c| Ok(Arc::new(BooleanArray::from(c.resources.present.clone())))),
    ("attributes", |c| attributes_column(c, &c.resource_attributes)),
    ("dropped_attributes_count", |c| {
        Ok(Arc::new(UInt32Array::from(c.resources.dropped_attributes_count.clone())))
    }),
    ("entity_refs", entity_refs_column),
    ("schema_url", |c| text_column(c, &c.resources.schema_url)),
];

/// The odd ids: ids whose length is not 16 or 8 bytes, which the span table shows as null. Those of links come last.
pub const ODD_IDS: &[Builder] = &[
    ("span", |c| {
        let of_links = c.links.odd_ids.iter().map(|odd| span_of_link(c, odd.row));
        let of_spans = c.spans.odd_ids.iter().map(|odd| odd.row);
        Ok(Arc::new(UInt32Array::from_iter_values(of_spans.chain(of_links))))
    }),
    ("link", |c| {
        let position =
            |link: u32| link - run(&c.spans.links_end, span_of_link(c, link) as usize).start as u32;
        let of_links = c.links.odd_ids.iter().map(|odd| Some(position(odd.row)));
        Ok(Arc::new(UInt32Array::from_iter(c.spans.odd_ids.iter().map(|_| None).chain(of_links))))
    }),
    ("field", |c| {
        let name = |field| match field {
            crate::columns::IdField::Trace => "trace_id",
            crate::columns::IdField::Span => "span_id",
            crate::columns::IdField::Parent => "parent_span_id",
        };
        Ok(Arc::new(StringArray::from_iter_values(odd_ids(c).map(|odd| name(odd.field)))))
    }),
    ("value", |c| bytes_column(c, odd_ids(c).map(|odd| Some(odd.value)))),
];

fn odd_ids(c: &Columns) -> impl Iterator<Item = &OddId> {
    c.spans.odd_ids.iter().chain(&c.links.odd_ids)
}

/// The span that a row of the links is of.
fn span_of_link(c: &Columns, link: u32) -> u32 {
    c.spans.links_end.partition_point(|&end| end <= link) as u32
}

/// Builds a whole table.
pub fn table(c: &Columns, builders: &[Builder]) -> Result<RecordBatch, ArrowError> {
    let columns = builders.iter().map(|(name, build)| Ok((*name, build(c)?)));
    named(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

/// A record batch of named arrays; a column may be null where its array has nulls.
pub fn named<N: Into<String>>(columns: Vec<(N, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let (names, arrays): (Vec<String>, Vec<ArrayRef>) =
        columns.into_iter().map(|(name, array)| (name.into(), array)).unzip();
    let fields: Vec<Field> = names.iter().zip(&arrays).map(|(name, array)| field(name, array)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

fn field(name: &str, array: &ArrayRef) -> Field {
    Field::new(name, array.data_type().clone(), true)
}

fn presence(bits: &[u8], bit: u8) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter(bits.iter().map(|bits| bits & bit != 0)))
}

fn id_column<const N: usize>(ids: &[[u8; N]], bits: &[u8], bit: u8) -> Result<ArrayRef, ArrowError> {
    let values = Buffer::from_slice_ref(ids.as_flattened());
    Ok(Arc::new(FixedSizeBinaryArray::try_new(N as i32, values, presence(bits, bit))?))
}

fn name_column(names: &Interner, ids: &[u32]) -> Result<ArrayRef, ArrowError> {
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(names.iter()));
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(ids.to_vec()), values)?))
}

/// Arrow views address 2 GiB per buffer, so the arena is offered as overlapping windows, one every GiB.
fn windows(c: &Columns) -> Arc<[Buffer]> {
    const STRIDE: usize = 1 << 30;
    let len = c.arena.len();
    let window = |start: usize| c.arena.slice_with_length(start, (len - start).min(2 * STRIDE - 1));
    (0..len.div_ceil(STRIDE)).map(|i| window(i * STRIDE)).collect()
}

fn view(c: &Columns, text: TextRef) -> u128 {
    make_view(text.of(&c.arena), (text.start() >> 30) as u32, (text.start() & ((1 << 30) - 1)) as u32)
}

fn views(
    c: &Columns,
    texts: impl Iterator<Item = Option<TextRef>>,
) -> (ScalarBuffer<u128>, Option<NullBuffer>) {
    let (views, valid): (Vec<u128>, Vec<bool>) =
        texts.map(|text| (view(c, text.unwrap_or_default()), text.is_some())).unzip();
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    (views.into(), nulls)
}

fn text_column(c: &Columns, texts: &[TextRef]) -> Result<ArrayRef, ArrowError> {
    strings_column(c, texts.iter().map(|&text| Some(text)))
}

/// Strings as views into the arena; `None` is null.
pub fn strings_column(
    c: &Columns,
    texts: impl Iterator<Item = Option<TextRef>>,
) -> Result<ArrayRef, ArrowError> {
    let (views, nulls) = views(c, texts);
    Ok(Arc::new(StringViewArray::try_new(views, windows(c), nulls)?))
}

fn bytes_column(c: &Columns, texts: impl Iterator<Item = Option<TextRef>>) -> Result<ArrayRef, ArrowError> {
    let (views, nulls) = views(c, texts);
    Ok(Arc::new(BinaryViewArray::try_new(views, windows(c), nulls)?))
}

/// A resource's text, for every span of the resource.
fn per_span_text(c: &Columns, key: &str) -> Result<ArrayRef, ArrowError> {
    let key = c.keys.find(key.as_bytes());
    let of_resource: Vec<Option<TextRef>> =
        (0..c.resources.batch.len()).map(|row| c.resource_attributes.string(row, key)).collect();
    let mut distinct = Interner::default();
    let ids: Vec<Option<u32>> =
        of_resource.iter().map(|text| text.map(|text| distinct.intern_str(c.text(text)))).collect();
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(distinct.iter()));
    let ids = UInt32Array::from_iter((0..c.len()).map(|row| ids[c.resource_of(row)]));
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(ids, values)?))
}

fn list(end: &[u32], items: StructArray) -> Result<ArrayRef, ArrowError> {
    let offsets =
        OffsetBuffer::new(std::iter::once(0).chain(end.iter().map(|&end| i64::from(end))).collect());
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    Ok(Arc::new(LargeListArray::try_new(item, offsets, Arc::new(items), None)?))
}

fn structs(children: Vec<(&'static str, ArrayRef)>) -> Result<StructArray, ArrowError> {
    let fields: Vec<Field> = children.iter().map(|(name, array)| field(name, array)).collect();
    StructArray::try_new(fields.into(), children.into_iter().map(|(_, array)| array).collect(), None)
}

/// One struct per attribute: the key, which member of the value is set, and one child per type of value.
fn attributes_column(c: &Columns, table: &Attributes) -> Result<ArrayRef, ArrowError> {
    let rows = 0..table.key.len();
    let of_kind = |kind: ValueKind| move |row: usize| (table.kind[row] == kind).then(|| table.value[row]);
    let (int, double) = (of_kind(ValueKind::Int), of_kind(ValueKind::Double));
    let (boolean, index) = (of_kind(ValueKind::Bool), of_kind(ValueKind::Strindex));
    let string = of_kind(ValueKind::String);
    let bytes = |row: usize| table.text_ref(row).filter(|_| table.kind[row] != ValueKind::String);
    let mut key_strindex = vec![None; table.key.len()];
    for &(row, value) in &table.key_strindex {
        key_strindex[row as usize] = Some(value);
    }
    let items = structs(vec![
        ("key", name_column(&c.keys, &table.key)?),
        ("type", Arc::new(UInt8Array::from_iter_values(table.kind.iter().map(|&kind| kind as u8)))),
        ("string_value", strings_column(c, rows.clone().map(|row| string(row).map(TextRef::from_bits)))?),
        (
            "bool_value",
            Arc::new(BooleanArray::from_iter(rows.clone().map(|row| boolean(row).map(|v| v != 0)))),
        ),
        ("int_value", Arc::new(Int64Array::from_iter(rows.clone().map(|row| int(row).map(|v| v as i64))))),
        (
            "double_value",
            Arc::new(Float64Array::from_iter(rows.clone().map(|row| double(row).map(f64::from_bits)))),
        ),
        ("bytes_value", bytes_column(c, rows.clone().map(bytes))?),
        (
            "string_value_strindex",
            Arc::new(Int32Array::from_iter(rows.map(|row| index(row).map(|v| v as i32)))),
        ),
        ("key_strindex", Arc::new(Int32Array::from(key_strindex))),
    ])?;
    list(&table.end, items)
}

fn events_column(c: &Columns) -> Result<ArrayRef, ArrowError> {
    let items = structs(vec![
        ("time_unix_nano", Arc::new(UInt64Array::from(c.events.time_unix_nano.clone()))),
        ("name", name_column(&c.names, &c.events.name)?),
        ("attributes", attributes_column(c, &c.event_attributes)?),
        ("dropped_attributes_count", Arc::new(UInt32Array::from(c.events.dropped_attributes_count.clone()))),
    ])?;
    list(&c.spans.events_end, items)
}

fn links_column(c: &Columns) -> Result<ArrayRef, ArrowError> {
    let links = &c.links;
    let items = structs(vec![
        ("trace_id", id_column(&links.trace_id, &links.present, present::TRACE_ID)?),
        ("span_id", id_column(&links.span_id, &links.present, present::SPAN_ID)?),
        ("trace_state", text_column(c, &links.trace_state)?),
        ("attributes", attributes_column(c, &c.link_attributes)?),
        ("dropped_attributes_count", Arc::new(UInt32Array::from(links.dropped_attributes_count.clone()))),
        ("flags", Arc::new(UInt32Array::from(links.flags.clone()))),
    ])?;
    list(&c.spans.links_end, items)
}

/// `EntityRef` messages as their wire bytes.
fn entity_refs_column(c: &Columns) -> Result<ArrayRef, ArrowError> {
    let refs = &c.resources.entity_refs;
    let end: Vec<u32> = (0..c.resources.batch.len() as u32)
        .map(|row| refs.partition_point(|&(owner, _)| owner <= row) as u32)
        .collect();
    let offsets =
        OffsetBuffer::new(std::iter::once(0).chain(end.iter().map(|&end| i64::from(end))).collect());
    let values = bytes_column(c, refs.iter().map(|&(_, text)| Some(text)))?;
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    Ok(Arc::new(LargeListArray::try_new(item, offsets, values, None)?))
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
        [ValueKind::Int] => Arc::new(Int64Array::from_iter(values.map(|v| v.map(|v| v as i64)))),
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
        ValueKind::Int | ValueKind::Strindex => (bits as i64).to_string(),
        ValueKind::Double => f64::from_bits(bits).to_string(),
        kind => nested_text(TextRef::from_bits(bits).of(&c.arena), kind),
    })
}

fn nested_text(bytes: &[u8], kind: ValueKind) -> String {
    match crate::nested::to_json(bytes, kind) {
        serde_json::Value::String(hex) => hex,
        value => value.to_string(),
    }
}

/// Ids as lower-case hex, the way every tracing tool writes them.
pub fn hex_column<'a>(ids: impl Iterator<Item = &'a [u8]>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(ids.map(hex)))
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

/// Words of an interner as a dictionary column; `null` tells which words stand for nothing.
pub fn word_column(
    words: &Interner,
    ids: &[u32],
    null: impl Fn(u32) -> bool,
) -> Result<ArrayRef, ArrowError> {
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(words.iter()));
    let ids = UInt32Array::from_iter(ids.iter().map(|&id| (!null(id)).then_some(id)));
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(ids, values)?))
}
