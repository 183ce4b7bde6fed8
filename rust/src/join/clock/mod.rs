//! Offsets between the clocks of processes, measured from the calls between them.
//!
//! An RPC pair bounds the offset θ = server clock − client clock, since the call came before its handling, and the
//! answer after it:
//!
//! ```text
//! client   c1 |===================| c2         s2 − c2 ≤ θ ≤ s1 − c1
//! server       s1 |===========| s2
//! ```
//!
//! A caller that gave up (status ERROR: cancelled, deadline exceeded) did not wait for the end, so such a call bounds
//! θ from above only. All pairs of the same two processes together decide:
//!
//! * some θ fits all, 0 among them: the clocks agree, and nothing moves;
//! * some θ fits all, but not 0: the one nearest 0 is taken off the server's times;
//! * none fits, but a line θ + ρ·(t − t₀) with |ρ| ≤ [`MAX_DRIFT`] does: the clocks drift; the steepest-fitting middle
//!   line is used, one value per call, so that what happened in the call keeps its durations;
//! * no line fits: several processes share one name, or a clock was stepped. That is said, and nothing is corrected.
//!
//! A span that ends late, because its process had to wait for a processor, makes a bound that is not true. So calls that
//! contradict the rest are set aside, and counted, while they are few ([`spare`]):
//!
//! ```text
//!          0
//!   ├──────┼─────┤
//!      ├───┼──────────┤      the rest agree: 0 fits all of them
//!          │ ├──────────┤    its end came late: set aside
//! ```

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "drift is fitted in floats: times from the middle are exact to 2^53 ns, which is 104 days"
)]

mod hull;
mod written;

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::Columns;
use crate::columns::processes::Processes;
use crate::join::clock::hull::Hull;
use crate::join::times::LATEST;
use crate::numbers::usize_of;

/// `StatusCode` of the `.proto`.
const STATUS_ERROR: i32 = 2;

/// No faster drift is believed: NTP slews by 500 ppm at most, and quartz is far better.
pub const MAX_DRIFT: f64 = 500e-6;

/// How finely the slope of a drift is searched.
const STEPS: usize = 100;

/// One call in so many may contradict the rest and be set aside; where calls are few, so many of them, if they are not
/// more than one in [`FEW_SHARE`].
const SHARE: u64 = 200;
const FEW: u64 = 3;
const FEW_SHARE: u64 = 5;

/// So late a span ends when its process waits for a processor, in ns. An offset beyond that is believed even if only
/// few calls tell it.
const LATE_NS: i64 = 1_000_000;

/// So many of the highest lows and the lowest highs are kept: of clocks that do not agree, no more calls are set aside.
const KEPT: usize = 64;

/// How many of so many calls may be set aside.
fn spare(pairs: u64) -> u64 {
    (pairs / SHARE).max(FEW.min(pairs / FEW_SHARE))
}

/// What one call says: θ at time `t` is at least `low` and at most `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub(crate) t: i64,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// The bounds of many calls, as far as a fixed offset goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extremes {
    pairs: u64,
    first: i64,
    last: i64,
    /// Calls that 0 does not fit.
    off_zero: u64,
    /// The highest low and the lowest high of those that it fits.
    at_zero: (i64, i64),
    /// The highest lows, highest first.
    lows: Vec<i64>,
    /// The lowest highs with their signs turned, lowest first.
    highs: Vec<i64>,
}

impl Default for Extremes {
    fn default() -> Self {
        Self {
            pairs: 0,
            first: LATEST,
            last: 0,
            off_zero: 0,
            at_zero: (i64::MIN, i64::MAX),
            lows: Vec::new(),
            highs: Vec::new(),
        }
    }
}

/// Keeps the greatest values, the greatest first.
fn keep(greatest: &mut Vec<i64>, value: i64) {
    if greatest.len() > KEPT && value <= greatest[KEPT] {
        return;
    }
    greatest.insert(greatest.partition_point(|&other| other >= value), value);
    greatest.truncate(KEPT + 1);
}

impl Extremes {
    fn add(&mut self, bound: Bound) {
        self.pairs += 1;
        (self.first, self.last) = (self.first.min(bound.t), self.last.max(bound.t));
        if bound.low <= 0 && 0 <= bound.high {
            self.at_zero = (self.at_zero.0.max(bound.low), self.at_zero.1.min(bound.high));
        } else {
            self.off_zero += 1;
        }
        if bound.low != i64::MIN {
            keep(&mut self.lows, bound.low);
        }
        keep(&mut self.highs, -bound.high);
    }

    fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
        self.off_zero += other.off_zero;
        self.at_zero = (self.at_zero.0.max(other.at_zero.0), self.at_zero.1.min(other.at_zero.1));
        other.lows.iter().for_each(|&low| keep(&mut self.lows, low));
        other.highs.iter().for_each(|&high| keep(&mut self.highs, high));
    }

    /// What is left between the lows and the highs when so many of the highest and the lowest are set aside.
    fn without(&self, lows: usize, highs: usize) -> (i64, i64) {
        let high = self.highs.get(highs).map_or(i64::MAX, |&high| -high);
        (self.lows.get(lows).copied().unwrap_or(i64::MIN), high)
    }

    /// The offsets that contradict the fewest calls, at most so many, and how many; of several the nearest to 0.
    fn fit_most(&self, most: u64) -> Option<(u64, (i64, i64))> {
        (1..=usize_of(most.min(KEPT as u64))).find_map(|aside| {
            let ways = (0..=aside).map(|lows| self.without(lows, aside - lows));
            let fits = ways.filter(|(low, high)| low <= high);
            fits.min_by_key(|&(low, high)| 0.clamp(low, high).abs()).map(|fit| (aside as u64, fit))
        })
    }
}

/// All that many calls say, in little room: what lines between their bounds can touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    extremes: Extremes,
    lows: Hull,
    /// Of the highs with their signs turned.
    highs: Hull,
}

impl Summary {
    /// Adds one call.
    pub fn add(&mut self, bound: Bound) {
        self.extremes.add(bound);
        self.add_to_hulls(bound);
    }

    fn add_to_hulls(&mut self, bound: Bound) {
        if bound.low != i64::MIN {
            self.lows.add(bound.t, bound.low);
        }
        self.highs.add(bound.t, -bound.high);
    }

    /// Adds all that another says.
    pub fn merge(&mut self, other: &Self) {
        self.extremes.merge(&other.extremes);
        self.lows.merge(&other.lows);
        self.highs.merge(&other.highs);
    }

    /// How many calls there are.
    pub fn pairs(&self) -> u64 {
        self.extremes.pairs
    }

    /// When the last of the calls was made, in ns since the epoch.
    pub fn last(&self) -> i64 {
        self.extremes.last
    }
}

/// Calls that were measured before: by the keys of the calling and the called process.
pub type Evidence = HashMap<(u64, u64), Summary, RandomState>;

/// What is known of other calls than those at hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Numbers processes: see [`Processes::key`]. None when nothing is known.
    pub keys: Option<&'a RandomState>,
    /// Calls told by their ids.
    pub calls: Option<&'a Evidence>,
    /// Calls whose caller was found by [`crate::join::orphans`].
    pub adopted: Option<&'a Evidence>,
    /// The calls at hand are among them.
    pub whole: bool,
}

impl<'a> Known<'a> {
    /// What the calls between these two processes say, of those in `parts`.
    pub fn of(
        self,
        processes: &Processes,
        pair: (u32, u32),
        parts: &[Option<&'a Evidence>],
    ) -> impl Iterator<Item = &'a Summary> {
        let key = self.keys.map(|keys| (processes.key(pair.0, keys), processes.key(pair.1, keys)));
        let known = key.map(|key| parts.iter().flatten().filter_map(move |evidence| evidence.get(&key)));
        known.into_iter().flatten()
    }

    /// The pairs of these processes whose calls `parts` tell of.
    pub fn pairs(self, processes: &Processes, parts: &[Option<&'a Evidence>]) -> Vec<(u32, u32)> {
        let Some(keys) = self.keys else { return Vec::new() };
        let numbers: HashMap<u64, u32, RandomState> = processes.keys(keys).into_iter().zip(0..).collect();
        let here = |(client, server)| Some((*numbers.get(client)?, *numbers.get(server)?));
        parts
            .iter()
            .flatten()
            .flat_map(|evidence| evidence.keys())
            .filter_map(|(a, b)| here((a, b)))
            .collect()
    }
}

/// What all calls between two processes say about their clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// 0 is within the bounds.
    Agree,
    /// One offset fits all calls.
    Offset,
    /// Only an offset that changes steadily does.
    Drift,
    /// Nothing does.
    Contradiction,
}

impl Verdict {
    /// The names, in the order of the variants.
    pub const NAMES: [&'static str; 4] = ["agree", "offset", "drift", "contradiction"];
}

/// The measured offset of one process's clock against another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockOffset {
    /// The calling process.
    pub client: u32,
    /// The called process.
    pub server: u32,
    /// What the calls say.
    pub verdict: Verdict,
    /// What is taken off the server's times at `at`, in ns.
    pub offset_ns: i64,
    /// The offset at `at` is at least this; `i64::MIN` when no call bounds it.
    pub low_ns: i64,
    /// The offset at `at` is at most this.
    pub high_ns: i64,
    /// Change of the offset in ns per ns; 0 without drift.
    pub drift: f64,
    /// The middle of the calls' times, ns since the epoch.
    pub at: i64,
    /// How many calls there are.
    pub pairs: u64,
    /// How many of them contradict the rest, and were set aside.
    pub set_aside: u64,
}

impl ClockOffset {
    /// The correction at time `t` of the caller's clock.
    pub fn at(&self, t: i64) -> i64 {
        self.offset_ns.saturating_add((self.drift * (t - self.at) as f64).round() as i64)
    }
}

/// What an RPC pair says; nothing if both are of one process or their times cannot be true.
pub fn bound(
    c: &Columns,
    processes: &Processes,
    (client, server): (u32, u32),
    times: impl Fn(usize) -> (i64, i64),
) -> Option<((u32, u32), Bound)> {
    let (client, server) = (client as usize, server as usize);
    let pair = (processes.of(c, client), processes.of(c, server));
    let ((c1, c2), (s1, s2)) = (times(client), times(server));
    let gave_up = c.spans.status_code[client] == STATUS_ERROR;
    let usable = pair.0 != pair.1 && c1 <= c2 && s1 <= s2 && (gave_up || s2 - s1 <= c2 - c1);
    let low = if gave_up { i64::MIN } else { s2 - c2 };
    usable.then_some((pair, Bound { t: c1, low, high: s1 - c1 }))
}

/// Measures the offset of every pair of processes that called each other, by what each call between them says. `known`
/// adds calls made `elsewhere`, or is the `whole` with these among them. A pair that only calls elsewhere tell of is
/// measured too: spans here can be below each other without such a call.
pub fn measure<'a>(
    calls: impl Iterator<Item = ((u32, u32), Bound)>,
    elsewhere: Vec<(u32, u32)>,
    known: impl Fn((u32, u32)) -> Vec<&'a Summary>,
    whole: bool,
) -> Vec<ClockOffset> {
    let mut bounds: BTreeMap<(u32, u32), Vec<Bound>> =
        elsewhere.into_iter().map(|pair| (pair, Vec::new())).collect();
    for (pair, bound) in calls {
        bounds.entry(pair).or_default().push(bound);
    }
    let offset = |(pair, bounds): ((u32, u32), Vec<Bound>)| {
        decide(pair, if whole { &[] } else { &bounds }, &known(pair))
    };
    bounds.into_iter().map(offset).collect()
}

fn decide((client, server): (u32, u32), bounds: &[Bound], known: &[&Summary]) -> ClockOffset {
    let mut all = Extremes::default();
    for &bound in bounds {
        all.add(bound);
    }
    for summary in known {
        all.merge(&summary.extremes);
    }
    let (low_ns, high_ns) = all.without(0, 0);
    let plain = ClockOffset {
        client,
        server,
        verdict: Verdict::Agree,
        offset_ns: 0,
        low_ns,
        high_ns,
        drift: 0.0,
        at: all.first + (all.last - all.first) / 2,
        pairs: all.pairs,
        set_aside: 0,
    };
    let fits = |verdict, (low_ns, high_ns): (i64, i64), set_aside| ClockOffset {
        verdict,
        offset_ns: 0.clamp(low_ns, high_ns),
        low_ns,
        high_ns,
        set_aside,
        ..plain
    };
    let one_fits_all = low_ns <= high_ns;
    let late = !one_fits_all || low_ns.max(high_ns.saturating_neg()) <= LATE_NS;
    if all.off_zero == 0 {
        return plain;
    }
    if all.off_zero <= spare(all.pairs) && late {
        return fits(Verdict::Agree, all.at_zero, all.off_zero);
    }
    if one_fits_all {
        return fits(Verdict::Offset, (low_ns, high_ns), 0);
    }
    let mut hulls = Summary::default();
    for &bound in bounds {
        hulls.add_to_hulls(bound);
    }
    for summary in known {
        hulls.lows.merge(&summary.lows);
        hulls.highs.merge(&summary.highs);
    }
    let drift = fit_drift(&hulls, plain);
    let most = || all.fit_most(spare(all.pairs)).map(|(aside, fit)| fits(Verdict::Offset, fit, aside));
    drift.or_else(most).unwrap_or(ClockOffset { verdict: Verdict::Contradiction, ..plain })
}

/// All bounds moved to one time along a slope: what is left between the highest low and the lowest high.
///
/// ```text
/// θ │        ┬   high                       ┬
///   │   ┬    ┴                 slope ρ      ┬ ┬
///   │   ┴  ┬                      →       ──┼─┼─┬──  every θ in the gap fits
///   │ ┬    ┴   low                          ┴ ┴ ┴
///   └────────── t                              t₀
/// ```
fn gap(bounds: &Summary, at: i64, slope: f64) -> (f64, f64) {
    let moved = |value: i64, t: i64| value as f64 - slope * (t - at) as f64;
    let low = bounds.lows.points().iter().map(|&(t, low)| moved(low, t));
    let high = bounds.highs.points().iter().map(|&(t, high)| moved(-high, t));
    (low.fold(f64::NEG_INFINITY, f64::max), high.fold(f64::INFINITY, f64::min))
}

/// Finds the slope with the widest gap. The width is concave in the slope (a minimum of lines minus a maximum of
/// lines), so a ternary search finds its top, and every slope that fits lies around it.
fn fit_drift(bounds: &Summary, plain: ClockOffset) -> Option<ClockOffset> {
    let width = |slope: f64| {
        let (low, high) = gap(bounds, plain.at, slope);
        high - low
    };
    let best = ternary(-MAX_DRIFT, MAX_DRIFT, |slope| -width(slope));
    if width(best) < 0.0 {
        return None;
    }
    let least = edge(best, -MAX_DRIFT, |slope| width(slope) >= 0.0);
    let most = edge(best, MAX_DRIFT, |slope| width(slope) >= 0.0);
    // Over all slopes that fit: how low and how high the offset at the middle can be.
    let lowest = ternary(least, most, |slope| gap(bounds, plain.at, slope).0);
    let highest = ternary(least, most, |slope| -gap(bounds, plain.at, slope).1);
    let (low, high) = gap(bounds, plain.at, best);
    Some(ClockOffset {
        verdict: Verdict::Drift,
        offset_ns: f64::midpoint(low, high).round() as i64,
        low_ns: gap(bounds, plain.at, lowest).0.floor() as i64,
        high_ns: gap(bounds, plain.at, highest).1.ceil() as i64,
        drift: best,
        ..plain
    })
}

/// Where a convex function is least between `low` and `high`.
fn ternary(mut low: f64, mut high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..STEPS {
        let third = (high - low) / 3.0;
        if cost(low + third) <= cost(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    low + (high - low) / 2.0
}

/// The point farthest from `inside` on the way to `limit` that still fits.
fn edge(inside: f64, limit: f64, fits: impl Fn(f64) -> bool) -> f64 {
    let (mut inside, mut outside) = (inside, limit);
    if fits(limit) {
        return limit;
    }
    for _ in 0..STEPS {
        let middle = inside + (outside - inside) / 2.0;
        if fits(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(t: i64, low: i64, high: i64) -> Bound {
        Bound { t, low, high }
    }

    #[test]
    fn the_offset_is_the_point_of_the_bounds_nearest_zero() {
        let offset = |low, high| decide((0, 1), &[bound(0, low, high)], &[]);
        assert_eq!((Verdict::Agree, 0), (offset(-5, 7).verdict, offset(-5, 7).offset_ns));
        assert_eq!((Verdict::Offset, 100), (offset(100, 140).verdict, offset(100, 140).offset_ns));
        assert_eq!((Verdict::Offset, -30), (offset(-90, -30).verdict, offset(-90, -30).offset_ns));
    }

    #[test]
    fn all_calls_narrow_the_bounds() {
        let offset = decide((0, 1), &[bound(0, 50, 200), bound(10, 90, 400), bound(20, 10, 130)], &[]);
        assert_eq!((90, 130, 90), (offset.low_ns, offset.high_ns, offset.offset_ns));
    }

    #[test]
    fn a_call_that_was_given_up_bounds_from_above_only() {
        let offset = decide((0, 1), &[bound(0, i64::MIN, 40), bound(1, -20, 90)], &[]);
        assert_eq!((Verdict::Agree, -20, 40), (offset.verdict, offset.low_ns, offset.high_ns));
    }

    #[test]
    fn a_drift_of_50_ppm_is_found() {
        // One call a second for an hour; the offset is 1 ms at the start and grows by 50 us a second.
        let second = 1_000_000_000;
        let truth = |t: i64| 1_000_000 + t / 20_000;
        let calls: Vec<Bound> = (0..3_600)
            .map(|i| {
                bound(i * second, truth(i * second) - 200_000 - i % 7, truth(i * second) + 300_000 + i % 5)
            })
            .collect();
        let offset = decide((0, 1), &calls, &[]);
        assert_eq!(Verdict::Drift, offset.verdict);
        assert!((offset.drift - 50e-6).abs() < 1e-6, "{}", offset.drift);
        assert!((offset.low_ns..=offset.high_ns).contains(&truth(offset.at)));
        assert!((offset.at(1_800 * second) - truth(1_800 * second)).abs() <= 250_000);
    }

    #[test]
    fn calls_that_were_summed_up_count_as_if_they_were_here() {
        let call = |t: i64| bound(t * 1_000_000, t * 40 - 200 - t % 7, t * 40 + 300 + t % 5);
        let calls: Vec<Bound> = (0..1_000).map(call).collect();
        let mut summary = Summary::default();
        calls[300..].iter().rev().for_each(|&call| summary.add(call));
        let whole = decide((0, 1), &calls, &[]);
        assert_eq!(Verdict::Drift, whole.verdict);
        assert_eq!(whole, decide((0, 1), &calls[..300], &[&summary]));
    }

    #[test]
    fn two_processes_under_one_name_contradict() {
        let calls: Vec<Bound> = (0..100)
            .map(|i| bound(i * 1_000_000, (i % 2) * 80_000_000, (i % 2) * 80_000_000 + 900))
            .collect();
        let offset = decide((0, 1), &calls, &[]);
        assert_eq!((Verdict::Contradiction, 0), (offset.verdict, offset.offset_ns));
    }

    #[test]
    fn calls_whose_end_came_late_are_set_aside_while_they_are_few() {
        let late = |many: i64, of: i64, shift: i64| {
            let call = |i: i64| match i < many {
                true => bound(i, shift + 126_000, shift + 200_000),
                false => bound(i, shift - 40_000, shift + 60_000),
            };
            let offset = decide((0, 1), &(0..of).map(call).collect::<Vec<_>>(), &[]);
            (offset.verdict, offset.set_aside, offset.low_ns - shift, offset.high_ns - shift)
        };
        let second = 1_000_000_000;
        assert_eq!((Verdict::Agree, 12, -40_000, 60_000), late(12, 2_440, 0));
        assert_eq!((Verdict::Offset, 12, -40_000, 60_000), late(12, 2_440, second));
        assert_eq!((Verdict::Agree, 3, -40_000, 60_000), late(3, 15, 0));
        assert_eq!(Verdict::Contradiction, late(13, 2_440, 0).0);
        assert_eq!(Verdict::Contradiction, late(4, 100, second).0);
        assert_eq!(Verdict::Contradiction, late(1, 2, 0).0);
    }

    #[test]
    fn one_late_end_among_calls_that_all_fit_one_offset_moves_nothing() {
        let mut calls: Vec<Bound> = (0..10).map(|t| bound(t, -30_000, 70_000)).collect();
        calls.push(bound(11, 49_760, 90_000));
        let offset = decide((0, 1), &calls, &[]);
        assert_eq!((Verdict::Agree, 1), (offset.verdict, offset.set_aside));
        assert_eq!((-30_000, 70_000), (offset.low_ns, offset.high_ns));
        // So late no span ends: that one call is right, and the others are slow.
        let slow: Vec<Bound> = (0..10).map(|t| bound(t, -900_000_000, 900_000_000)).collect();
        let told = decide((0, 1), &[slow, vec![bound(11, 499_000_000, 501_000_000)]].concat(), &[]);
        assert_eq!((Verdict::Offset, 499_000_000), (told.verdict, told.offset_ns));
    }
}
