//! What clients do over several requests.
//!
//! ```text
//! list, then get    list |====|
//!                   gets        |=| |=|  |=| |=|  |=|            |=|   in its namespace, of different objects, up to a
//!                                                                      pause that is much longer than the others
//! informers         list |====|
//!                   watch         |======= …                             the same client, of the same resource, soon
//! ```

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::join::Joined;
use crate::numbers::u32_of;

/// Requests by index, as clients made them.
struct Asked<'a>(&'a Joined);

impl Asked<'_> {
    fn start(&self, request: u32) -> i64 {
        self.0.start[self.0.requests.root[request as usize] as usize]
    }

    fn end(&self, request: u32) -> i64 {
        self.start(request) + self.0.took_ns(self.0.requests.root[request as usize]).cast_signed()
    }

    fn is(&self, verb: Option<u32>, request: u32) -> bool {
        Some(self.0.requests.verb[request as usize]) == verb
    }

    fn verb(&self, verb: &str) -> Option<u32> {
        self.0.requests.words.find(verb.as_bytes())
    }

    /// Client, instance of the apiserver, API group, resource, namespace.
    fn about(&self, request: u32) -> (&str, Option<&str>, [u32; 3]) {
        let (Joined { columns, requests, processes, .. }, at) = (self.0, request as usize);
        let process = processes.of(columns, requests.root[at] as usize) as usize;
        let words = [requests.api_group[at], requests.resource[at], requests.namespace[at]];
        (columns.text(requests.user_agent[at]), processes.names[process].1.as_deref(), words)
    }
}

/// Of gets and lists by start, the gets that follow a list one by one, at least `fewest`, and the number of those lists.
/// A pause `pause` times as long as the median one ends a run.
pub fn gets_after_lists(joined: &Joined, reads: &[u32], fewest: usize, pause: i64) -> (Vec<u32>, usize) {
    let asked = Asked(joined);
    let is_list = asked.verb("list");
    let (mut found, mut lists) = (Vec::new(), 0);
    let mut rest = reads;
    while let Some(at) = rest.iter().position(|&request| asked.is(is_list, request)) {
        let (list, after) = (rest[at], &rest[at + 1..]);
        let many = after.iter().position(|&request| asked.is(is_list, request)).unwrap_or(after.len());
        let gets = run_after(&asked, list, &after[..many], (fewest, pause));
        lists += usize::from(!gets.is_empty());
        found.extend(gets);
        rest = &after[many..];
    }
    (found, lists)
}

/// The gets of a run: after the list's end, in its namespace, of different objects, without a long pause.
fn run_after(asked: &Asked, list: u32, gets: &[u32], (fewest, pause): (usize, i64)) -> Vec<u32> {
    if gets.len() < fewest {
        return Vec::new();
    }
    let requests = &asked.0.requests;
    let namespace = |request: u32| requests.namespace[request as usize];
    let object = |request: u32| (namespace(request), requests.object_name[request as usize]);
    let (end, of_all) = (asked.end(list), namespace(list) == 0);
    let mut seen: HashSet<_, RandomState> = HashSet::default();
    let follows = |&request: &u32| {
        let is_meant = requests.subresource[request as usize] == 0 && asked.start(request) >= end;
        is_meant && (of_all || namespace(request) == namespace(list))
    };
    let gets = gets.iter().copied().filter(follows);
    let mut run: Vec<u32> = gets.take_while(|&request| seen.insert(object(request))).collect();
    if run.len() < fewest.max(2) {
        return Vec::new();
    }
    let gap = |pair: &[u32]| asked.start(pair[1]) - asked.start(pair[0]);
    let mut gaps: Vec<i64> = run.windows(2).map(gap).collect();
    let middle = gaps.len().div_ceil(2) - 1;
    let most = gaps.select_nth_unstable(middle).1.saturating_mul(pause);
    if asked.start(run[0]) - end > most {
        return Vec::new();
    }
    let length = run.windows(2).position(|pair| gap(pair) > most).map_or(run.len(), |at| at + 1);
    run.truncate(if length < fewest { 0 } else { length });
    run
}

/// Of these requests, the lists after which the same client watches the same resource, less than `within` ns after its
/// end. `all`: requests by start, among them the watches.
pub fn lists_before_watches(joined: &Joined, all: &[usize], rows: &[u32], within: i64) -> Vec<u32> {
    let asked = Asked(joined);
    let (is_list, is_watch) = (asked.verb("list"), asked.verb("watch"));
    let mut watches: HashMap<_, Vec<i64>, RandomState> = HashMap::default();
    for request in all.iter().map(|&request| u32_of(request)) {
        if asked.is(is_watch, request) {
            watches.entry(asked.about(request)).or_default().push(asked.start(request));
        }
    }
    let is_watched = |&request: &u32| {
        let Some(begins) = watches.get(&asked.about(request)) else { return false };
        let end = asked.end(request);
        let next = begins.get(begins.partition_point(|&begin| begin < end));
        next.is_some_and(|&begin| begin - end < within)
    };
    rows.iter().copied().filter(|&request| asked.is(is_list, request)).filter(is_watched).collect()
}

/// Of these requests, by start, those that begin when none has been open for that time.
pub fn after_silence(joined: &Joined, rows: &[u32], silent: i64) -> Vec<u32> {
    let asked = Asked(joined);
    let mut last = rows.first().map_or(0, |&first| asked.start(first));
    let mut is_first = |&request: &u32| {
        let is_first = asked.start(request) - last >= silent;
        last = last.max(asked.end(request));
        is_first
    };
    rows.iter().copied().filter(|request| is_first(request)).collect()
}

/// From when to when some requests lasted, in ns since the epoch; `None` of none.
pub fn lasted(joined: &Joined, rows: &[usize]) -> Option<(i64, i64)> {
    let asked = Asked(joined);
    let times = rows.iter().map(|&row| u32_of(row));
    let times = times.map(|request| (asked.start(request), asked.end(request)));
    times.reduce(|(first, last), (start, end)| (first.min(start), last.max(end)))
}
