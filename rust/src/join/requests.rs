//! One row per API request: what Kubernetes calls it, from whichever attributes that version used.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use crate::columns::interner::{Interner, Sequence};
use crate::columns::{NONE, TextRef};
use crate::join::builder::Builder;
use crate::join::forest::Forest;
use crate::join::request_info;
use crate::join::request_keys::Keys;
use crate::join::role::Role;
use crate::join::span_kind::CLIENT;
use crate::numbers::u32_of;
use crate::threads;

/// Requests for each thread at least.
const PART_REQUESTS: usize = 256;

/// The requests, by (start, trace id, span id). Words are numbers into `words`; the empty word means none.
#[derive(Debug, Clone, Default)]
pub struct RequestColumns {
    /// The SERVER span.
    pub root: Vec<u32>,
    /// The `authentication` span above it, or [`NONE`].
    pub prelude: Vec<u32>,
    /// The request that this one happened in, or [`NONE`].
    pub outer: Vec<u32>,
    /// The request whose tree holds the span that a link of this one names, or [`NONE`].
    pub linked_from: Vec<u32>,
    /// The CLIENT span of its caller, outside requests: its parent, or else what a link names; or [`NONE`].
    pub caller: Vec<u32>,
    /// How many requests it is inside.
    pub level: Vec<u32>,
    /// The outermost request of its tree, which may be itself.
    outermost: Vec<u32>,
    /// Verbs, groups, resources, namespaces, names.
    pub words: Interner,
    /// Kubernetes verb.
    pub verb: Vec<u32>,
    /// API group.
    pub api_group: Vec<u32>,
    /// API version.
    pub api_version: Vec<u32>,
    /// Plural resource name; none for a non-resource request.
    pub resource: Vec<u32>,
    /// Subresource.
    pub subresource: Vec<u32>,
    /// Namespace.
    pub namespace: Vec<u32>,
    /// Object name.
    pub object_name: Vec<u32>,
    /// HTTP method.
    pub http_method: Vec<u32>,
    /// HTTP status code, 0 when the span carries none.
    pub http_status: Vec<i64>,
    /// Request URI.
    pub target: Vec<TextRef>,
    /// User agent.
    pub user_agent: Vec<TextRef>,
    /// It stays open by its nature: watch, exec, attach, port forward, proxy, log, and whatever became a stream.
    pub long_running: Vec<bool>,
    /// Row → the innermost request that it is in, or [`NONE`].
    pub of_row: Vec<u32>,
}

/// What is below a request, requests inside it left out.
#[derive(Clone, Copy)]
struct Below<'a> {
    b: &'a Builder<'a>,
    root: u32,
}

impl Below<'_> {
    /// The first span of its handler.
    fn handler(self) -> Option<u32> {
        self.find(|row| self.b.names.is_verb(self.b.c, row))
    }

    /// Something that only a watch has.
    fn is_watch(self) -> bool {
        self.find(|row| self.b.names.is_of_watch(self.b.c, row)).is_some()
    }

    fn find(self, fits: impl Fn(usize) -> bool) -> Option<u32> {
        let Self { b: Builder { c, names, forest, .. }, root } = self;
        let first = forest.position[root as usize] as usize;
        let (mut place, end) = (first + 1, first + forest.size[first] as usize);
        while place < end {
            let row = forest.order[place];
            if fits(row as usize) {
                return Some(row);
            }
            place += if names.is_request(c, row as usize) { forest.size[place] as usize } else { 1 };
        }
        None
    }
}

/// The connection is a stream from here on.
const SWITCHING_PROTOCOLS: i64 = 101;
const LONG_RUNNING_VERBS: [&str; 2] = ["watch", "proxy"];
const LONG_RUNNING_SUBRESOURCES: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

impl RequestColumns {
    /// Reads the requests off their SERVER spans.
    pub fn new(b: &Builder<'_>) -> Self {
        let Builder { c, role, forest, .. } = b;
        let start = |&row: &u32| b.start[row as usize];
        let mut roots: Vec<(i64, u32)> = b.requests.iter().map(start).zip(0..).collect();
        roots.sort_unstable_by_key(|&(start, _)| start);
        // Few begin at one time: only those are compared by the rest.
        for same in roots.chunk_by_mut(|x, y| x.0 == y.0).filter(|same| same.len() > 1) {
            same.sort_unstable_by_key(|&(_, at)| b.order(b.requests[at as usize]));
        }
        let places: Vec<usize> = roots.into_iter().map(|(_, at)| at as usize).collect();
        let roots: Vec<u32> = places.iter().map(|&at| b.requests[at]).collect();
        let keys = Keys::new(c);
        let read = |part: Range<usize>| {
            let (mut requests, mut sequence) = (Self::default(), Sequence::default());
            requests.words.intern_str("");
            requests.reserve(part.len());
            roots[part].iter().for_each(|&root| requests.push((&keys, &mut sequence), Below { b, root }));
            requests
        };
        let parts = threads::split(roots.len(), b.threads, PART_REQUESTS, read);
        let mut requests = parts.into_iter().reduce(Self::followed_by).unwrap_or_default();
        requests.root = roots;
        requests.nest(c.len(), forest, b.threads);
        requests.prelude = vec![NONE; requests.root.len()];
        for &(above, root) in &b.preludes {
            if let Some(at) = requests.of_row.get(root as usize).filter(|&&at| at != NONE) {
                requests.prelude[*at as usize] = above;
            }
        }
        let linked = |(request, &place): (u32, &usize)| requests.linked(request, b.named.linked(place));
        requests.linked_from = (0..).zip(&places).map(linked).collect();
        let is_caller = |&row: &u32| match role[row as usize] {
            Role::Caller => true,
            // What a sync asks the API server for is a part of it.
            Role::Sync => c.spans.kind[row as usize] == CLIENT,
            _ => false,
        };
        let caller = |&place: &usize| b.named.by(place).find(is_caller).unwrap_or(NONE);
        requests.caller = places.iter().map(caller).collect();
        requests
    }

    /// These requests, and behind them what was read of others. Words are in order of first appearance.
    fn followed_by(mut self, others: Self) -> Self {
        let words: Vec<u32> = others.words.iter().map(|word| self.words.intern_str(word)).collect();
        let translated = |column: Vec<u32>| column.into_iter().map(|word| words[word as usize]);
        self.verb.extend(translated(others.verb));
        self.api_group.extend(translated(others.api_group));
        self.api_version.extend(translated(others.api_version));
        self.resource.extend(translated(others.resource));
        self.subresource.extend(translated(others.subresource));
        self.namespace.extend(translated(others.namespace));
        self.object_name.extend(translated(others.object_name));
        self.http_method.extend(translated(others.http_method));
        self.http_status.extend(others.http_status);
        self.target.extend(others.target);
        self.user_agent.extend(others.user_agent);
        self.long_running.extend(others.long_running);
        self
    }

    /// The first request, other than itself, that one of its links names a span of.
    fn linked(&self, request: u32, named: &[u32]) -> u32 {
        let mut from = named.iter().map(|&row| self.of_row[row as usize]);
        from.find(|&at| at != NONE && at != request).unwrap_or(NONE)
    }

    /// The request whose time holds that of this one, or [`NONE`]: the one it is in, or an earlier one that a link says
    /// it came from, if it began while that lasted. Following these never leads back.
    pub fn counted_in(&self, start: &[i64], end: &[i64], request: usize) -> u32 {
        let (outer, from) = (self.outer[request], self.linked_from[request]);
        if outer != NONE || from == NONE {
            return outer;
        }
        let (row, above) = (self.root[request] as usize, self.root[from as usize] as usize);
        let lasted = start[above]..end[above];
        let holds = self.outermost[from as usize] < u32_of(request) && lasted.contains(&start[row]);
        if holds { from } else { NONE }
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// Makes room for so many more.
    fn reserve(&mut self, more: usize) {
        let Self { verb, api_group, api_version, resource, subresource, namespace, .. } = self;
        for words in [verb, api_group, api_version, resource, subresource, namespace] {
            words.reserve(more);
        }
        self.object_name.reserve(more);
        self.http_method.reserve(more);
        self.http_status.reserve(more);
        self.target.reserve(more);
        self.user_agent.reserve(more);
        self.long_running.reserve(more);
    }

    fn push(&mut self, (keys, sequence): (&Keys, &mut Sequence), below: Below<'_>) {
        let (c, row) = (below.b.c, below.root as usize);
        let text = |keys: [Option<u32>; 2]| keys.iter().find_map(|&key| c.span_attributes.string(row, key));
        let own = |key: Option<u32>| c.span_attributes.string(row, key).filter(|text| !text.is_empty());
        let name = || c.names.text(c.spans.name[row]);
        let method =
            text(keys.method).map_or_else(|| request_info::method_of_name(name()), |method| c.text(method));
        let whole = own(keys.target);
        let handler = if whole.or(own(keys.query)).is_some() { None } else { below.handler() };
        let of_handler = |key| handler.and_then(|row| c.span_attributes.string(row as usize, key));
        let target = whole.or_else(|| own(keys.path)).or_else(|| of_handler(keys.handler.url));
        let target = target.unwrap_or_default();
        let asked = match own(keys.query) {
            Some(query) if whole.is_none() => Cow::Owned(format!("{}?{}", c.text(target), c.text(query))),
            _ => Cow::Borrowed(c.text(target)),
        };
        let template = if target.is_empty() { request_info::template_info(name()) } else { None };
        let mut info = template.unwrap_or_else(|| request_info::request_info(method, &asked));
        if let Some(handler) = handler {
            keys.handler.complete(c, handler as usize, &mut info);
        }
        if info.verb == "list" && !asked.contains('?') && below.is_watch() {
            info.verb = Cow::Borrowed("watch");
        }
        if info.connects() {
            info.verb = Cow::Borrowed("connect");
        }
        // Most words are absent; the empty one has the number 0.
        let words = &mut self.words;
        let mut word = |text: &str| if text.is_empty() { 0 } else { words.intern_str_next(sequence, text) };
        self.verb.push(word(&info.verb));
        self.api_group.push(word(&info.group));
        self.api_version.push(word(&info.version));
        self.resource.push(word(&info.resource));
        self.subresource.push(word(&info.subresource));
        self.namespace.push(word(&info.namespace));
        self.object_name.push(word(&info.name));
        self.http_method.push(word(method));
        let status = keys.status(c, row).unwrap_or(0);
        self.http_status.push(status);
        self.target.push(target);
        self.user_agent.push(text(keys.user_agent).unwrap_or_default());
        let stays_open = status == SWITCHING_PROTOCOLS
            || LONG_RUNNING_VERBS.contains(&&*info.verb)
            || info.resource_request && LONG_RUNNING_SUBRESOURCES.contains(&&*info.subresource);
        self.long_running.push(stays_open);
    }

    /// Which request every row is in, and which request every request is in.
    fn nest(&mut self, rows: usize, forest: &Forest, threads: usize) {
        let n = self.root.len();
        (self.outer, self.level, self.outermost) = (vec![NONE; n], vec![0; n], vec![NONE; n]);
        let place_of = |at: u32| forest.position[self.root[at as usize] as usize];
        let mut places: Vec<(u32, u32)> = (0..u32_of(n)).map(|at| (place_of(at), at)).collect();
        places.sort_unstable_by_key(|&(place, _)| place);
        // Requests that the walk is in, and where they end; runs of places in one request.
        let (mut open, mut runs) = (Vec::<(u32, u32)>::new(), Vec::<(Range<u32>, u32)>::new());
        let mut told = 0;
        for (place, own) in places.into_iter().chain([(u32_of(forest.order.len()), NONE)]) {
            while let Some(&(request, end)) = open.last() {
                let until = end.min(place);
                runs.push((told..until, request));
                told = until;
                if end > place {
                    break;
                }
                open.pop();
            }
            told = place;
            if own != NONE {
                self.outer[own as usize] = open.last().map_or(NONE, |&(request, _)| request);
                self.level[own as usize] = u32_of(open.len());
                self.outermost[own as usize] = open.first().map_or(own, |&(request, _)| request);
                open.push((own, place + forest.size[place as usize]));
            }
        }
        let of_row = threads::unwritten(rows, NONE);
        threads::split(runs.len(), threads, PART_REQUESTS, |part| {
            for (places, request) in &runs[part] {
                let rows = &forest.order[places.start as usize..places.end as usize];
                for &row in rows {
                    of_row[row as usize].store(*request, Relaxed);
                }
            }
        });
        self.of_row = threads::numbers(of_row);
    }
}
