//! Inspects a trace: is it finished, and which traces could it belong together with?

use crate::columns::Columns;
use crate::join::times::saturated;
use crate::stream::evidence::Pairs;
use crate::stream::store::{Held, Store, fact};

/// The result for one trace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// It holds a request or a sync of a pod, every parent that is named, and for each call to etcd or to a container
    /// runtime the SERVER span; each id once.
    pub whole: bool,
    /// Where it can meet the other half of a split request: (process, instant). Too many rather than too few.
    pub halves: Vec<(u64, i64)>,
    /// A child is of another process than its parent, whose clock is moved.
    pub is_moved: bool,
}

/// Memory that is used again for each trace.
#[derive(Default)]
pub struct Looking {
    by_id: Vec<(u64, u32)>,
    served: Vec<bool>,
    /// (place, place of the parent)
    requests: Vec<(usize, Option<usize>)>,
}

impl Looking {
    /// Looks at the spans of a trace. `linked`: other traces can add spans to its trees.
    pub fn look(&mut self, store: &Store, all: &[Held], linked: bool, moved: &Pairs) -> Look {
        let Self { by_id, served, requests } = self;
        let spans = Spans::new(store, all, by_id);
        let mut look = Look { whole: !spans.id_twice, ..Look::default() };
        let (mut audited, mut syncs) = (linked, false);
        served.clear();
        served.resize(all.len(), false);
        requests.clear();
        for (at, span) in all.iter().enumerate() {
            let parent = if span.parent == 0 { None } else { spans.find(span.parent) };
            look.whole &= parent.is_some() == (span.parent != 0);
            audited |= span.is(fact::AUDIT);
            syncs |= span.is(fact::SYNC);
            if let Some(above) = parent {
                served[above] |= span.is(fact::RPC_SERVER);
                let processes = || (store.process(&all[above]), store.process(span));
                look.is_moved |= !moved.is_empty() && moved.contains(&processes());
            }
            if span.is(fact::REQUEST) {
                requests.push((at, parent));
            }
        }
        let mut calls = all.iter().zip(served).filter(|(span, _)| span.is(fact::ETCD_CALL | fact::CRI_CALL));
        look.whole &= (syncs || !requests.is_empty()) && calls.all(|(_, served)| *served);
        look.halves = halves(&spans, requests, audited);
        look
    }
}

/// Where what is in a trace can meet the other half of a split request.
fn halves(spans: &Spans<'_>, requests: &[(usize, Option<usize>)], audited: bool) -> Vec<(u64, i64)> {
    let (store, mut halves) = (spans.store, Vec::new());
    for &(at, parent) in requests {
        let request = &spans.all[at];
        let has_prelude = !spans.id_twice && parent.is_some_and(|above| is_filter(&spans.all[above]));
        let meets = [request.is(fact::UNANSWERED), audited];
        if !has_prelude && meets != [false, false] {
            let at = times(store.place(request)).into_iter().zip(meets).filter(|(_, meets)| *meets);
            halves.extend(at.map(|(at, _)| (store.process(request), at)));
        }
    }
    let filters = spans.alone().iter().filter(|span| is_filter(span));
    halves.extend(filters.map(|span| (store.process(span), times(store.place(span))[1])));
    halves
}

/// Start and end as the join takes them.
fn times((c, row): (&Columns, usize)) -> [i64; 2] {
    [c.spans.start_time_unix_nano[row], c.spans.end_time_unix_nano[row]].map(saturated)
}

/// An `authentication` span that names no parent.
fn is_filter(span: &Held) -> bool {
    span.is(fact::AUTHENTICATION) && span.parent == 0
}

/// Up to this many spans, one is found by comparing with all of them.
const FEW: usize = 16;

/// The spans of a trace, found by id.
struct Spans<'a> {
    store: &'a Store,
    all: &'a [Held],
    /// Span id, place; nothing if they are few.
    by_id: &'a [(u64, u32)],
    id_twice: bool,
}

impl<'a> Spans<'a> {
    fn new(store: &'a Store, all: &'a [Held], by_id: &'a mut Vec<(u64, u32)>) -> Self {
        by_id.clear();
        let id_twice = if all.len() <= FEW {
            let mut seen = 0_u64;
            all.iter().enumerate().any(|(at, span)| {
                let bit = 1 << (span.span_id % 64);
                let is_new = seen & bit == 0;
                seen |= bit;
                !is_new && all[..at].iter().any(|other| other.span_id == span.span_id)
            })
        } else {
            by_id.extend(all.iter().zip(0..).map(|(span, at)| (span.span_id, at)));
            by_id.sort_unstable();
            by_id.windows(2).any(|pair| pair[0].0 == pair[1].0)
        };
        Self { store, all, by_id, id_twice }
    }

    fn find(&self, id: u64) -> Option<usize> {
        if self.by_id.is_empty() {
            return self.all.iter().position(|span| span.span_id == id);
        }
        let at = self.by_id.partition_point(|&(other, _)| other < id);
        self.by_id.get(at).filter(|&&(other, _)| other == id).map(|&(_, at)| at as usize)
    }

    /// The spans, if all have one id.
    fn alone(&self) -> &'a [Held] {
        match self.all {
            [first, rest @ ..] if rest.iter().all(|span| span.span_id == first.span_id) => self.all,
            _ => &[],
        }
    }
}
