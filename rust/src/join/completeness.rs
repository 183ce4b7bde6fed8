//! Whether a request's tree is all there, and what was lost if not.

use crate::columns::NONE;
use crate::join::Joined;
use crate::join::repair::{Change, Repair};
use crate::join::role::Role;
use crate::numbers::u32_of;

/// Why a request's tree may not be whole. The first that applies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A stream gave its trace out before it was whole, to stay within its limits.
    Evicted,
    /// An etcd call without its SERVER span: etcd does not trace, or it was lost.
    EtcdNotTraced,
    /// A span of its trace names a parent that never arrived.
    SpanLost,
    /// A sender dropped attributes, events or links of its spans.
    Dropped,
}

impl Cause {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::EtcdNotTraced => "etcd_not_traced",
            Self::SpanLost => "span_lost",
            Self::Dropped => "dropped",
        }
    }
}

/// Bits of `Span.flags`: the sender knows where the parent is, and it is in another process.
const KNOWS_REMOTE: u32 = 1 << 8;
const REMOTE: u32 = 1 << 9;

/// The parent of this request's root never arrived, and it was a span of the same process. A remote one may be
/// unsampled, or of somebody who sends elsewhere: that takes nothing from the request.
pub fn lost_local_parent(joined: &Joined, root: u32) -> bool {
    let flags = joined.columns.spans.flags[root as usize];
    joined.missing[root as usize] && flags & (KNOWS_REMOTE | REMOTE) == KNOWS_REMOTE
}

/// Per request; `unpaired` is how many etcd calls without a SERVER span it has.
pub fn causes(joined: &Joined, unpaired: &[u64]) -> Vec<Option<Cause>> {
    let c = &joined.columns;
    let lost = |row: &usize| matches!(joined.role[*row], Role::Orphan | Role::RootMissing);
    let is_lost = |repair: &&Repair| matches!(repair.change, Change::Adopted(_)) && repair.kind.is_damage();
    let adopted = joined.repairs.iter().filter(is_lost);
    let damaged: hashbrown::HashSet<[u8; 16], foldhash::fast::RandomState> = (0..c.len())
        .filter(lost)
        .chain(adopted.map(|repair| repair.row as usize))
        .map(|row| c.spans.trace_id[row])
        .collect();
    let trimmed = spans_with_drops(joined);
    let evicted = |root: u32| joined.evicted.contains(&c.spans.trace_id[root as usize]);
    let cause = |(&root, &unpaired): (&u32, &u64)| match unpaired {
        _ if evicted(root) => Some(Cause::Evicted),
        1.. => Some(Cause::EtcdNotTraced),
        0 if damaged.contains(&c.spans.trace_id[root as usize]) => Some(Cause::SpanLost),
        0 if lost_local_parent(joined, root) => Some(Cause::SpanLost),
        0 if any_in(joined, &trimmed, root) => Some(Cause::Dropped),
        0 => None,
    };
    joined.requests.root.iter().zip(unpaired).map(cause).collect()
}

/// What the sender dropped of a span: attributes, events, links.
pub fn dropped(joined: &Joined, row: usize) -> [u32; 3] {
    let s = &joined.columns.spans;
    [s.dropped_attributes_count[row], s.dropped_events_count[row], s.dropped_links_count[row]]
}

/// Places in the forest of spans that lost parts, in order.
fn spans_with_drops(joined: &Joined) -> Vec<u32> {
    let order = joined.forest.order.iter().enumerate();
    order
        .filter(|&(_, &row)| dropped(joined, row as usize) != [0; 3])
        .map(|(place, _)| u32_of(place))
        .collect()
}

fn any_in(joined: &Joined, places: &[u32], root: u32) -> bool {
    let first = joined.forest.position[root as usize];
    if places.is_empty() || first == NONE {
        return false;
    }
    let next = places.partition_point(|&place| place < first);
    places.get(next).is_some_and(|&place| place < first + joined.forest.size[first as usize])
}
