//! Columns → Arrow arrays, so that other libraries read them without copying our types.
//!
//! One table of (name, builder) per Arrow table: the schema is what the builders return.
//! String values become views into the texts that are held; names and keys become dictionaries.

mod arrays;
mod attributes;
mod taken;
mod views;

use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Int64Array, LargeListArray, RecordBatch, StringArray,
    UInt32Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, Field};

use crate::columns::interner::Interner;
use crate::columns::{Columns, OddId, TextRef, present};
use crate::numbers::u32_of;

use arrays::{bytes_column, list, name_column, nulls_where, structs};
pub use arrays::{hex_column, instants as instant_column, named, strings_column, word_column, words};
use attributes::attributes_column;
pub use attributes::{attribute_column, texts, value_text};
pub use taken::{repeat, take};

/// A column of a table: its name and how it is made.
pub type Builder = (&'static str, fn(&Columns) -> Result<ArrayRef, ArrowError>);

/// The span table.
pub const SPANS: &[Builder] = &[
    ("trace_id", |c| id_column(&c.spans.trace_id, &c.spans.present, present::TRACE_ID)),
    ("span_id", |c| id_column(&c.spans.span_id, &c.spans.present, present::SPAN_ID)),
    ("parent_span_id", |c| id_column(&c.spans.parent_span_id, &c.spans.present, present::PARENT)),
    ("trace_state", |c| text_column(c, &c.spans.trace_state.dense(c.len()))),
    ("flags", |c| Ok(unsigned(&c.spans.flags))),
    ("name", |c| name_column(&c.names, &c.spans.name)),
    ("kind", |c| Ok(arrays::integers(&c.spans.kind, i64::from))),
    ("start_time_unix_nano", |c| Ok(bits(&c.spans.start_time_unix_nano))),
    ("end_time_unix_nano", |c| Ok(bits(&c.spans.end_time_unix_nano))),
    ("start_time", |c| Ok(instants(&c.spans.start_time_unix_nano))),
    ("end_time", |c| Ok(instants(&c.spans.end_time_unix_nano))),
    ("attributes", |c| attributes_column(c, &c.span_attributes)),
    ("dropped_attributes_count", |c| Ok(unsigned(&c.spans.dropped_attributes_count.dense(c.len())))),
    ("events", events_column),
    ("dropped_events_count", |c| Ok(unsigned(&c.spans.dropped_events_count.dense(c.len())))),
    ("links", links_column),
    ("dropped_links_count", |c| Ok(unsigned(&c.spans.dropped_links_count.dense(c.len())))),
    ("status_code", |c| {
        let nulls = presence(&c.spans.present, present::STATUS);
        let codes = c.spans.status_code.dense(c.len()).into_iter().map(i64::from).collect::<Vec<_>>();
        Ok(Arc::new(Int64Array::new(codes.into(), nulls)))
    }),
    ("status_message", |c| text_column(c, &c.spans.status_message.dense(c.len()))),
    ("service_name", |c| per_span_text(c, "service.name")),
    ("scope_name", |c| {
        let names: Vec<u32> = (0..c.len()).map(|row| c.scope_name(row)).collect();
        name_column(&c.names, &names)
    }),
    ("scope_spans", |c| Ok(unsigned(&c.spans.scope_spans))),
];

/// The scope table: one row per `ScopeSpans` message.
pub const SCOPES: &[Builder] = &[
    ("resource_spans", |c| Ok(unsigned(&c.scopes.resource_spans))),
    ("scope_present", |c| Ok(Arc::new(BooleanArray::from(c.scopes.present.clone())))),
    ("name", |c| name_column(&c.names, &c.scopes.name)),
    ("version", |c| text_column(c, &c.scopes.version)),
    ("attributes", |c| attributes_column(c, &c.scope_attributes)),
    ("dropped_attributes_count", |c| Ok(unsigned(&c.scopes.dropped_attributes_count))),
    ("schema_url", |c| text_column(c, &c.scopes.schema_url)),
];

/// The resource table: one row per `ResourceSpans` message.
pub const RESOURCES: &[Builder] = &[
    ("batch", |c| Ok(unsigned(&c.resources.batch))),
    ("resource_present", |c| Ok(Arc::new(BooleanArray::from(c.resources.present.clone())))),
    ("attributes", |c| attributes_column(c, &c.resource_attributes)),
    ("dropped_attributes_count", |c| Ok(unsigned(&c.resources.dropped_attributes_count))),
    ("entity_refs", entity_refs_column),
    ("schema_url", |c| text_column(c, &c.resources.schema_url)),
];

/// The odd ids: ids whose length is not 16 or 8 bytes, which the span table shows as null. Those of links come last.
pub const ODD_IDS: &[Builder] = &[
    ("span", |c| {
        let of_links = c.links.odd_ids.iter().map(|odd| c.links.span[odd.row as usize]);
        let of_spans = c.spans.odd_ids.iter().map(|odd| odd.row);
        Ok(Arc::new(Int64Array::from_iter_values(of_spans.chain(of_links).map(i64::from))))
    }),
    ("link", |c| {
        let position = |link: u32| link - u32_of(c.links_of(c.links.span[link as usize] as usize).start);
        let of_links = c.links.odd_ids.iter().map(|odd| Some(i64::from(position(odd.row))));
        Ok(Arc::new(Int64Array::from_iter(c.spans.odd_ids.iter().map(|_| None).chain(of_links))))
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

/// Builds a whole table.
pub fn table(c: &Columns, builders: &[Builder]) -> Result<RecordBatch, ArrowError> {
    let columns = builders.iter().map(|(name, build)| Ok((*name, build(c)?)));
    named(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

fn presence(bits: &[u8], bit: u8) -> Option<NullBuffer> {
    nulls_where(bits, |bits| bits & bit != 0)
}

fn id_column<const N: usize>(ids: &[[u8; N]], bits: &[u8], bit: u8) -> Result<ArrayRef, ArrowError> {
    arrays::hex_ids(ids, presence(bits, bit))
}

fn unsigned(values: &[u32]) -> ArrayRef {
    arrays::integers(values, i64::from)
}

fn bits(values: &[u64]) -> ArrayRef {
    arrays::integers(values, u64::cast_signed)
}

fn instants(nanos: &[u64]) -> ArrayRef {
    arrays::instants(nanos.iter().map(|&at| i64::try_from(at).ok()))
}

fn text_column(c: &Columns, texts: &[TextRef]) -> Result<ArrayRef, ArrowError> {
    views::strings(&c.arena, texts.iter().copied(), None)
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

fn events_column(c: &Columns) -> Result<ArrayRef, ArrowError> {
    let items = structs(vec![
        ("time_unix_nano", bits(&c.events.time_unix_nano)),
        ("name", name_column(&c.names, &c.events.name)?),
        ("attributes", attributes_column(c, &c.event_attributes)?),
        ("dropped_attributes_count", unsigned(&c.events.dropped_attributes_count.dense(c.events.name.len()))),
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
        ("dropped_attributes_count", unsigned(&links.dropped_attributes_count)),
        ("flags", unsigned(&links.flags)),
    ])?;
    let end: Vec<u32> = (0..c.len())
        .scan(0, |end, span| {
            *end += links.span[*end..].iter().take_while(|&&owner| owner as usize == span).count();
            Some(u32_of(*end))
        })
        .collect();
    list(&end, items)
}

/// `EntityRef` messages as their wire bytes.
fn entity_refs_column(c: &Columns) -> Result<ArrayRef, ArrowError> {
    let refs = &c.resources.entity_refs;
    let end: Vec<u32> = (0..u32_of(c.resources.batch.len()))
        .map(|row| u32_of(refs.partition_point(|&(owner, _)| owner <= row)))
        .collect();
    let offsets =
        OffsetBuffer::new(std::iter::once(0).chain(end.iter().map(|&end| i64::from(end))).collect());
    let values = bytes_column(c, refs.iter().map(|&(_, text)| Some(text)))?;
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    Ok(Arc::new(LargeListArray::try_new(item, offsets, values, None)?))
}
