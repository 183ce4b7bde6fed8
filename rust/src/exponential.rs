//! Exponential histograms of OTLP: durations of any range, mergeable, with a relative error that is the same everywhere.
//!
//! ```text
//! scale 0    (1, 2]      (2, 4]            (4, 8]                        index 0, 1, 2
//! scale 1    0  (1, 1.41]  1 (1.41, 2]  2 (2, 2.83]  3 (2.83, 4] …       index >> 1 is that of scale 0
//! ```
//!
//! What a histogram holds depends on its values alone, never on their order, nor on how they were split: its scale is
//! the finest one at which the first and the last bucket are near enough.

/// Buckets of a duration in seconds: bucket `i` has `(base^i, base^(i + 1)]`, where base is `2^(2^-scale)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exponential {
    /// How fine they are.
    pub scale: i32,
    /// From the first to the last bucket at most so many; above that, two neighbours become one.
    pub most_buckets: u32,
    /// How many durations.
    pub count: u64,
    /// Of them, those of 0 or less.
    pub zeros: u64,
    /// Their sum.
    pub total_ns: i128,
    /// The shortest and the longest.
    pub range_ns: Option<(i64, i64)>,
    /// Index and how many, ascending.
    pub buckets: Vec<(i32, u64)>,
}

/// The coarsest scale: one bucket has all durations there are.
const COARSEST: i32 = -7;

impl Exponential {
    /// One without durations.
    pub fn new(scale: i32, most_buckets: u32) -> Self {
        Self { scale, most_buckets, count: 0, zeros: 0, total_ns: 0, range_ns: None, buckets: Vec::new() }
    }

    /// Adds one duration; one below zero counts as zero.
    pub fn add(&mut self, ns: i64) {
        self.note(1, i128::from(ns), Some((ns, ns)));
        if ns <= 0 {
            self.zeros += 1;
            return;
        }
        let index = index_of(seconds(ns), self.scale);
        match self.buckets.binary_search_by_key(&index, |&(index, _)| index) {
            Ok(at) => self.buckets[at].1 += 1,
            Err(at) => self.buckets.insert(at, (index, 1)),
        }
        self.fit();
    }

    /// Adds ascending durations: each bucket is looked for once.
    pub fn add_sorted(&mut self, ascending: impl Iterator<Item = i64>) {
        let mut more = Self::new(self.scale, self.most_buckets);
        for ns in ascending {
            more.note(1, i128::from(ns), Some((ns, ns)));
            if ns <= 0 {
                more.zeros += 1;
                continue;
            }
            more.append(index_of(seconds(ns), self.scale), 1);
        }
        self.merge(&more);
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        self.note(other.count, other.total_ns, other.range_ns);
        self.zeros += other.zeros;
        self.most_buckets = self.most_buckets.min(other.most_buckets);
        let scale = self.scale.min(other.scale);
        let own = coarser(&self.buckets, self.scale - scale);
        let theirs = coarser(&other.buckets, other.scale - scale);
        (self.scale, self.buckets) = (scale, Vec::with_capacity(own.len().max(theirs.len())));
        let (mut own, mut theirs) = (own.into_iter().peekable(), theirs.into_iter().peekable());
        loop {
            let next = match (own.peek(), theirs.peek()) {
                (Some(a), Some(b)) if b.0 < a.0 => theirs.next(),
                (Some(_), _) => own.next(),
                (None, _) => theirs.next(),
            };
            let Some((index, count)) = next else { break };
            self.append(index, count);
        }
        self.fit();
    }

    /// The value at a place among the sorted ones, from 0 on: no further off than the relative error.
    pub fn at(&self, place: u64) -> Option<i64> {
        let (least, most) = self.range_ns?;
        if place < self.zeros {
            return Some(least.min(0));
        }
        let mut seen = self.zeros;
        let found = self.buckets.iter().find(|&&(_, count)| {
            seen += count;
            place < seen
        });
        let limits = found.map(|&(index, _)| (limit(index, self.scale), limit(index + 1, self.scale)));
        Some(limits.map_or(most, |(low, high)| between(low, high)).clamp(least, most))
    }

    fn note(&mut self, count: u64, total_ns: i128, range_ns: Option<(i64, i64)>) {
        self.count += count;
        self.total_ns += total_ns;
        self.range_ns = match (self.range_ns, range_ns) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
    }

    /// Adds to the last bucket, or behind it.
    fn append(&mut self, index: i32, count: u64) {
        match self.buckets.last_mut().filter(|last| last.0 == index) {
            Some(last) => last.1 += count,
            None => self.buckets.push((index, count)),
        }
    }

    fn fit(&mut self) {
        let (Some(&(first, _)), Some(&(last, _))) = (self.buckets.first(), self.buckets.last()) else {
            return;
        };
        let is_wide =
            |by: i32| i64::from(last >> by) - i64::from(first >> by) >= i64::from(self.most_buckets);
        let by = (0..self.scale - COARSEST).find(|&by| !is_wide(by)).unwrap_or(self.scale - COARSEST);
        if by > 0 {
            self.buckets = coarser(&self.buckets, by);
            self.scale -= by;
        }
    }
}

/// The same buckets, `2^by` of them in one.
fn coarser(buckets: &[(i32, u64)], by: i32) -> Vec<(i32, u64)> {
    let mut merged: Vec<(i32, u64)> = Vec::with_capacity(buckets.len());
    for &(index, count) in buckets {
        match merged.last_mut().filter(|last| last.0 == index >> by) {
            Some(last) => last.1 += count,
            None => merged.push((index >> by, count)),
        }
    }
    merged
}

#[expect(clippy::cast_precision_loss, reason = "a bucket is wider than what is lost")]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// What is no further from any value of a bucket than the relative error: the harmonic mean of its limits, in s.
#[expect(clippy::cast_possible_truncation, reason = "no duration of 64 bits is outside")]
fn between(low: f64, high: f64) -> i64 {
    (2e9 * low * high / (low + high)).round() as i64
}

/// The lower limit of a bucket.
fn limit(index: i32, scale: i32) -> f64 {
    (f64::from(index) * f64::from(-scale).exp2()).exp2()
}

/// How far a value may be from what a histogram of this scale says of it, as a share of the value.
pub fn relative_error(scale: i32) -> f64 {
    let base = f64::from(-scale).exp2().exp2();
    (base - 1.0) / (base + 1.0)
}

/// The bucket of a value above 0, whose upper limit is in it.
#[expect(clippy::cast_possible_truncation, reason = "logarithms of durations are small")]
pub fn index_of(value: f64, scale: i32) -> i32 {
    let power = value.log2();
    // A power of two is a limit at every scale, and logarithms round.
    if value.to_bits().trailing_zeros() >= 52 && power.fract() == 0.0 {
        let power = power as i32;
        return if scale >= 0 { (power << scale) - 1 } else { (power - 1) >> -scale };
    }
    (power * f64::from(scale).exp2()).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_limit_of_a_bucket_is_in_it() {
        let of = |scale: i32| [0.5, 1.0, 1.0001, 2.0, 3.0, 4.0].map(|value| index_of(value, scale));
        assert_eq!(([-2, -1, 0, 0, 1, 1], [-1, -1, 0, 0, 0, 0]), (of(0), of(-1)));
        assert_eq!([-3, -1, 0, 1, 3, 3], of(1));
    }

    #[test]
    fn parts_in_any_order_merge_to_the_whole_bit_by_bit() {
        let values: Vec<i64> =
            (0..500i64).map(|at| (at * at * 7_919 + at) % 1_000_003 * (at % 5) * 997).collect();
        for most in [4, 20, 160, u32::MAX] {
            let mut whole = Exponential::new(7, most);
            values.iter().for_each(|&ns| whole.add(ns));
            let mut parts: Vec<Exponential> = values
                .chunks(37)
                .map(|part| {
                    let mut sorted = part.to_vec();
                    sorted.sort_unstable();
                    let mut histogram = Exponential::new(7, most);
                    histogram.add_sorted(sorted.into_iter());
                    histogram
                })
                .collect();
            let backwards = parts.clone().into_iter().rev();
            let sum = |mut sum: Exponential, part: Exponential| {
                sum.merge(&part);
                sum
            };
            assert_eq!(Some(&whole), backwards.reduce(sum).as_ref());
            let right = parts.split_off(5).into_iter().reduce(sum).expect("parts");
            let left = parts.into_iter().reduce(sum).expect("parts");
            assert_eq!(whole, sum(left, right));
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "a bucket is wider than what is lost")]
    fn a_value_is_no_further_off_than_the_error() {
        let values: Vec<i64> =
            (0..63).flat_map(|power| [1i64 << power, (1i64 << power) + (1 << power) / 3]).collect();
        let mut histogram = Exponential::new(7, u32::MAX);
        histogram.add_sorted(values.iter().copied());
        for (place, &value) in values.iter().enumerate() {
            let off = histogram.at(place as u64).expect("a value").abs_diff(value) as f64;
            assert!(off <= relative_error(7) * value as f64 * (1.0 + 1e-9) + 0.5, "{value}: {off}");
        }
        assert_eq!(None, Exponential::new(7, 9).at(0));
    }

    #[test]
    fn what_is_not_above_zero_is_no_bucket() {
        let mut histogram = Exponential::new(7, 160);
        [-5, 0, 7].into_iter().for_each(|ns| histogram.add(ns));
        assert_eq!(
            (3, 2, 2, Some((-5, 7))),
            (histogram.count, histogram.zeros, histogram.total_ns, histogram.range_ns)
        );
        assert_eq!([Some(-5), Some(-5), Some(7)], [0, 1, 2].map(|place| histogram.at(place)));
    }

    #[test]
    fn the_widest_range_fits_into_one_bucket() {
        let mut histogram = Exponential::new(8, 1);
        histogram.add(1);
        histogram.add(i64::MAX);
        assert!(histogram.buckets.len() <= 2 && histogram.scale >= COARSEST);
    }
}
