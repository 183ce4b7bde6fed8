//! Quantiles of weighted sums: quantiles of wall times if some parts took other times.

/// Relative error of sums of weights: less than that is not missing.
const ROUNDING: f64 = 1e-9;

/// So few values are sorted.
const FEW: usize = 24;

/// Row: for each choice of parts, a bit each; column: for each share.
///
/// The smallest value that so much of the weight is not above, where a value is `base` plus what `parts` add that were
/// chosen. All have equally many values. O(values) for each choice and share.
pub fn of_choices(
    base: &[i64],
    parts: &[Vec<i64>],
    weights: &[f64],
    choices: &[u32],
    shares: &[f64],
) -> Vec<Vec<i64>> {
    let weight: f64 = weights.iter().sum();
    let mut sums = base.to_vec();
    let mut last = 0;
    let mut rows = Vec::with_capacity(base.len());
    let of = |&choice: &u32| {
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| (choice ^ last) >> at & 1 == 1) {
            let is_in = choice >> at & 1 == 1;
            for (sum, more) in sums.iter_mut().zip(part) {
                *sum = if is_in { sum.wrapping_add(*more) } else { sum.wrapping_sub(*more) };
            }
        }
        last = choice;
        rows.clear();
        rows.extend(sums.iter().copied().zip(weights.iter().copied()));
        shares.iter().map(|share| smallest(&mut rows, share * weight * (1.0 - ROUNDING))).collect()
    };
    choices.iter().map(of).collect()
}

/// The smallest value that so much weight is not above; the greatest if there is not so much; 0 of none.
fn smallest(mut rows: &mut [(i64, f64)], mut wanted: f64) -> i64 {
    while rows.len() > FEW {
        let middle = rows.len() / 2;
        let (below, &mut (value, weight), above) =
            rows.select_nth_unstable_by_key(middle, |&(value, _)| value);
        let under: f64 = below.iter().map(|&(_, weight)| weight).sum();
        if wanted <= under {
            rows = below;
        } else if wanted <= under + weight {
            return value;
        } else {
            wanted -= under + weight;
            rows = above;
        }
    }
    rows.sort_unstable_by_key(|&(value, _)| value);
    for &(value, weight) in rows.iter() {
        wanted -= weight;
        if wanted <= 0.0 {
            return value;
        }
    }
    rows.last().map_or(0, |&(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_choices() {
        let base = [30, 10, 20];
        let more = vec![vec![0, 100, 0], vec![-25, 0, 0]];
        let found = of_choices(&base, &more, &[1.0, 1.0, 2.0], &[0, 1, 3, 2], &[0.25, 0.5, 1.0]);
        assert_eq!(found, [[10, 20, 30], [20, 20, 110], [5, 20, 110], [5, 10, 20]]);
        assert_eq!(of_choices(&[], &[], &[], &[0], &[0.5]), [[0]]);
    }

    #[test]
    fn many_values() {
        let base: Vec<i64> = (0..1000).map(|at| (at * 617) % 1000).collect();
        let found = of_choices(&base, &[], &vec![1.0; 1000], &[0], &[0.001, 0.5, 0.99, 1.0]);
        assert_eq!(found, [[0, 499, 989, 999]]);
    }
}
