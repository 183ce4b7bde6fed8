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

use std::collections::BTreeMap;

use crate::columns::Columns;
use crate::forest::{Forest, NONE};
use crate::join::LATEST;
use crate::processes::Processes;

/// `StatusCode` of the `.proto`.
const STATUS_ERROR: i32 = 2;

/// No faster drift is believed: NTP slews by 500 ppm at most, and quartz is far better.
pub const MAX_DRIFT: f64 = 500e-6;

/// How finely the slope of a drift is searched.
const STEPS: usize = 100;

/// What one call says: θ at time `t` is at least `low` and at most `high`.
#[derive(Debug, Clone, Copy)]
struct Bound {
    t: i64,
    low: i64,
    high: i64,
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
    /// How many calls were used.
    pub pairs: u64,
}

impl ClockOffset {
    /// The correction at time `t` of the caller's clock.
    pub fn at(&self, t: i64) -> i64 {
        self.offset_ns.saturating_add((self.drift * (t - self.at) as f64).round() as i64)
    }
}

/// Measures the offset of every pair of processes that called each other.
pub fn measure(
    c: &Columns,
    processes: &Processes,
    rpc_pairs: &[(u32, u32)],
    start: &[i64],
    end: &[i64],
) -> Vec<ClockOffset> {
    let mut bounds: BTreeMap<(u32, u32), Vec<Bound>> = BTreeMap::new();
    for &(client, server) in rpc_pairs {
        let (client, server) = (client as usize, server as usize);
        let pair = (processes.of(c, client), processes.of(c, server));
        let gave_up = c.spans.status_code[client] == STATUS_ERROR;
        let sane = start[client] <= end[client] && start[server] <= end[server];
        let longer = end[server] - start[server] > end[client] - start[client];
        if pair.0 != pair.1 && sane && (gave_up || !longer) {
            bounds.entry(pair).or_default().push(Bound {
                t: start[client],
                low: if gave_up { i64::MIN } else { end[server] - end[client] },
                high: start[server] - start[client],
            });
        }
    }
    bounds.into_iter().map(|((client, server), bounds)| decide(client, server, &bounds)).collect()
}

fn decide(client: u32, server: u32, bounds: &[Bound]) -> ClockOffset {
    let low_ns = bounds.iter().map(|bound| bound.low).max().unwrap_or(i64::MIN);
    let high_ns = bounds.iter().map(|bound| bound.high).min().unwrap_or(i64::MAX);
    let (first, last) = bounds.iter().fold((LATEST, 0), |(a, b), x| (a.min(x.t), b.max(x.t)));
    let plain = ClockOffset {
        client,
        server,
        verdict: Verdict::Agree,
        offset_ns: 0,
        low_ns,
        high_ns,
        drift: 0.0,
        at: first + (last - first) / 2,
        pairs: bounds.len() as u64,
    };
    match (low_ns <= 0 && 0 <= high_ns, low_ns <= high_ns) {
        (true, _) => plain,
        (_, true) => ClockOffset { verdict: Verdict::Offset, offset_ns: 0.clamp(low_ns, high_ns), ..plain },
        _ => fit_drift(bounds, plain),
    }
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
fn gap(bounds: &[Bound], at: i64, slope: f64) -> (f64, f64) {
    let moved = |value: i64, t: i64| value as f64 - slope * (t - at) as f64;
    let low = bounds.iter().filter(|b| b.low != i64::MIN).map(|b| moved(b.low, b.t));
    let high = bounds.iter().map(|b| moved(b.high, b.t));
    (low.fold(f64::NEG_INFINITY, f64::max), high.fold(f64::INFINITY, f64::min))
}

/// Finds the slope with the widest gap. The width is concave in the slope (a minimum of lines minus a maximum of
/// lines), so a ternary search finds its top, and every slope that fits lies around it.
fn fit_drift(bounds: &[Bound], plain: ClockOffset) -> ClockOffset {
    let width = |slope: f64| {
        let (low, high) = gap(bounds, plain.at, slope);
        high - low
    };
    let best = ternary(-MAX_DRIFT, MAX_DRIFT, |slope| -width(slope));
    if width(best) < 0.0 {
        return ClockOffset { verdict: Verdict::Contradiction, ..plain };
    }
    let least = edge(best, -MAX_DRIFT, |slope| width(slope) >= 0.0);
    let most = edge(best, MAX_DRIFT, |slope| width(slope) >= 0.0);
    // Over all slopes that fit: how low and how high the offset at the middle can be.
    let lowest = ternary(least, most, |slope| gap(bounds, plain.at, slope).0);
    let highest = ternary(least, most, |slope| -gap(bounds, plain.at, slope).1);
    let (low, high) = gap(bounds, plain.at, best);
    ClockOffset {
        verdict: Verdict::Drift,
        offset_ns: ((low + high) / 2.0).round() as i64,
        low_ns: gap(bounds, plain.at, lowest).0.floor() as i64,
        high_ns: gap(bounds, plain.at, highest).1.ceil() as i64,
        drift: best,
        ..plain
    }
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

/// Moves the times of called processes onto the clock of the process at the top of their tree.
/// All spans that one process spent on one call move together.
pub fn correct(
    offsets: &[ClockOffset],
    c: &Columns,
    processes: &Processes,
    forest: &Forest,
    parent: &[u32],
    start: &mut [i64],
    end: &mut [i64],
) {
    let moved: BTreeMap<(u32, u32), &ClockOffset> = offsets
        .iter()
        .filter(|offset| matches!(offset.verdict, Verdict::Offset | Verdict::Drift))
        .map(|offset| ((offset.client, offset.server), offset))
        .collect();
    if moved.is_empty() {
        return;
    }
    let mut shift = vec![0i64; parent.len()];
    for &row in &forest.order {
        let (at, above) = (row as usize, parent[row as usize]);
        if above == NONE {
            continue;
        }
        let pair = (processes.of(c, above as usize), processes.of(c, at));
        // The caller's time as its own clock showed it: its own shift is taken off again.
        let called = start[above as usize].saturating_sub(shift[above as usize]);
        let own = moved.get(&pair).map_or(0, |offset| offset.at(called));
        shift[at] = shift[above as usize].saturating_sub(own);
        start[at] = start[at].saturating_add(shift[at]).clamp(0, LATEST);
        end[at] = end[at].saturating_add(shift[at]).clamp(0, LATEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(t: i64, low: i64, high: i64) -> Bound {
        Bound { t, low, high }
    }

    #[test]
    fn the_offset_is_the_point_of_the_bounds_nearest_zero() {
        let offset = |low, high| decide(0, 1, &[bound(0, low, high)]);
        assert_eq!((Verdict::Agree, 0), (offset(-5, 7).verdict, offset(-5, 7).offset_ns));
        assert_eq!((Verdict::Offset, 100), (offset(100, 140).verdict, offset(100, 140).offset_ns));
        assert_eq!((Verdict::Offset, -30), (offset(-90, -30).verdict, offset(-90, -30).offset_ns));
    }

    #[test]
    fn all_calls_narrow_the_bounds() {
        let offset = decide(0, 1, &[bound(0, 50, 200), bound(10, 90, 400), bound(20, 10, 130)]);
        assert_eq!((90, 130, 90), (offset.low_ns, offset.high_ns, offset.offset_ns));
    }

    #[test]
    fn a_call_that_was_given_up_bounds_from_above_only() {
        let offset = decide(0, 1, &[bound(0, i64::MIN, 40), bound(1, -20, 90)]);
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
        let offset = decide(0, 1, &calls);
        assert_eq!(Verdict::Drift, offset.verdict);
        assert!((offset.drift - 50e-6).abs() < 1e-6, "{}", offset.drift);
        assert!((offset.low_ns..=offset.high_ns).contains(&truth(offset.at)));
        assert!((offset.at(1_800 * second) - truth(1_800 * second)).abs() <= 250_000);
    }

    #[test]
    fn two_processes_under_one_name_contradict() {
        let calls: Vec<Bound> = (0..100)
            .map(|i| bound(i * 1_000_000, (i % 2) * 80_000_000, (i % 2) * 80_000_000 + 900))
            .collect();
        let offset = decide(0, 1, &calls);
        assert_eq!((Verdict::Contradiction, 0), (offset.verdict, offset.offset_ns));
    }
}
