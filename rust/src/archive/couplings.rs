//! Traces whose results depend on each other, found in any pieces of all spans; a trace may be in several pieces.
//!
//! * Span links: a link can be where an orphan belongs, who called a request, or what caused it.
//! * Halves of split requests: an `authentication` span and a request of its process within 50 µs may be one. Whether
//!   they are depends on every other one that near, so all of them are joined together:
//!
//! ```text
//! process a   F··R········F     R  R        F `authentication`, R start or end of a request
//!             └──┴────────┘                 three traces, one group: each F with the Rs within 50 µs
//! ```
//!
//! Too many are coupled rather than too few: any HTTP server counts as an API server, and any `authentication` span
//! without a parent as one half.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::columns::Columns;
use crate::columns::processes::Processes;
use crate::join::apiserver::authentication::APART_NS;
use crate::join::apiservers::Apiservers;
use crate::join::known_names::KnownNames;
use crate::join::times::saturated;
use crate::numbers::u32_of;

/// A trace id.
pub type TraceId = [u8; 16];

/// A process, as described in its spans: service, instance, the rest.
pub type Process = (String, Option<String>, String);

/// Ends can be a µs later after a repair.
const WITHIN_NS: i64 = APART_NS + 1_000;

/// Where halves can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meeting {
    /// Instant, ns since the epoch.
    pub at: i64,
    /// An `authentication` span, not a request.
    pub is_filter: bool,
    /// Whose.
    pub trace: TraceId,
}

/// What couples traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Couplings {
    /// (trace, trace that its links name), ascending. A trace that links to itself is only said to be there.
    pub links: Vec<(TraceId, TraceId)>,
    /// By process.
    pub meetings: BTreeMap<Process, Vec<Meeting>>,
}

impl Couplings {
    /// What these spans say. With `of`, the targets of its links that are here are said to be.
    pub fn new(c: &Columns, of: Option<&Self>) -> Self {
        let services = (0..c.resources.batch.len()).filter_map(|row| c.resource_text(row, "service.name"));
        let names = KnownNames::new(c, &Apiservers::named(services.map(str::to_owned)));
        let processes = Processes::new(c);
        let mut meetings: Vec<Vec<Meeting>> = vec![Vec::new(); processes.names.len()];
        let mut found = Self::default();
        let s = &c.spans;
        for row in 0..c.len() {
            let trace = s.trace_id[row];
            let links = c.links_of(row).map(|link| (trace, c.links.trace_id[link]));
            found.links.extend(links.filter(|(from, to)| from != to));
            let (start, end) = (saturated(s.start_time_unix_nano[row]), saturated(s.end_time_unix_nano[row]));
            let here = &mut meetings[processes.of(c, row) as usize];
            if names.is_request(c, row) {
                here.extend([start, end].map(|at| Meeting { at, is_filter: false, trace }));
            } else if s.parent_span_id[row] == [0; 8] && names.is_authentication(c, row) {
                here.push(Meeting { at: end, is_filter: true, trace });
            }
        }
        if let Some(of) = of {
            let targets: HashSet<TraceId, RandomState> = of.links.iter().map(|&(_, to)| to).collect();
            found.links.extend(s.trace_id.iter().filter(|id| targets.contains(*id)).map(|&id| (id, id)));
        }
        for (process, meetings) in meetings.into_iter().enumerate() {
            if !meetings.is_empty() {
                found.meetings.entry(processes.described(u32_of(process))).or_default().extend(meetings);
            }
        }
        found.tidy();
        found
    }

    /// Adds those of another piece.
    pub fn merge(&mut self, other: &Self) {
        self.links.extend_from_slice(&other.links);
        for (process, meetings) in &other.meetings {
            self.meetings.entry(process.clone()).or_default().extend_from_slice(meetings);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.links.sort_unstable();
        self.links.dedup();
        for meetings in self.meetings.values_mut() {
            meetings.sort_unstable();
            meetings.dedup();
        }
    }

    /// Calls `meet` with places of meetings that are coupled, the filter first: enough of them to connect all that are.
    fn each_near(meetings: &[Meeting], mut meet: impl FnMut(&Meeting, &Meeting)) {
        let requests: Vec<&Meeting> = meetings.iter().filter(|meeting| !meeting.is_filter).collect();
        let (mut low, mut next) = (0, 0);
        for filter in meetings.iter().filter(|meeting| meeting.is_filter) {
            while requests.get(low).is_some_and(|request| request.at < filter.at - WITHIN_NS) {
                low += 1;
            }
            // Those up to `next` are connected with each other already, if the first of them is met again.
            if low < next {
                meet(filter, requests[low]);
            }
            next = next.max(low);
            while requests.get(next).is_some_and(|request| request.at <= filter.at + WITHIN_NS) {
                meet(filter, requests[next]);
                next += 1;
            }
        }
    }

    /// Trace → the least trace of its group, for those that are coupled with another; ascending.
    pub fn groups(&self) -> Vec<(TraceId, TraceId)> {
        let mut sets = Sets::default();
        self.links.iter().for_each(|&(from, to)| sets.unite(from, to));
        for meetings in self.meetings.values() {
            Self::each_near(meetings, |filter, request| sets.unite(filter.trace, request.trace));
        }
        sets.groups()
    }

    /// How many couplings go from one part to another. Of the parts these are what each of them says.
    pub fn crossings(parts: &[&Self]) -> u64 {
        let mut part_of: HashMap<TraceId, usize, RandomState> = HashMap::default();
        let mut crossings = 0;
        let mut met: BTreeMap<&Process, Vec<Meeting>> = BTreeMap::new();
        for (part, couplings) in parts.iter().enumerate() {
            let meetings = couplings.meetings.values().flatten().map(|meeting| meeting.trace);
            for trace in couplings.links.iter().map(|&(from, _)| from).chain(meetings) {
                crossings += u64::from(*part_of.entry(trace).or_insert(part) != part);
            }
            for (process, meetings) in &couplings.meetings {
                met.entry(process).or_default().extend_from_slice(meetings);
            }
        }
        let crosses = |a: &TraceId, b: &TraceId| match (part_of.get(a), part_of.get(b)) {
            (Some(a), Some(b)) => u64::from(a != b),
            _ => 0,
        };
        let links = parts.iter().flat_map(|part| &part.links);
        crossings += links.map(|(from, to)| crosses(from, to)).sum::<u64>();
        for meetings in met.values_mut() {
            meetings.sort_unstable();
            Self::each_near(meetings, |filter, request| crossings += crosses(&filter.trace, &request.trace));
        }
        crossings
    }
}

/// Disjoint sets of traces.
#[derive(Default)]
struct Sets {
    number: HashMap<TraceId, u32, RandomState>,
    traces: Vec<TraceId>,
    above: Vec<u32>,
}

impl Sets {
    fn number(&mut self, trace: TraceId) -> u32 {
        let next = u32_of(self.above.len());
        let number = *self.number.entry(trace).or_insert(next);
        if number == next {
            self.above.push(next);
            self.traces.push(trace);
        }
        number
    }

    fn top(&mut self, mut at: u32) -> u32 {
        while self.above[at as usize] != at {
            let above = self.above[self.above[at as usize] as usize];
            self.above[at as usize] = above;
            at = above;
        }
        at
    }

    /// The top of a set is its least trace.
    fn unite(&mut self, a: TraceId, b: TraceId) {
        let (a, b) = (self.number(a), self.number(b));
        let (a, b) = (self.top(a), self.top(b));
        let (least, other) = if self.traces[a as usize] <= self.traces[b as usize] { (a, b) } else { (b, a) };
        self.above[other as usize] = least;
    }

    fn groups(mut self) -> Vec<(TraceId, TraceId)> {
        let tops: Vec<u32> = (0..u32_of(self.above.len())).map(|at| self.top(at)).collect();
        let mut sizes = vec![0u32; tops.len()];
        for &top in &tops {
            sizes[top as usize] += 1;
        }
        let coupled = tops.iter().enumerate().filter(|&(_, &top)| sizes[top as usize] > 1);
        let mut groups: Vec<_> =
            coupled.map(|(at, &top)| (self.traces[at], self.traces[top as usize])).collect();
        groups.sort_unstable();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: i64, is_filter: bool, trace: u8) -> Meeting {
        Meeting { at, is_filter, trace: [trace; 16] }
    }

    fn met(meetings: &[Meeting]) -> Couplings {
        let process = ("apiserver".to_owned(), None, String::new());
        let mut found =
            Couplings { links: Vec::new(), meetings: BTreeMap::from([(process, meetings.to_vec())]) };
        found.tidy();
        found
    }

    fn named(groups: Vec<(TraceId, TraceId)>) -> Vec<(u8, u8)> {
        groups.into_iter().map(|(trace, group)| (trace[0], group[0])).collect()
    }

    #[test]
    fn halves_are_coupled_through_filters_and_not_through_requests() {
        // F1 R2 | R3 F4 R5 | R6 R7: requests alone couple nothing.
        let all = [
            at(0, true, 1),
            at(51_000, false, 2),
            at(150_000, false, 3),
            at(160_000, true, 4),
            at(211_000, false, 5),
            at(500_000, false, 6),
            at(500_001, false, 7),
        ];
        assert_eq!(vec![(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)], named(met(&all).groups()));
        // Two filters with a request between them are one group, and one more that only the second reaches.
        let chain = [at(0, true, 9), at(40_000, false, 8), at(80_000, true, 7), at(120_000, false, 6)];
        assert_eq!(vec![(6, 6), (7, 6), (8, 6), (9, 6)], named(met(&chain).groups()));
    }

    #[test]
    fn links_couple_and_pieces_may_come_in_any_order() {
        let mut first = met(&[at(0, true, 1)]);
        first.links.push(([5; 16], [6; 16]));
        let second = met(&[at(10, false, 2)]);
        let (mut one, mut other) = (first.clone(), second.clone());
        one.merge(&second);
        other.merge(&first);
        assert_eq!(one, other);
        assert_eq!(vec![(1, 1), (2, 1), (5, 5), (6, 5)], named(one.groups()));
    }

    #[test]
    fn a_coupling_between_parts_is_counted() {
        let (first, second) = (met(&[at(0, true, 1)]), met(&[at(10, false, 2)]));
        assert_eq!(1, Couplings::crossings(&[&first, &second]));
        let mut both = first.clone();
        both.merge(&second);
        assert_eq!(0, Couplings::crossings(&[&both]));
        assert_eq!(1, Couplings::crossings(&[&first, &first]));
        let (mut from, mut to) = (Couplings::default(), Couplings::default());
        from.links.push(([5; 16], [6; 16]));
        assert_eq!(0, Couplings::crossings(&[&from, &to]));
        to.links.push(([6; 16], [6; 16]));
        assert_eq!(1, Couplings::crossings(&[&from, &to]));
    }
}
