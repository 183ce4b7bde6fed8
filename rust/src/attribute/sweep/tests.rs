use super::active_share::RankCounts;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

type Segment = (u32, i64, i64);

#[derive(Debug, Clone, Default)]
struct Spans {
    parent: Vec<u32>,
    start: Vec<i64>,
    end: Vec<i64>,
    id: Vec<u64>,
}

impl Spans {
    /// (parent, start, end), the root first; the ids grow with the node.
    fn of(spans: &[(u32, i64, i64)]) -> Self {
        let with_ids = spans.iter().zip(1..).map(|(&(parent, start, end), id)| (parent, start, end, id));
        with_ids.collect()
    }

    fn len(&self) -> u32 {
        self.parent.len() as u32
    }

    fn loaded(&self) -> Sweep {
        let mut sweep = Sweep::default();
        self.load(&mut sweep);
        sweep
    }

    fn load(&self, sweep: &mut Sweep) {
        sweep.clear();
        for node in 0..self.parent.len() {
            sweep.add(self.parent[node], self.start[node], self.end[node], self.id[node]);
        }
    }

    fn path(&self, overlap: Overlap) -> Vec<Segment> {
        let mut path = Vec::new();
        self.loaded().critical_path(overlap, |node, from, to| path.push((node, from, to)));
        path
    }

    fn own(&self) -> Vec<Segment> {
        let mut own = Vec::new();
        self.loaded().self_time(|node, from, to| own.push((node, from, to)));
        own
    }

    fn shares(&self, cuts: &[Cut]) -> Vec<u64> {
        let mut shares = vec![77]; // what was there must not matter
        self.loaded().active_share(cuts, &mut shares);
        shares
    }
}

impl FromIterator<(u32, i64, i64, u64)> for Spans {
    fn from_iter<T: IntoIterator<Item = (u32, i64, i64, u64)>>(spans: T) -> Self {
        let mut all = Self::default();
        for (parent, start, end, id) in spans {
            all.parent.push(parent);
            all.start.push(start);
            all.end.push(end);
            all.id.push(id);
        }
        all
    }
}

// ---- The definitions, once more and naively: recursion, every pair, every nanosecond.

fn naive_effective(spans: &Spans, node: usize) -> (i64, i64) {
    let own = (spans.start[node], spans.end[node]);
    if node == 0 {
        return own;
    }
    let above = naive_effective(spans, spans.parent[node] as usize);
    (own.0.max(above.0), own.1.min(above.1))
}

fn naive_children(spans: &Spans, node: usize) -> Vec<usize> {
    (1..spans.parent.len()).filter(|&child| spans.parent[child] as usize == node).collect()
}

fn naive_path(spans: &Spans, overlap: Overlap, node: usize, (a, b): (i64, i64), out: &mut Vec<Segment>) {
    let mut t = b;
    while t > a {
        let candidate = naive_children(spans, node)
            .into_iter()
            .map(|child| (child, naive_effective(spans, child)))
            .filter(|&(_, (start, end))| start < end && start < t && end > a)
            .filter(|&(_, (_, end))| overlap == Overlap::Clip || end <= t)
            .max_by_key(|&(child, (start, end))| {
                (end.min(t), end, -start, std::cmp::Reverse((spans.id[child], child)))
            });
        let Some((child, (start, end))) = candidate else {
            out.push((node as u32, a, t));
            return;
        };
        if end.min(t) < t {
            out.push((node as u32, end.min(t), t));
        }
        naive_path(spans, overlap, child, (start.max(a), end.min(t)), out);
        t = start.max(a);
    }
}

fn active_at(spans: &Spans, node: usize, t: i64) -> bool {
    let (start, end) = naive_effective(spans, node);
    start <= t && t < end
}

fn naive_leaves(spans: &Spans, t: i64) -> Vec<usize> {
    let busy = |node| naive_children(spans, node).iter().any(|&child| active_at(spans, child, t));
    (0..spans.parent.len()).filter(|&node| active_at(spans, node, t) && !busy(node)).collect()
}

fn naive_shares(spans: &Spans, cuts: &[Cut]) -> Vec<u64> {
    let n = spans.parent.len();
    let mut times = std::collections::BTreeSet::new();
    for node in 0..n {
        let (start, end) = naive_effective(spans, node);
        if start < end {
            times.extend([start, end]);
        }
    }
    let on_a_leaf = |cut: &&Cut| naive_leaves(spans, cut.at).contains(&(cut.node as usize));
    times.extend(cuts.iter().filter(on_a_leaf).map(|cut| cut.at));
    let times: Vec<i64> = times.into_iter().collect();
    let mut shares = vec![0; n + cuts.len()];
    for piece in times.windows(2) {
        let mut leaves = naive_leaves(spans, piece[0]);
        leaves.sort_by_key(|&node| (spans.id[node], node));
        let (length, m) = ((piece[1] - piece[0]) as usize, leaves.len());
        for (place, &node) in leaves.iter().enumerate() {
            let label = cuts.iter().rposition(|cut| cut.node as usize == node && cut.at <= piece[0]);
            let slot = label.map_or(node, |k| n + k);
            shares[slot] += (length / m + usize::from(place < length % m)) as u64;
        }
    }
    shares
}

// ---- Random dirty trees: spans outside their parents, reversed, empty, touching, with equal ids.

fn dirty(ids: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = Spans> {
    let span = (any::<prop::sample::Index>(), -4_i64..24, -3_i64..14, ids.clone());
    let root = (-4_i64..8, -1_i64..24, ids);
    (root, vec(span, 0..14)).prop_map(|((start, length, id), spans)| {
        let below = spans.into_iter().enumerate().map(|(at, (parent, start, length, id))| {
            (parent.index(at + 1) as u32, start, start + length, id)
        });
        std::iter::once((0, start, start + length, id)).chain(below).collect()
    })
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = (-6_i64..34, 0_u32..16).prop_map(|(at, node)| Cut { at, node });
    vec(cut, 0..10).prop_map(|mut cuts| {
        cuts.sort_by_key(|cut| cut.at);
        cuts
    })
}

fn wall(spans: &Spans) -> i64 {
    (spans.end[0] - spans.start[0]).max(0)
}

fn total(segments: &[Segment]) -> i64 {
    segments.iter().map(|(_, from, to)| to - from).sum()
}

/// The same spans with the nodes renumbered: parents still first, siblings in any order.
fn shuffled(spans: &Spans, order: &[u32]) -> Spans {
    let mut depth = vec![0_u32; spans.parent.len()];
    for node in 1..depth.len() {
        depth[node] = depth[spans.parent[node] as usize] + 1;
    }
    let mut old: Vec<usize> = (0..depth.len()).collect();
    old.sort_by_key(|&node| (depth[node], order[node % order.len()], node));
    let mut new = vec![0; old.len()];
    for (at, &node) in old.iter().enumerate() {
        new[node] = at as u32;
    }
    let moved = |&node: &usize| {
        (new[spans.parent[node] as usize], spans.start[node], spans.end[node], spans.id[node])
    };
    old.iter().map(moved).collect()
}

fn by_id(spans: &Spans, segments: &[Segment]) -> Vec<(u64, i64, i64)> {
    let mut named: Vec<_> =
        segments.iter().map(|&(node, from, to)| (spans.id[node as usize], from, to)).collect();
    named.sort_unstable();
    named
}

fn distinct_ids() -> impl Strategy<Value = Spans> {
    dirty(any::<u64>()).prop_filter("ids are distinct", |spans| {
        let mut ids = spans.id.clone();
        ids.sort_unstable();
        ids.windows(2).all(|pair| pair[0] != pair[1])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// The effective interval is the intersection over all ancestors, and an empty one is one point.
    #[test]
    fn effective_is_the_intersection_with_every_ancestor(spans in dirty(0_u64..4)) {
        let sweep = spans.loaded();
        for node in 0..spans.len() {
            let (start, end) = naive_effective(&spans, node as usize);
            let (from, to) = sweep.effective(node);
            let same = if start < end { (from, to) == (start, end) } else { from == to };
            prop_assert!(same, "node {} has {:?}", node, (from, to));
        }
    }

    /// One sort and one pass choose the same children as the definition, in the same order.
    #[test]
    fn critical_path_is_the_definition(spans in dirty(0_u64..4)) {
        for overlap in [Overlap::Clip, Overlap::HappensBefore] {
            let mut expected = Vec::new();
            naive_path(&spans, overlap, 0, naive_effective(&spans, 0), &mut expected);
            prop_assert_eq!(spans.path(overlap), expected);
        }
    }

    /// Read from the end, the segments lead back to the start without gap or overlap.
    #[test]
    fn critical_path_partitions_the_root(spans in dirty(0_u64..4)) {
        for overlap in [Overlap::Clip, Overlap::HappensBefore] {
            let mut t = spans.end[0].max(spans.start[0]);
            for (_, from, to) in spans.path(overlap) {
                prop_assert!(from < to && to == t);
                t = from;
            }
            prop_assert_eq!(t, spans.start[0]);
        }
    }

    /// A nanosecond is a span's own if the span is active then and none of its children is.
    #[test]
    fn self_time_is_the_definition(spans in dirty(0_u64..4)) {
        let own = spans.own();
        for t in -5..40 {
            let mut at_t: Vec<u32> =
                own.iter().filter(|(_, from, to)| (*from..*to).contains(&t)).map(|own| own.0).collect();
            at_t.sort_unstable();
            let leaves: Vec<u32> = naive_leaves(&spans, t).iter().map(|&node| node as u32).collect();
            prop_assert_eq!(at_t, leaves);
        }
        let meets = |a: &Segment, b: &Segment| a.0 == b.0 && a.1 == b.2;
        prop_assert!(own.windows(2).all(|pair| !meets(&pair[0], &pair[1])), "intervals are maximal");
    }

    /// Own times add up to the wall time, and to more where spans run beside each other.
    #[test]
    fn self_time_covers_the_wall(spans in dirty(0_u64..4)) {
        prop_assert!(total(&spans.own()) >= wall(&spans));
    }

    /// The books kept per rank pay what paying each leaf of each piece would.
    #[test]
    fn active_share_is_the_definition(spans in dirty(0_u64..4), cuts in cuts()) {
        prop_assert_eq!(spans.shares(&cuts), naive_shares(&spans, &cuts));
    }

    /// Whatever the labels, the shares add up to the wall time.
    #[test]
    fn active_share_sums_to_the_wall(spans in dirty(0_u64..4), cuts in cuts()) {
        prop_assert_eq!(spans.shares(&cuts).iter().sum::<u64>(), wall(&spans) as u64);
    }

    /// The order in which siblings came changes nothing.
    #[test]
    fn order_of_siblings_does_not_matter(spans in distinct_ids(), order in vec(0_u32..9, 1..15)) {
        let other = shuffled(&spans, &order);
        for overlap in [Overlap::Clip, Overlap::HappensBefore] {
            prop_assert_eq!(by_id(&spans, &spans.path(overlap)), by_id(&other, &other.path(overlap)));
        }
        prop_assert_eq!(by_id(&spans, &spans.own()), by_id(&other, &other.own()));
        let paid = |spans: &Spans| {
            let mut paid: Vec<_> = spans.id.iter().copied().zip(spans.shares(&[])).collect();
            paid.sort_unstable();
            paid
        };
        prop_assert_eq!(paid(&spans), paid(&other));
    }

    /// Sums over prefixes, and where they reach a given number, as by counting one by one.
    #[test]
    fn tally_is_counting(ranks in vec(0_usize..150, 1..300)) {
        let mut tally = RankCounts::default();
        tally.reset(150);
        ranks.iter().for_each(|&rank| tally.add(rank, 1));
        for rank in 0..150 {
            prop_assert_eq!(tally.before(rank), ranks.iter().filter(|&&other| other < rank).count() as u64);
        }
        let mut in_order = ranks;
        in_order.sort_unstable();
        for (nth, rank) in (1..).zip(in_order) {
            prop_assert_eq!(tally.nth(nth), rank);
        }
    }

    /// Scratch of an earlier request leaves no trace in a later one.
    #[test]
    fn a_used_sweep_answers_like_a_new_one(before in dirty(0_u64..4), spans in dirty(0_u64..4), cuts in cuts()) {
        let (mut used, mut shares) = (before.loaded(), Vec::new());
        used.critical_path(Overlap::Clip, |_, _, _| ());
        used.active_share(&cuts, &mut shares);
        spans.load(&mut used);
        let (mut path, mut own) = (Vec::new(), Vec::new());
        used.active_share(&cuts, &mut shares);
        used.critical_path(Overlap::Clip, |node, from, to| path.push((node, from, to)));
        used.self_time(|node, from, to| own.push((node, from, to)));
        prop_assert_eq!((path, own, shares), (spans.path(Overlap::Clip), spans.own(), spans.shares(&cuts)));
    }
}

// ---- Drawn cases: the pictures above the kernels, to the column.

/// r [0,27), a [4,12), b [10,22), c [13,19) below b: rrrraaaaaabbbccccccbbbrrrrr.
#[test]
fn critical_path_as_drawn() {
    let spans = Spans::of(&[(0, 0, 27), (0, 4, 12), (0, 10, 22), (2, 13, 19)]);
    let drawn = [(0, 22, 27), (2, 19, 22), (3, 13, 19), (2, 10, 13), (1, 4, 10), (0, 0, 4)];
    assert_eq!(spans.path(Overlap::Clip), drawn);
    let waited_for = [(0, 22, 27), (2, 19, 22), (3, 13, 19), (2, 10, 13), (0, 0, 10)];
    assert_eq!(spans.path(Overlap::HappensBefore), waited_for);
}

/// Own time before the children, in the gap between them, and after.
#[test]
fn self_time_as_drawn() {
    let spans = Spans::of(&[(0, 0, 21), (0, 3, 9), (0, 7, 13), (0, 15, 17)]);
    let drawn = [(0, 17, 21), (0, 13, 15), (0, 0, 3), (1, 3, 9), (2, 7, 13), (3, 15, 17)];
    assert_eq!(spans.own(), drawn);
}

/// Root 3 + 6; a 5 + 1 + 1; b 1 before its cut and 1 + 2 after.
#[test]
fn active_share_as_drawn() {
    let spans = Spans::of(&[(0, 0, 20), (0, 3, 12), (0, 8, 14)]);
    assert_eq!(spans.shares(&[Cut { at: 10, node: 2 }]), [9, 7, 1, 3]);
}

/// Clipped at both ends, and the grandchild by what is left; outside is one point within the parent.
#[test]
fn effective_as_drawn() {
    let spans = Spans::of(&[(0, 10, 26), (0, 6, 15), (1, 8, 12), (0, 23, 30), (0, 28, 32), (4, 10, 26)]);
    let sweep = spans.loaded();
    let effective: Vec<_> = (0..7).map(|node| sweep.effective(node)).collect();
    assert_eq!(effective, [(10, 26), (10, 15), (10, 12), (23, 26), (26, 26), (26, 26), (0, 0)]);
}

/// Ten touching children: nothing is left to the parent under either rule.
#[test]
fn touching_children_all_count() {
    let children = (0..10).map(|at| (0, at * 10, at * 10 + 10));
    let spans = Spans::of(&std::iter::once((0, 0, 100)).chain(children).collect::<Vec<_>>());
    let expected: Vec<Segment> = (1..=10).rev().map(|at| (at, at as i64 * 10 - 10, at as i64 * 10)).collect();
    assert_eq!(spans.path(Overlap::Clip), expected);
    assert_eq!(spans.path(Overlap::HappensBefore), expected);
    assert_eq!(spans.shares(&[]), [0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
}

/// A child of no length, at either border or inside, changes nothing; nor does a reversed one.
#[test]
fn empty_children_own_nothing_and_cut_nothing() {
    let spans = Spans::of(&[(0, 0, 9), (0, 0, 0), (0, 4, 4), (0, 9, 9), (0, 7, 3), (2, 0, 9)]);
    assert_eq!(spans.path(Overlap::Clip), [(0, 0, 9)]);
    assert_eq!(spans.own(), [(0, 0, 9)]);
    assert_eq!(spans.shares(&[]), [9, 0, 0, 0, 0, 0]);
}

/// A root of no length, or reversed, has no segments and no time to divide; so has no tree at all.
#[test]
fn an_empty_root_owns_nothing() {
    for end in [5, 3] {
        let spans = Spans::of(&[(0, 5, end), (0, 0, 9)]);
        assert_eq!((spans.path(Overlap::Clip), spans.own()), (vec![], vec![]));
        assert_eq!(spans.shares(&[Cut { at: 5, node: 0 }]), [0, 0, 0]);
        assert_eq!(spans.loaded().effective(0), (5, 5));
    }
    assert_eq!(Spans::default().shares(&[Cut { at: 5, node: 0 }]), [0]);
    assert_eq!(Spans::default().path(Overlap::Clip), []);
}

/// Of equal intervals the smallest id has the path; ids, not places, decide.
#[test]
fn the_smallest_id_wins_a_tie() {
    let spans: Spans = [(0, 0, 10, 9), (0, 2, 8, 5), (0, 2, 8, 3), (0, 2, 8, 4)].into_iter().collect();
    assert_eq!(spans.path(Overlap::Clip), [(0, 8, 10), (2, 2, 8), (0, 0, 2)]);
}

/// Equal ends: the longer child. It hides the shorter one from the path.
#[test]
fn the_earlier_start_wins_equal_ends() {
    let spans = Spans::of(&[(0, 0, 10), (0, 6, 10), (0, 4, 10)]);
    assert_eq!(spans.path(Overlap::Clip), [(2, 4, 10), (0, 0, 4)]);
}

/// 10 ns among three: the smallest id gets the tenth. Then 2 ns among three: the two smallest.
#[test]
fn remainders_go_to_the_smallest_ids() {
    let same = |end| [(0, 0, end, 9), (0, 0, end, 7), (0, 0, end, 1), (0, 0, end, 4)];
    assert_eq!(same(10).into_iter().collect::<Spans>().shares(&[]), [0, 3, 4, 3]);
    assert_eq!(same(2).into_iter().collect::<Spans>().shares(&[]), [0, 0, 1, 1]);
}

/// 250 ns among a hundred: 2 each, and 1 more to the fifty smallest ids, which came last.
#[test]
fn remainders_among_many() {
    let spans: Spans = (0..=100).map(|node| (0, 0, 250, 1_000 - node)).collect();
    let expected: Vec<u64> = (0..=100).map(|node| if node == 0 { 0 } else { 2 + node / 51 }).collect();
    assert_eq!(spans.shares(&[]), expected);
}

/// A cut on a span that is no active leaf then names its later time but cuts nobody's: 10 ns between
/// two stay 5 + 5. On a leaf it cuts: 3 + 7 ns give the smaller id 2 + 4.
#[test]
fn only_a_cut_on_an_active_leaf_cuts_time() {
    let spans = Spans::of(&[(0, 0, 12), (0, 0, 10), (0, 0, 10)]);
    assert_eq!(spans.shares(&[Cut { at: 3, node: 0 }]), [0, 5, 5, 2]);
    assert_eq!(spans.shares(&[Cut { at: 3, node: 2 }]), [2, 6, 1, 3]);
    assert_eq!(spans.shares(&[Cut { at: -1, node: 1 }, Cut { at: 0, node: 9 }]), [2, 0, 5, 5, 0]);
    assert_eq!(spans.shares(&[Cut { at: 0, node: 1 }, Cut { at: 0, node: 1 }]), [2, 0, 5, 0, 5]);
}

/// Times at both ends of the integers do not overflow.
#[test]
fn the_widest_interval_is_fine() {
    let spans = Spans::of(&[(0, i64::MIN, i64::MAX), (0, i64::MIN, 0), (0, 0, i64::MAX)]);
    assert_eq!(spans.path(Overlap::Clip), [(2, 0, i64::MAX), (1, i64::MIN, 0)]);
    assert_eq!(spans.shares(&[]), [0, 1 << 63, (1 << 63) - 1]);
}

// ---- Vectors of others.

/// Jaeger UI's critical path cases (testCases/test1..9), µs; `HappensBefore` is its rule.
/// In the fifth, B is detached (PRODUCER to CONSUMER): the join gives such a span no length.
#[test]
fn happens_before_agrees_with_jaeger_ui() {
    type Case = (&'static [(u32, i64, i64)], &'static [Segment]);
    let cases: [Case; 9] = [
        (
            &[(0, 1, 101), (0, 20, 40), (0, 50, 60)],
            &[(0, 60, 101), (2, 50, 60), (0, 40, 50), (1, 20, 40), (0, 1, 20)],
        ),
        (&[(0, 1, 101), (0, 10, 50), (0, 20, 60)], &[(0, 60, 101), (2, 20, 60), (0, 1, 20)]),
        (&[(0, 100, 140), (0, 200, 500)], &[(0, 100, 140)]),
        (&[(0, 1, 31), (0, 40, 80), (1, 50, 60)], &[(0, 1, 31)]),
        (&[(0, 1, 31), (0, 10, 10), (1, 12, 14)], &[(0, 1, 31)]),
        (&[(0, 1, 30), (0, 15, 35), (1, 10, 25)], &[(1, 25, 30), (2, 15, 25), (0, 1, 15)]),
        (&[(0, 1, 30), (0, 15, 35), (1, 20, 40)], &[(2, 20, 30), (1, 15, 20), (0, 1, 15)]),
        (&[(0, 10, 30), (0, 5, 35)], &[(1, 10, 30)]),
        (&[(0, 10, 30), (0, 1, 5)], &[(0, 10, 30)]),
    ];
    for (at, (spans, path)) in cases.iter().enumerate() {
        assert_eq!(Spans::of(spans).path(Overlap::HappensBefore), *path, "case {}", at + 1);
        if at != 1 {
            assert_eq!(Spans::of(spans).path(Overlap::Clip), *path, "case {}, clip", at + 1);
        }
    }
    let second = [(0, 60, 101), (2, 20, 60), (1, 10, 20), (0, 1, 10)];
    assert_eq!(Spans::of(cases[1].0).path(Overlap::Clip), second, "A ran while C had not begun");
}

/// kube-apiserver's `SerializeObject` beside `List`, both inside the root: List was waited for last.
#[test]
fn list_beside_serialize_object() {
    let spans = Spans::of(&[(0, 0, 44_261_000), (0, 1_000, 44_260_912), (0, 2_330, 44_260_589)]);
    let path = [(0, 44_260_912, 44_261_000), (1, 1_000, 44_260_912), (0, 0, 1_000)];
    assert_eq!(spans.path(Overlap::Clip), path);
}

// ---- Size: a debug build's stack would not survive recursion here.

const MANY: i64 = 100_000;

/// Below the first, each span is 1 ns shorter than its parent at both ends.
fn chain() -> Spans {
    let below = (0..MANY).map(|at| (at as u32, at, 2 * MANY - at, at as u64));
    std::iter::once((0, 0, 2 * MANY, u64::MAX)).chain(below).collect()
}

/// All run beside each other in the middle.
fn fan() -> Spans {
    let below = (0..MANY).map(|at| (0, at, MANY + at, at.reverse_bits() as u64));
    std::iter::once((0, 0, 2 * MANY, u64::MAX)).chain(below).collect()
}

#[test]
fn a_hundred_thousand_deep() {
    let chain = chain();
    assert_eq!(total(&chain.path(Overlap::Clip)), 2 * MANY);
    assert_eq!(total(&chain.own()), 2 * MANY);
    assert_eq!(chain.shares(&[]).iter().sum::<u64>(), 2 * MANY as u64);
}

/// The path takes the last child whole, then 1 ns of each before it.
#[test]
fn a_hundred_thousand_wide() {
    let fan = fan();
    assert_eq!(fan.path(Overlap::Clip).len() as i64, MANY + 1);
    assert_eq!(total(&fan.own()), 1 + MANY * MANY);
    assert_eq!(fan.shares(&[]).iter().sum::<u64>(), 2 * MANY as u64);
}
