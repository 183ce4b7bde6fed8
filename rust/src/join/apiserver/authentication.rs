//! The `authentication` filter, which every version puts elsewhere.

use std::ops::Range;

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::repair::{Change, Repair, RepairKind};
use crate::threads;

/// Requests for each thread at least.
const PART_REQUESTS: usize = 256;

/// 1.26 to 1.32: the filter ended, and what it called still hangs on it.
///
/// ```text
/// request        |===============|          request        |===============|
/// authentication  |=|                  →    authentication  |=|
///   Create            |========|            Create              |========|
/// ```
pub fn move_children(b: &mut Builder<'_>, below_filters: &[u32]) {
    let left = below_filters.iter().filter_map(|&row| {
        let filter = b.parent[row as usize];
        let request = b.parent[filter as usize];
        let left = b.ended(filter) <= b.start[row as usize] && request != NONE && b.is_request(request);
        left.then_some((row, request))
    });
    // All moves are found before the first is made, so that their order does not matter.
    for (row, request) in left.collect::<Vec<_>>() {
        b.reparent(RepairKind::AuthenticationChildren, row, request);
    }
}

/// 1.34 and later, privileged callers: the `authentication` span covers the request and is its parent.
pub fn take_preludes(b: &mut Builder<'_>, requests: &[u32]) {
    let above = |row: u32| b.parent[row as usize];
    let is_below_filter = |&row: &u32| above(row) != NONE && b.is_authentication(above(row));
    let look = |part: Range<usize>| {
        let candidates = requests[part].iter().copied().filter(is_below_filter);
        let mut inside = Inside::default();
        let mut is_outer = |filter: u32| above(filter) == NONE || !inside.a_request(b, filter);
        candidates.map(|row| (above(row), row)).filter(|&(filter, _)| is_outer(filter)).collect()
    };
    let preludes: Vec<(u32, u32)> =
        threads::together(threads::split(requests.len(), b.threads, PART_REQUESTS, look));
    for &(_, row) in &preludes {
        b.reparent(RepairKind::Prelude, row, NONE);
    }
    b.preludes.extend(preludes);
}

/// Asks whether spans are below a request, walking each edge once however often it is asked.
#[derive(Default)]
struct Inside {
    known: hashbrown::HashMap<u32, bool, foldhash::fast::RandomState>,
}

impl Inside {
    fn a_request(&mut self, b: &Builder<'_>, row: u32) -> bool {
        let (mut at, mut path) = (row, Vec::new());
        let answer = loop {
            if let Some(&known) = self.known.get(&at) {
                break known;
            }
            path.push(at);
            match b.parent[at as usize] {
                NONE => break false,
                above if b.is_request(above) => break true,
                above => at = above,
            }
        };
        self.known.extend(path.into_iter().map(|row| (row, answer)));
        answer
    }
}

/// How far the two halves of a split request may be apart, in ns. They are frames of one call: in a recording of 1.36
/// with 712 pairs known by their ids the middle one is 11 µs apart, and 97 of 100 less than this. With a bound of 1 ms
/// other requests come between, and fewer of the 712 can be told: 507 instead of 686, none of them wrong.
pub const APART_NS: i64 = 50_000;

/// So many neighbours in time are looked at; where there are more, none can be told from the others.
const CANDIDATES: usize = 64;

/// Where a request can meet an `authentication` span of another trace.
#[derive(Clone, Copy)]
struct Meeting {
    process: u32,
    /// Instant, ns since the epoch.
    at: i64,
    row: u32,
    /// 1.34 and later: the filter contains the request.
    nested: bool,
}

/// 1.33 and later, ordinary callers: `authentication` is in a trace of its own. It is joined to a request of its
/// process only if they fit each other, and nothing else fits either.
///
/// ```text
/// 1.33  authentication |==|                     1.34  authentication |==============|
///       request             |=| …                     request           |==========|
///                         ^^ at most APART_NS                                       ^ at most APART_NS
/// ```
///
/// `requests` are those without a prelude, with whether they are of the later shape.
pub fn join_split(b: &mut Builder<'_>, requests: &[(u32, bool)]) {
    let pairs = split_pairs(b, requests);
    b.repairs.extend(pairs.iter().map(|&(filter, row)| Repair {
        kind: RepairKind::SplitAuthentication,
        row,
        change: Change::Prelude(filter),
    }));
    b.preludes.extend(pairs);
}

fn split_pairs(b: &Builder<'_>, requests: &[(u32, bool)]) -> Vec<(u32, u32)> {
    let Builder { start, end, .. } = b;
    let sorted = |rows: Vec<(u32, bool)>| {
        let usable = rows.into_iter().filter(|&(row, _)| b.has_usable_times(row));
        let met_at = |row: u32, nested: bool| if nested { end[row as usize] } else { start[row as usize] };
        let meeting =
            |(row, nested)| Meeting { process: b.process(row), at: met_at(row, nested), row, nested };
        let mut meetings: Vec<Meeting> = usable.map(meeting).collect();
        meetings.sort_unstable_by_key(|m| (m.process, m.at, m.row));
        meetings
    };
    let filters = b.lone_filters.iter().map(|&row| (row, true)).collect();
    let sorted = threads::each(vec![filters, requests.to_vec()], b.threads, sorted);
    let (filters, requests) = (&sorted[0], &sorted[1]);
    let fits = |filter: &Meeting, request: &Meeting| {
        let gap = if request.nested { filter.at - request.at } else { request.at - filter.at };
        let starts = |m: &Meeting| start[m.row as usize];
        (0..=APART_NS).contains(&gap) && (!request.nested || starts(filter) <= starts(request))
    };
    let pair = |filter: &Meeting| {
        let request = only(requests, filter, |request| fits(filter, request))?;
        let back = only(filters, request, |filter| fits(filter, request))?;
        (back.row == filter.row).then_some((filter.row, request.row))
    };
    let pairs = |part: Range<usize>| filters[part].iter().filter_map(pair).collect();
    threads::together(threads::split(filters.len(), b.threads, PART_REQUESTS, pairs))
}

/// The one near `to` in the same process that fits; none if several do, or too many are near.
fn only<'m>(all: &'m [Meeting], to: &Meeting, fits: impl Fn(&Meeting) -> bool) -> Option<&'m Meeting> {
    let first = all.partition_point(|m| (m.process, m.at) < (to.process, to.at - APART_NS));
    let near = all[first..].iter().take_while(|m| m.process == to.process && m.at <= to.at + APART_NS);
    let mut found = None;
    for (looked, meeting) in near.enumerate() {
        if looked == CANDIDATES || fits(meeting) && found.replace(meeting).is_some() {
            return None;
        }
    }
    found
}
