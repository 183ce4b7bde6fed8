//! Columns → OTLP on the wire: every field that a span, a scope and a resource came with.

pub mod jaeger;
pub mod json;

use std::ops::Range;

use crate::columns::{Attributes, Columns, IdField, OddId, TextRef, ValueKind, present, run};
use crate::decode::write::Out;
use crate::numbers::u32_of;

/// The `Span` message of a row, without a tag around it.
pub fn span(c: &Columns, row: usize, out: &mut Out) {
    let s = &c.spans;
    let odd = odd_of(&s.odd_ids, row);
    let has = |bit: u8| s.present[row] & bit != 0;
    let mut id = |number, bit, field, value: &[u8]| match odd.iter().find(|odd| odd.field == field) {
        Some(odd) => out.bytes(number, odd.value.of(&c.arena)),
        None if has(bit) => out.bytes(number, value),
        None => {}
    };
    id(1, present::TRACE_ID, IdField::Trace, &s.trace_id[row]);
    id(2, present::SPAN_ID, IdField::Span, &s.span_id[row]);
    id(4, present::PARENT, IdField::Parent, &s.parent_span_id[row]);
    text(c, out, 3, s.trace_state[row]);
    named(out, 5, c.names.bytes(s.name[row]));
    integer(out, 6, i64::from(s.kind[row]).cast_unsigned());
    out.fixed64(7, s.start_time_unix_nano[row]);
    out.fixed64(8, s.end_time_unix_nano[row]);
    attributes(c, out, 9, &c.span_attributes, row);
    integer(out, 10, s.dropped_attributes_count[row].into());
    for event in run(&s.events_end, row) {
        let at = out.open(11);
        out.fixed64(1, c.events.time_unix_nano[event]);
        named(out, 2, c.names.bytes(c.events.name[event]));
        attributes(c, out, 3, &c.event_attributes, event);
        integer(out, 4, c.events.dropped_attributes_count[event].into());
        out.close_tight(at);
    }
    integer(out, 12, s.dropped_events_count[row].into());
    for row in c.links_of(row) {
        link(c, out, row);
    }
    integer(out, 14, s.dropped_links_count[row].into());
    if has(present::STATUS) {
        let at = out.open(15);
        text(c, out, 2, s.status_message[row]);
        integer(out, 3, i64::from(s.status_code[row]).cast_unsigned());
        out.close_tight(at);
    }
    if s.flags[row] != 0 {
        out.fixed32(16, s.flags[row]);
    }
}

fn link(c: &Columns, out: &mut Out, row: usize) {
    let l = &c.links;
    let odd = odd_of(&l.odd_ids, row);
    let at = out.open(13);
    for (number, bit, field, value) in [
        (1, present::TRACE_ID, IdField::Trace, &l.trace_id[row][..]),
        (2, present::SPAN_ID, IdField::Span, &l.span_id[row][..]),
    ] {
        match odd.iter().find(|odd| odd.field == field) {
            Some(odd) => out.bytes(number, odd.value.of(&c.arena)),
            None if l.present[row] & bit != 0 => out.bytes(number, value),
            None => {}
        }
    }
    text(c, out, 3, l.trace_state[row]);
    attributes(c, out, 4, &c.link_attributes, row);
    integer(out, 5, l.dropped_attributes_count[row].into());
    if l.flags[row] != 0 {
        out.fixed32(6, l.flags[row]);
    }
    out.close_tight(at);
}

/// The fields of a `ScopeSpans` message beside its spans.
pub fn scope(c: &Columns, row: usize, out: &mut Out) {
    let s = &c.scopes;
    if s.present[row] {
        let at = out.open(1);
        named(out, 1, c.names.bytes(s.name[row]));
        text(c, out, 2, s.version[row]);
        attributes(c, out, 3, &c.scope_attributes, row);
        integer(out, 4, s.dropped_attributes_count[row].into());
        out.close_tight(at);
    }
    text(c, out, 3, s.schema_url[row]);
}

/// The fields of a `ResourceSpans` message beside its scopes.
pub fn resource(c: &Columns, row: usize, out: &mut Out) {
    let r = &c.resources;
    if r.present[row] {
        let at = out.open(1);
        attributes(c, out, 1, &c.resource_attributes, row);
        integer(out, 2, r.dropped_attributes_count[row].into());
        let refs = &r.entity_refs;
        let first = refs.partition_point(|&(of, _)| (of as usize) < row);
        for (_, entity) in refs[first..].iter().take_while(|(of, _)| *of as usize == row) {
            out.bytes(3, entity.of(&c.arena));
        }
        out.close_tight(at);
    }
    text(c, out, 3, r.schema_url[row]);
}

/// The `ExportTraceServiceRequest` that a batch came as. The rows of its tables stand in the order of arrival.
pub fn batch(c: &Columns, batch: u32, out: &mut Out) {
    for at_resource in rows_of(&c.resources.batch, batch) {
        let around = out.open(1);
        resource(c, at_resource, out);
        for at_scope in rows_of(&c.scopes.resource_spans, u32_of(at_resource)) {
            let inside = out.open(2);
            scope(c, at_scope, out);
            for row in rows_of(&c.spans.scope_spans, u32_of(at_scope)) {
                let at = out.open(2);
                span(c, row, out);
                out.close_tight(at);
            }
            out.close(inside);
        }
        out.close(around);
    }
}

/// The rows that belong to an owner; owners ascend.
fn rows_of(owners: &[u32], owner: u32) -> Range<usize> {
    owners.partition_point(|&of| of < owner)..owners.partition_point(|&of| of <= owner)
}

fn odd_of(odd: &[OddId], row: usize) -> &[OddId] {
    let range: Range<usize> =
        odd.partition_point(|id| (id.row as usize) < row)..odd.partition_point(|id| id.row as usize <= row);
    &odd[range]
}

fn text(c: &Columns, out: &mut Out, number: u32, value: TextRef) {
    named(out, number, value.of(&c.arena));
}

fn named(out: &mut Out, number: u32, value: &[u8]) {
    if !value.is_empty() {
        out.bytes(number, value);
    }
}

fn integer(out: &mut Out, number: u32, value: u64) {
    if value != 0 {
        out.number(number, value);
    }
}

fn attributes(c: &Columns, out: &mut Out, number: u32, table: &Attributes, owner: usize) {
    for row in table.of(owner) {
        let at = out.open(number);
        named(out, 1, c.keys.bytes(table.key[row]));
        if table.kind[row] != ValueKind::Absent {
            let inner = out.open(2);
            value(c, out, table, row);
            out.close_tight(inner);
        }
        if let Ok(found) = table.key_strindex.binary_search_by_key(&u32_of(row), |(of, _)| *of) {
            integer(out, 3, i64::from(table.key_strindex[found].1).cast_unsigned());
        }
        out.close_tight(at);
    }
}

fn value(c: &Columns, out: &mut Out, table: &Attributes, row: usize) {
    let (kind, bits) = (table.kind[row], table.value[row]);
    match (kind, table.text_ref(row)) {
        (_, Some(found)) => out.bytes(kind as u32, found.of(&c.arena)),
        (ValueKind::Double, _) => out.fixed64(kind as u32, bits),
        (ValueKind::Empty | ValueKind::Absent, _) => {}
        _ => out.number(kind as u32, bits),
    }
}
