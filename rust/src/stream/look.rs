//! One look at a trace: is it finished, and with what could it belong together?

use crate::columns::Columns;
use crate::forest::NONE;
use crate::join::saturated;
use crate::stream::evidence::Pairs;
use crate::stream::store::{Store, fact};

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// It holds a request, every parent that is named, and for each call to etcd the SERVER span; each id once.
    pub whole: bool,
    /// Where it can meet the other half of a split request: (process, instant). Too many rather than too few.
    pub halves: Vec<(u64, i64)>,
    /// A child is of another process than its parent, whose clock is moved.
    pub is_moved: bool,
}

/// Room to look in, used again for each trace.
#[derive(Default)]
pub struct Looking {
    nodes: Vec<(u64, u32)>,
    served: Vec<bool>,
    /// (place, place of the parent)
    requests: Vec<(usize, Option<usize>)>,
}

impl Looking {
    /// Looks at the spans of a chain. `linked`: other traces can add spans to its trees.
    pub fn look(&mut self, store: &Store, head: u32, linked: bool, moved: &Pairs) -> Look {
        let Self { nodes, served, requests } = self;
        let spans = Spans::new(store, head, nodes);
        let mut look = Look { whole: !spans.id_twice, ..Look::default() };
        let mut audited = linked;
        served.clear();
        served.resize(spans.nodes.len(), false);
        requests.clear();
        for (at, &(_, node)) in spans.nodes.iter().enumerate() {
            let (facts, (_, id)) = (store.facts(node), store.ids(node));
            let parent = if id == 0 { None } else { spans.find(id) };
            look.whole &= parent.is_some() == (id != 0);
            audited |= facts & fact::AUDIT != 0;
            if let Some(above) = parent {
                served[above] |= facts & fact::RPC_SERVER != 0;
                let processes = || (store.process(spans.nodes[above].1), store.process(node));
                look.is_moved |= !moved.is_empty() && moved.contains(&processes());
            }
            if facts & fact::REQUEST != 0 {
                requests.push((at, parent));
            }
        }
        let calls =
            spans.nodes.iter().zip(served).filter(|((_, node), _)| store.facts(*node) & fact::ETCD_CALL != 0);
        look.whole &= !requests.is_empty() && calls.into_iter().all(|(_, served)| *served);
        look.halves = halves(&spans, requests, audited);
        look
    }
}

/// Where what is in a trace can meet the other half of a split request.
fn halves(spans: &Spans<'_>, requests: &[(usize, Option<usize>)], audited: bool) -> Vec<(u64, i64)> {
    let (store, mut halves) = (spans.store, Vec::new());
    for &(at, parent) in requests {
        let node = spans.nodes[at].1;
        let has_prelude =
            !spans.id_twice && parent.is_some_and(|above| spans.is_filter(spans.nodes[above].1));
        let meets = [store.facts(node) & fact::UNANSWERED != 0, audited];
        if !has_prelude && meets != [false, false] {
            let at = times(store.place(node)).into_iter().zip(meets).filter(|(_, meets)| *meets);
            halves.extend(at.map(|(at, _)| (store.process(node), at)));
        }
    }
    let filters = spans.alone().iter().filter(|&&(_, node)| spans.is_filter(node));
    halves.extend(filters.map(|&(_, node)| (store.process(node), times(store.place(node))[1])));
    halves
}

/// Start and end as the join takes them.
fn times((c, row): (&Columns, usize)) -> [i64; 2] {
    [c.spans.start_time_unix_nano[row], c.spans.end_time_unix_nano[row]].map(saturated)
}

/// The spans of a trace, by span id.
struct Spans<'a> {
    store: &'a Store,
    nodes: &'a [(u64, u32)],
    id_twice: bool,
}

impl<'a> Spans<'a> {
    fn new(store: &'a Store, head: u32, nodes: &'a mut Vec<(u64, u32)>) -> Self {
        nodes.clear();
        if head != NONE {
            nodes.extend(store.chain(head).map(|node| (store.ids(node).0, node)));
        }
        nodes.sort_unstable();
        let id_twice = nodes.windows(2).any(|pair| pair[0].0 == pair[1].0);
        Self { store, nodes, id_twice }
    }

    fn find(&self, id: u64) -> Option<usize> {
        let at = self.nodes.partition_point(|&(other, _)| other < id);
        self.nodes.get(at).filter(|&&(other, _)| other == id).map(|_| at)
    }

    /// The spans, if all have one id.
    fn alone(&self) -> &[(u64, u32)] {
        match (self.nodes.first(), self.nodes.last()) {
            (Some(first), Some(last)) if first.0 == last.0 => self.nodes,
            _ => &[],
        }
    }

    /// An `authentication` span that names no parent.
    fn is_filter(&self, node: u32) -> bool {
        self.store.facts(node) & fact::AUTHENTICATION != 0 && self.store.ids(node).1 == 0
    }
}
