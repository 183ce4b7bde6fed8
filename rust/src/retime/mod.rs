//! How long requests would have taken after a change to some of their parts.
//!
//! ```text
//! Walker ─load→ one tree ─prepare→ factors and fixed times per span ─schedule, children first→ how long it takes now
//! ```
//!
//! Exact: times are integers in units that divide a nanosecond, and are rounded down once, at the end. So without a
//! change every request takes exactly what it took, and if a part takes longer, nothing takes less. O(n log n) in the
//! spans of a request, without recursion.

pub mod edits;
pub mod named;
mod schedule;
pub mod summary;
pub mod table;

use crate::attribute::sweep::Overlap;
use crate::attribute::{Phase, PhaseTable, Signatures, Walker};
use crate::columns::NONE;
use crate::join::Joined;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::join::times::id_key;
use crate::numbers::u32_of;
use edits::{Edits, Factor, LARGEST, Op};
use named::Named;
use schedule::{Child, Schedule, Times};

/// A child that ends at most this long after its parent is still waited for: sources with microseconds truncate both ends.
const ROUNDING_NS: i64 = 1_000;

/// Times per request, ns; 0 for those that were not chosen.
#[derive(Debug, Clone, Default)]
pub struct Retimed {
    /// What it took.
    pub before: Vec<u64>,
    /// What it takes if all siblings that had ended were waited for.
    pub all: Vec<u64>,
    /// What it takes if only the last one was.
    pub last: Vec<u64>,
    /// Whether a change affects it.
    pub touched: Vec<bool>,
    /// How long calls took that are set to another time.
    pub took: Vec<Took>,
}

/// How long calls of one change and one name took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// Place of the change among the changes of calls.
    pub edit: u32,
    /// Number of the named call, 0 for none.
    pub class: u32,
    /// 5th percentile by nearest rank, ns.
    pub p5: i64,
    /// 95th percentile by nearest rank, ns.
    pub p95: i64,
}

/// Projects the chosen requests. `like`: a result for the same changes with other times; unaffected requests are copied.
pub fn retime(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    (named, edits): (&Named, &Edits),
    like: Option<&Retimed>,
    chosen: impl Fn(usize) -> bool,
) -> Retimed {
    let mut retimer = Retimer::new(joined, signatures, table, named, edits);
    let mut result = Retimed::default();
    for request in 0..joined.requests.len() {
        let [before, all, last, touched] = match like {
            Some(like) if !like.touched[request] => {
                [like.before[request], like.all[request], like.last[request], 0]
            }
            _ if chosen(request) => retimer.request(request),
            _ => [0; 4],
        };
        result.before.push(before);
        result.all.push(all);
        result.last.push(last);
        result.touched.push(touched == 1);
    }
    result.took = percentiles(retimer.took);
    result
}

/// Of each change and name.
fn percentiles(mut took: Vec<(u32, u32, i64)>) -> Vec<Took> {
    took.sort_unstable();
    let groups = took.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
    let rank = |group: &[(u32, u32, i64)], hundredths: usize| {
        group[(group.len() * hundredths).div_ceil(100).saturating_sub(1)].2
    };
    let row = |group: &[(u32, u32, i64)]| Took {
        edit: group[0].0,
        class: group[0].1,
        p5: rank(group, 5),
        p95: rank(group, 95),
    };
    groups.map(row).collect()
}

fn whole_ns(ns: i128) -> u64 {
    u64::try_from(ns).unwrap_or(if ns < 0 { 0 } else { u64::MAX })
}

/// Own time of a span takes another time while it is below a call that was changed.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Place of the one around it plus 1, 0 for none.
    above: u32,
    /// The change, as a bit.
    bit: u32,
    /// Units per ns.
    factor: i64,
}

/// A span's own time from some instant on, up to the next.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    /// What all own time before it takes.
    before: Times,
    factor: Factor,
}

/// One node, as it is prepared.
#[derive(Debug, Clone, Copy)]
struct Plan {
    set: u16,
    /// Number of the named call that it is below, 0 for none.
    class: u32,
    /// Call edits that it is below, as bits.
    below: u32,
    /// Place of its pace plus 1, 0 for none.
    pace: u32,
    /// It takes this long, whatever is in it.
    fixed: Option<i128>,
    /// It takes so much longer.
    more: i128,
    /// Last of its children, [`NONE`] if it has none; then their sibling before.
    child: u32,
    sibling: u32,
}

/// Goes from request to request, with memory that is used again.
struct Retimer<'a> {
    joined: &'a Joined,
    signatures: &'a Signatures,
    named: &'a Named,
    edits: &'a Edits,
    walker: Walker<'a>,
    plans: Vec<Plan>,
    paces: Vec<Pace>,
    takes: Vec<Times>,
    children: Vec<Child>,
    stretches: Vec<Stretch>,
    schedule: Schedule,
    /// Of calls that are set to another time: the change, the number of the name, ns.
    took: Vec<(u32, u32, i64)>,
}

impl<'a> Retimer<'a> {
    fn new(
        joined: &'a Joined,
        signatures: &'a Signatures,
        table: &'a PhaseTable,
        named: &'a Named,
        edits: &'a Edits,
    ) -> Self {
        Self {
            joined,
            signatures,
            named,
            edits,
            walker: Walker::new(joined, signatures, table),
            plans: Vec::new(),
            paces: Vec::new(),
            takes: Vec::new(),
            children: Vec::new(),
            stretches: Vec::new(),
            schedule: Schedule::default(),
            took: Vec::new(),
        }
    }

    /// How long a request took, and takes now in both readings, in ns; and 1 if something happens to it.
    fn request(&mut self, request: usize) -> [u64; 4] {
        self.walker.load(request);
        let (start, end) = self.walker.sweep.effective(0);
        let before = i128::from(end) - i128::from(start);
        let touched = self.prepare(request);
        let after = if touched { self.run() } else { Times::same(before) };
        [whole_ns(before), whole_ns(after.all), whole_ns(after.last), u64::from(touched)]
    }

    /// What happens to each span; whether anything does. Parents come before their children.
    fn prepare(&mut self, request: usize) -> bool {
        self.plans.clear();
        self.paces.clear();
        let mut touched = false;
        let mut made: u32 = 0;
        for node in 0..self.walker.rows.len() {
            let parent = self.walker.sweep.parent(u32_of(node)) as usize;
            let above = if node == 0 { None } else { Some(self.plans[parent]) };
            let own_class = self.named.of_row.get(self.walker.rows[node] as usize).copied().unwrap_or(0);
            let class_above = above.map_or(0, |above| above.class);
            let class = if class_above == 0 { own_class } else { class_above };
            let set = self.edits.set_of(class);
            let mut plan = Plan {
                set: u16::try_from(set).unwrap_or(u16::MAX),
                class,
                below: above.map_or(0, |above| above.below),
                pace: above.map_or(0, |above| above.pace),
                fixed: None,
                more: 0,
                child: NONE,
                sibling: NONE,
            };
            let mut bits = if class == class_above { 0 } else { self.edits.whole[set] };
            for phase in self.phases(node) {
                touched |= !self.edits.keeps(set, phase);
                bits |= self.edits.part_of[set][usize::from(phase)];
            }
            bits &= !plan.below;
            if bits != 0 {
                touched = true;
                self.change(request, node, &mut plan, bits, &mut made);
            }
            if node > 0 {
                plan.sibling = std::mem::replace(&mut self.plans[parent].child, u32_of(node));
            }
            self.plans.push(plan);
        }
        touched
    }

    /// Phases of a span's own time.
    fn phases(&self, node: usize) -> impl Iterator<Item = Phase> {
        let (labels, node) = (&self.walker.labels, u32_of(node));
        let marks = labels.marks(node).iter().map(|&(_, phase)| phase);
        std::iter::once(labels.initial(node)).chain(marks)
    }

    /// A call begins here that some changes are about.
    fn change(&mut self, request: usize, node: usize, plan: &mut Plan, bits: u32, made: &mut u32) {
        plan.below |= bits;
        let edits = self.edits;
        let mut gone = false;
        for (at, edit) in edits.calls.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1) {
            if !edit.chosen.is_empty() && !edit.chosen[request] {
                continue;
            }
            let bit = 1 << at;
            match edit.op {
                Op::Gone => gone = true,
                Op::Once if *made & bit != 0 => gone = true,
                Op::Once => *made |= bit,
                Op::Plus(ns) => plan.more += i128::from(ns) * i128::from(edits.unit),
                Op::Takes { ns, unseen } => {
                    let ns = if self.is_unseen(node) { ns + unseen } else { ns };
                    let class = plan.class;
                    let took = self.waited_for(node, plan, bit);
                    self.took.push((u32_of(at), class, took));
                    self.set_time(node, plan, bit, took, ns.saturating_add(edit.more_of(class, took)));
                }
                Op::AtMost(ns) => {
                    let took = self.waited_for(node, plan, bit);
                    self.set_time(node, plan, bit, took, took.min(ns));
                }
            }
        }
        if gone {
            (plan.fixed, plan.more) = (Some(0), 0);
        }
    }

    /// The other side of a call sent no span.
    fn is_unseen(&self, node: usize) -> bool {
        let signature = self.signatures.of_row[self.walker.rows[node] as usize];
        self.signatures.list[signature as usize].leaf
    }

    /// A call takes another time: all of it, or what of it is part of the change, as far as it was waited for.
    fn set_time(&mut self, node: usize, plan: &mut Plan, bit: u32, took: i64, ns: i64) {
        let (start, end) = self.walker.sweep.effective(u32_of(node));
        let unit = i128::from(self.edits.unit);
        if took == end - start {
            plan.fixed = plan.fixed.or(Some(i128::from(ns) * unit));
            return;
        }
        let factor =
            if took > 0 { (i128::from(ns) * unit + i128::from(took) - 1) / i128::from(took) } else { 0 };
        let factor = i64::try_from(factor).ok().filter(|&factor| took > 0 && factor <= LARGEST);
        let Some(factor) = factor else {
            plan.more += i128::from((ns - took).max(0)) * unit;
            return;
        };
        self.paces.push(Pace { above: plan.pace, bit, factor });
        plan.pace = u32_of(self.paces.len());
    }

    /// How much time of the change's phases is on the critical path of a call, ns.
    fn waited_for(&mut self, node: usize, plan: &Plan, bit: u32) -> i64 {
        let (edits, labels) = (self.edits, &self.walker.labels);
        let mut sum = 0;
        self.walker.sweep.critical_path_of(u32_of(node), Overlap::Clip, |inner, from, to| {
            labels.cut(inner, from, to, |phase, from, to| {
                if edits.part_of[usize::from(plan.set)][usize::from(phase)] & bit != 0 {
                    sum += to - from;
                }
            });
        });
        sum
    }

    /// How long the request takes now. Children come before their parents.
    fn run(&mut self) -> Times {
        self.takes.clear();
        self.takes.resize(self.plans.len(), Times::default());
        for node in (0..self.plans.len()).rev() {
            let plan = self.plans[node];
            let takes = match plan.fixed {
                Some(fixed) => Times::same(fixed),
                None => self.scheduled(node, &plan),
            };
            self.takes[node] = takes + Times::same(plan.more);
        }
        let unit = i128::from(self.edits.unit);
        self.takes
            .first()
            .map_or_else(Times::default, |all| Times { all: all.all / unit, last: all.last / unit })
    }

    fn scheduled(&mut self, node: usize, plan: &Plan) -> Times {
        self.gather(node, plan);
        let interval = self.walker.sweep.effective(u32_of(node));
        let labels = &self.walker.labels;
        if labels.marks(u32_of(node)).is_empty() {
            let factor = self.factor(plan, labels.initial(u32_of(node)));
            return self.schedule.takes(interval, &mut self.children, |t| take(factor, interval.0, t));
        }
        self.stretch(node, plan, interval);
        let stretches = &self.stretches;
        self.schedule.takes(interval, &mut self.children, |t| {
            let at = stretches.partition_point(|stretch| stretch.from <= t).saturating_sub(1);
            stretches[at].before + take(stretches[at].factor, stretches[at].from, t)
        })
    }

    /// A span's own time, cut where its phase changes.
    fn stretch(&mut self, node: usize, plan: &Plan, (start, end): (i64, i64)) {
        let mut stretches = std::mem::take(&mut self.stretches);
        stretches.clear();
        let mut before = Times::default();
        self.walker.labels.cut(u32_of(node), start, end, |phase, from, to| {
            let factor = self.factor(plan, phase);
            stretches.push(Stretch { from, before, factor });
            before = before + take(factor, from, to);
        });
        self.stretches = stretches;
    }

    fn factor(&self, plan: &Plan, phase: Phase) -> Factor {
        let (set, phase) = (usize::from(plan.set), usize::from(phase));
        let mut pace = plan.pace;
        while let Some(&Pace { above, bit, factor }) = self.paces.get((pace as usize).wrapping_sub(1)) {
            if self.edits.part_of[set][phase] & bit != 0 {
                return Factor { all: factor, last: factor };
            }
            pace = above;
        }
        self.edits.factors[set][phase]
    }

    /// The children of a node, without those outside of it and those that it does not wait for.
    fn gather(&mut self, node: usize, plan: &Plan) {
        let kind = &self.joined.columns.spans.kind;
        let (walker, row) = (&self.walker, self.walker.rows[node] as usize);
        let until = walker.times(node).1.saturating_add(ROUNDING_NS);
        self.children.clear();
        let mut child = plan.child;
        while let Some(plan) = self.plans.get(child as usize) {
            let at = child as usize;
            let below = walker.rows[at] as usize;
            let (start, end) = walker.sweep.effective(child);
            let sent = walker.times(at);
            let outside = start == end && sent != (start, end);
            let detached = sent.1 != self.joined.end[below] && sent.1 == sent.0;
            if !outside && !detached {
                let answers = kind[row] == CLIENT && kind[below] == SERVER;
                self.children.push(Child {
                    start,
                    end,
                    id: id_key(self.joined.columns.spans.span_id[below]),
                    takes: self.takes[at],
                    waited_for: answers || sent.1 <= until,
                    together: self.edits.together[self.signatures.of_row[below] as usize],
                });
            }
            child = plan.sibling;
        }
    }
}

/// What own time from one instant to a later one takes.
#[inline]
fn take(factor: Factor, from: i64, to: i64) -> Times {
    let ns = i128::from(to) - i128::from(from);
    Times { all: ns * i128::from(factor.all), last: ns * i128::from(factor.last) }
}
