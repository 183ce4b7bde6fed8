//! Spans that name their sender one by one → one `ResourceSpans` for each sender, one `ScopeSpans` for each scope.

use std::collections::HashMap;

use super::scalars::Scalar;
use crate::decode::fields::{request, resource_spans, scope_spans, span};
use crate::decode::write::Out;
use crate::numbers::u32_of;

/// Who made a span, as far as its JSON says.
#[derive(Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sender {
    /// Key or wire bytes of its resource.
    pub(super) resource: Vec<u8>,
    pub(super) scope: Scope,
}

/// The instrumentation scope, as OpenTelemetry's translators write it into tags.
#[derive(Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    pub(super) name: String,
    pub(super) version: String,
}

impl Scope {
    /// Takes a tag if it is about the scope.
    pub(super) fn takes(&mut self, key: &str, value: &str) -> bool {
        match key {
            "otel.scope.name" | "otel.library.name" => self.name = value.to_owned(),
            "otel.scope.version" | "otel.library.version" => self.version = value.to_owned(),
            _ => return false,
        }
        true
    }
}

/// Spans in wire bytes, by sender.
#[derive(Default)]
pub(super) struct Senders {
    spans: Vec<u8>,
    /// Where each ends in `spans`, and its sender.
    ends: Vec<(usize, u32)>,
    numbers: HashMap<Sender, u32>,
}

impl Senders {
    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        self.spans.len() + size_of::<(usize, u32)>() * self.ends.len()
    }

    /// Adds a span: its fields.
    pub(super) fn add(&mut self, sender: &Sender, span: &[u8]) {
        let next = u32_of(self.numbers.len());
        let number = match self.numbers.get(sender) {
            Some(number) => *number,
            None => *self.numbers.entry(sender.clone()).or_insert(next),
        };
        self.spans.extend_from_slice(span);
        self.ends.push((self.spans.len(), number));
    }

    /// Writes all. `resource` gives the wire bytes of a sender's resource.
    pub(super) fn write<'a>(&'a self, out: &mut Out, resource: impl Fn(&'a [u8]) -> &'a [u8]) {
        let mut senders: Vec<(&Sender, u32)> =
            self.numbers.iter().map(|(sender, at)| (sender, *at)).collect();
        senders.sort_unstable_by_key(|(_, number)| *number);
        let mut order: Vec<usize> = (0..self.ends.len()).collect();
        order.sort_by_key(|&at| self.ends[at].1);
        let mut rest = order.as_slice();
        for (sender, number) in senders {
            let count = rest.partition_point(|&at| self.ends[at].1 == number);
            let (own, others) = rest.split_at(count);
            rest = others;
            let spans = out.open(request::RESOURCE_SPANS.0);
            out.bytes(resource_spans::RESOURCE.0, resource(&sender.resource));
            let scope_spans = out.open(resource_spans::SCOPE_SPANS.0);
            if sender.scope != Scope::default() {
                let scope = out.open(scope_spans::SCOPE.0);
                out.text(1, &sender.scope.name);
                out.text(2, &sender.scope.version);
                out.close(scope);
            }
            for &at in own {
                let start = at.checked_sub(1).map_or(0, |before| self.ends[before].0);
                out.bytes(scope_spans::SPANS.0, &self.spans[start..self.ends[at].0]);
            }
            out.close(scope_spans);
            out.close(spans);
        }
    }
}

/// Writes an attribute with a value of its own kind.
pub(super) fn attribute(out: &mut Out, number: u32, key: &str, value: &Scalar<'_>) {
    let at = out.open(number);
    out.bytes(1, key.as_bytes());
    let inner = out.open(2);
    match value {
        Scalar::Text(text) => out.bytes(1, text.as_bytes()),
        Scalar::Bool(value) => out.number(2, u64::from(*value)),
        Scalar::Unsigned(value) => match i64::try_from(*value) {
            Ok(value) => out.number(3, value.cast_unsigned()),
            Err(_) => out.bytes(1, value.to_string().as_bytes()),
        },
        Scalar::Signed(value) => out.number(3, value.cast_unsigned()),
        Scalar::Float(value) => out.fixed64(4, value.to_bits()),
    }
    out.close(inner);
    out.close(at);
}

/// Writes an attribute of bytes.
pub(super) fn bytes_attribute(out: &mut Out, number: u32, key: &str, value: &[u8]) {
    let at = out.open(number);
    out.bytes(1, key.as_bytes());
    let inner = out.open(2);
    out.bytes(7, value);
    out.close(inner);
    out.close(at);
}

/// Writes a status, if there is one.
pub(super) fn status(out: &mut Out, code: u64, message: &str) {
    if code != 0 || !message.is_empty() {
        let at = out.open(span::STATUS.0);
        out.text(2, message);
        out.number(3, code);
        out.close(at);
    }
}

/// The number of a kind of span, in words of any case; 1 (internal) for others.
pub(super) fn kind(name: &str) -> u64 {
    const NAMES: [&str; 5] = ["internal", "server", "client", "producer", "consumer"];
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(0) as u64 + 1
}

/// The number of a status, as OpenTelemetry's translators write it into a tag.
pub(super) fn status_code(name: &str) -> u64 {
    match name {
        "OK" => 1,
        "ERROR" => 2,
        _ => 0,
    }
}
