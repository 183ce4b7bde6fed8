//! Search for traces, over the columns of many takes of a stream. A span fits as Jaeger's stores say:
//! all conditions by the same span.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashSet};

use crate::arrow::value_text;
use crate::columns::{Attributes, Columns, present, run};
use crate::numbers::u32_of;

/// `SpanStatus` of what failed.
const ERROR: i32 = 2;
/// How many candidates for a trace of an answer are kept until they are sorted.
const FOUND_PER_TRACE: usize = 16;

/// Conditions on a span; what is not set is no condition.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `service.name` of its resource.
    pub service: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// `SpanKind`.
    pub kind: Option<i32>,
    /// Whether its status says that it failed.
    pub error: Option<bool>,
    /// From the first ns to the last one, both included.
    pub start: (u64, u64),
    /// In ns, both included.
    pub duration: (u64, u64),
    /// Keys with their values as text: of the span, its scope, its resource, or one of its events.
    pub attributes: Vec<(String, String)>,
}

/// An attribute that is wanted, in the numbers of one take.
struct Pair<'a> {
    key: u32,
    value: &'a str,
    /// Resources and scopes that have it.
    resources: Vec<bool>,
    scopes: Vec<bool>,
}

/// The same wishes in the numbers of one take.
struct Query<'a> {
    c: &'a Columns,
    wanted: &'a Wanted,
    name: Option<u32>,
    /// Scopes whose resource is of the service.
    scopes: Vec<bool>,
    pairs: Vec<Pair<'a>>,
}

fn has(c: &Columns, table: &Attributes, owner: usize, key: u32, value: &str) -> bool {
    table.find(owner, key).is_some_and(|row| match table.string(owner, Some(key)) {
        Some(text) => c.text(text) == value,
        None => value_text(c, table, row).as_deref() == Some(value),
    })
}

impl<'a> Query<'a> {
    /// None if no span can fit.
    fn new(c: &'a Columns, wanted: &'a Wanted) -> Option<Self> {
        let name = match &wanted.name {
            None => None,
            Some(name) => Some(c.names.find(name.as_bytes())?),
        };
        let is_service = |service| wanted.service.as_deref().is_none_or(|wanted| service == wanted);
        let resources: Vec<bool> = services(c).into_iter().map(is_service).collect();
        let scopes: Vec<bool> = c.scopes.resource_spans.iter().map(|&row| resources[row as usize]).collect();
        let pair = |(key, value): &'a (String, String)| {
            let key = c.keys.find(key.as_bytes())?;
            let of =
                |table: &Attributes, len: usize| (0..len).map(|row| has(c, table, row, key, value)).collect();
            let resources = of(&c.resource_attributes, resources.len());
            Some(Pair { key, value, resources, scopes: of(&c.scope_attributes, scopes.len()) })
        };
        let pairs = wanted.attributes.iter().map(pair).collect::<Option<Vec<_>>>()?;
        scopes.contains(&true).then_some(Self { c, wanted, name, scopes, pairs })
    }

    /// Adds the traces of the spans that fit and are not too old. The last spans come first: they are the latest ones
    /// mostly, and make the others too old.
    fn add(&self, limit: usize, found: &mut Vec<Latest>) {
        let s = &self.c.spans;
        let most = found.len() + FOUND_PER_TRACE.saturating_mul(limit.max(1));
        let mut floor = floor(found, limit);
        for row in (0..self.c.len()).rev() {
            let (start, trace) = (s.start_time_unix_nano[row], s.trace_id[row]);
            if start < floor || !self.fits(row) {
                continue;
            }
            match found.last_mut() {
                // Spans of a trace mostly stand together.
                Some((latest, last)) if *last == trace => *latest = start.max(*latest),
                _ => found.push((start, trace)),
            }
            if found.len() > most {
                *found = latest(std::mem::take(found), limit);
                floor = self::floor(found, limit);
            }
        }
    }

    fn fits(&self, row: usize) -> bool {
        let (s, wanted) = (&self.c.spans, self.wanted);
        let start = s.start_time_unix_nano[row];
        let duration = || s.end_time_unix_nano[row].saturating_sub(start);
        let within = |value: u64, (from, to): (u64, u64)| from <= value && value <= to;
        within(start, wanted.start)
            && self.name.is_none_or(|name| s.name[row] == name)
            && self.scopes[s.scope_spans[row] as usize]
            && within(duration(), wanted.duration)
            && wanted.kind.is_none_or(|kind| s.kind[row] == kind)
            && wanted.error.is_none_or(|error| error == (s.status_code[row] == ERROR))
            && s.present[row] & present::TRACE_ID != 0
            && self.pairs.iter().all(|pair| self.has(row, pair))
    }

    fn has(&self, row: usize, pair: &Pair<'_>) -> bool {
        let (c, scope) = (self.c, self.c.spans.scope_spans[row] as usize);
        let here = |table: &Attributes, owner: usize| has(c, table, owner, pair.key, pair.value);
        here(&c.span_attributes, row)
            || pair.scopes[scope]
            || pair.resources[c.scopes.resource_spans[scope] as usize]
            || run(&c.spans.events_end, row).any(|event| here(&c.event_attributes, event))
    }
}

/// A trace with the latest start of its spans that fit.
type Latest = (u64, [u8; 16]);

/// The traces with a span that fits, the one with the latest such span first; at most N.
///
/// Takes come latest first, and the last ones are not looked at once they are too old to matter:
///
/// ```text
///     take 3 |----------|           the latest span of each take: 3, 2, 1
///     take 2        |-------|
///     take 1   |---|        ▲ a trace that is not among the `limit` latest so far
/// ```
pub fn traces(takes: &[&Columns], wanted: &Wanted, limit: usize) -> Vec<[u8; 16]> {
    let latest_of = |c: &&Columns| c.spans.start_time_unix_nano.iter().copied().max().unwrap_or(0);
    let mut takes: Vec<(u64, &Columns)> = takes.iter().map(|c| (latest_of(c), *c)).collect();
    takes.sort_by_key(|&(at, _)| std::cmp::Reverse(at));
    let mut found: Vec<Latest> = Vec::new();
    for (at, c) in takes {
        if at < floor(&found, limit) {
            break;
        }
        if let Some(query) = Query::new(c, wanted) {
            query.add(limit, &mut found);
            found = latest(found, limit);
        }
    }
    found.into_iter().map(|(_, trace)| trace).collect()
}

/// What began before cannot be among the latest.
fn floor(found: &[Latest], limit: usize) -> u64 {
    if found.len() < limit { 0 } else { found.last().map_or(0, |&(start, _)| start) }
}

/// The first of each trace, sorted only as far as is asked for.
fn latest(mut found: Vec<Latest>, limit: usize) -> Vec<Latest> {
    let mut chosen = Vec::new();
    let mut seen = HashSet::default();
    let mut rest = found.as_mut_slice();
    while chosen.len() < limit && !rest.is_empty() {
        let some = limit.saturating_mul(4).clamp(1, rest.len());
        if some < rest.len() {
            rest.select_nth_unstable_by(some, |a, b| b.cmp(a));
        }
        let (first, others) = rest.split_at_mut(some);
        first.sort_unstable_by(|a, b| b.cmp(a));
        chosen.extend(first.iter().filter(|(_, trace)| seen.insert(*trace)));
        rest = others;
    }
    chosen.truncate(limit);
    chosen
}

/// The rows of some traces, in each take: for each trace, (take, row) in the order in which they came.
pub fn rows(takes: &[&Columns], ids: &[[u8; 16]]) -> Vec<Vec<(u32, u32)>> {
    let mut found = vec![Vec::new(); ids.len()];
    let place: HashMap<[u8; 16], usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    // Most spans are of other traces, which shows in the first two bytes.
    let start = |id: &[u8; 16]| usize::from(u16::from_le_bytes([id[0], id[1]]));
    let mut starts = vec![false; 1 << 16];
    for id in ids {
        starts[start(id)] = true;
    }
    for (take, c) in takes.iter().enumerate() {
        let s = &c.spans;
        let may_be =
            |&row: &usize| starts[start(&s.trace_id[row])] && s.present[row] & present::TRACE_ID != 0;
        for row in (0..c.len()).filter(may_be) {
            if let Some(&at) = place.get(&s.trace_id[row]) {
                found[at].push((u32_of(take), u32_of(row)));
            }
        }
    }
    found
}

/// By resource.
fn services(c: &Columns) -> Vec<&str> {
    let key = c.keys.find(b"service.name");
    let service = |row| c.resource_attributes.string(row, key).map_or("", |text| c.text(text));
    (0..c.resources.batch.len()).map(service).collect()
}

/// Every (service, span name, kind) that there is.
pub fn operations(takes: &[&Columns]) -> BTreeSet<(String, String, i32)> {
    let mut found = BTreeSet::new();
    for c in takes {
        let services = services(c);
        let s = &c.spans;
        let mut seen = HashSet::default();
        for row in 0..c.len() {
            let key = (s.scope_spans[row], s.name[row], s.kind[row]);
            if seen.insert(key) {
                let service = services[c.resource_of(row)].to_owned();
                found.insert((service, c.names.text(key.1).to_owned(), key.2));
            }
        }
    }
    found
}

/// How often a span of one service has a child of another one, or of its own: (parent, child) → children that began
/// between two times, both included.
pub fn dependencies(takes: &[&Columns], start: (u64, u64)) -> BTreeMap<(String, String), u64> {
    let mut names: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, u32> = HashMap::default();
    let mut service_of: HashMap<([u8; 16], [u8; 8]), u32> = HashMap::default();
    let mut children = Vec::new();
    for c in takes {
        let of_resource: Vec<u32> = services(c)
            .into_iter()
            .map(|name| {
                *numbers.entry(name).or_insert_with(|| {
                    names.push(name);
                    u32_of(names.len()) - 1
                })
            })
            .collect();
        let s = &c.spans;
        for row in 0..c.len() {
            let (trace, service) = (s.trace_id[row], of_resource[c.resource_of(row)]);
            let known = service_of.insert((trace, s.span_id[row]), service);
            let began = start.0 <= s.start_time_unix_nano[row] && s.start_time_unix_nano[row] <= start.1;
            if known.is_none() && began && s.present[row] & present::PARENT != 0 {
                children.push((trace, s.parent_span_id[row], service));
            }
        }
    }
    let mut counts: HashMap<(u32, u32), u64> = HashMap::default();
    for (trace, parent, child) in children {
        if let Some(&parent) = service_of.get(&(trace, parent)) {
            *counts.entry((parent, child)).or_default() += 1;
        }
    }
    let named = |at: u32| names[at as usize].to_owned();
    counts.into_iter().map(|((parent, child), count)| ((named(parent), named(child)), count)).collect()
}
