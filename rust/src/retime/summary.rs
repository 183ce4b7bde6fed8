//! Means and quantiles of a group of requests, and how much they vary from one block of time to the next.

use crate::join::Joined;
use crate::numbers::usize_of;

/// The quantiles, in hundredths.
const AT: [u64; 2] = [50, 99];

/// Of a group of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// Sum, ns.
    pub sum: u128,
    /// Median and 99th percentile.
    pub quantiles: [Quantile; 2],
    /// The least, ns.
    pub least: u64,
    /// The most, ns.
    pub most: u64,
    /// Count and sum of each block.
    pub blocks: Vec<(u64, u128)>,
}

/// By nearest rank, ns; 0 of none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantile {
    /// The quantile.
    pub value: u64,
    /// The values at the ranks where another recording's may be: Woodruff's interval.
    pub low: u64,
    /// Its other end.
    pub high: u64,
}

/// Request → its block: equal stretches of time between the first and the last start of these requests.
pub fn blocks(joined: &Joined, requests: &[usize], count: u8) -> Vec<u8> {
    let start = |request: usize| i128::from(joined.start[joined.requests.root[request] as usize]);
    let starts = || requests.iter().map(|&request| start(request));
    let first = starts().min().unwrap_or(0);
    let span = starts().max().unwrap_or(0) - first + 1;
    let mut blocks = vec![0; joined.requests.len()];
    for &request in requests {
        let block = (start(request) - first) * i128::from(count) / span;
        blocks[request] = u8::try_from(block).unwrap_or(count - 1);
    }
    blocks
}

/// Of a group. `values` and `block` by request; `spread`: standard errors on each side of a quantile.
pub fn figures(values: &[u64], block: &[u8], count: u8, group: &[u32], spread: f64) -> Figures {
    let of = |&request: &u32| (values[request as usize], block[request as usize]);
    let mut ranked: Vec<(u64, u8)> = group.iter().map(of).collect();
    ranked.sort_unstable();
    let mut figures = Figures { count: ranked.len() as u64, ..Figures::default() };
    let (Some(&(least, _)), Some(&(most, _))) = (ranked.first(), ranked.last()) else { return figures };
    (figures.least, figures.most) = (least, most);
    figures.blocks = vec![(0, 0); usize::from(count)];
    for &(value, block) in &ranked {
        let own = &mut figures.blocks[usize::from(block)];
        *own = (own.0 + 1, own.1 + u128::from(value));
    }
    figures.sum = figures.blocks.iter().map(|&(_, sum)| sum).sum();
    figures.quantiles = AT.map(|hundredths| quantile(&ranked, &figures.blocks, hundredths, spread));
    figures
}

/// Woodruff: the share of values that the quantile is not below varies from block to block, as a mean does; how much
/// it varies is found by leaving out one block after the other, and read from the values at those shares.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of requests are exact in floats, and what is added to a place is at least 0"
)]
fn quantile(ranked: &[(u64, u8)], blocks: &[(u64, u128)], hundredths: u64, spread: f64) -> Quantile {
    let count = ranked.len();
    let place = usize_of((count as u64 * hundredths).div_ceil(100).saturating_sub(1));
    let value = ranked[place].0;
    let until = ranked.partition_point(|&(other, _)| other <= value);
    let mut under = vec![0_u64; blocks.len()];
    for &(_, block) in &ranked[..until] {
        under[usize::from(block)] += 1;
    }
    let left = |(&(of, _), &under): (&(u64, u128), &u64)| {
        (of > 0 && of < count as u64).then(|| (until as u64 - under) as f64 / (count as u64 - of) as f64)
    };
    let shares: Vec<f64> = blocks.iter().zip(&under).filter_map(left).collect();
    let mean = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
    let squares: f64 = shares.iter().map(|share| (share - mean) * (share - mean)).sum();
    let half =
        spread * (squares * (shares.len() as f64 - 1.0) / (shares.len().max(1) as f64)).max(0.0).sqrt();
    let away = (half * count as f64).ceil() as usize;
    let at = |place: usize| ranked[place.min(count - 1)].0;
    Quantile { value, low: at(place.saturating_sub(away)), high: at(place.saturating_add(away)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_between_two_kinds_of_requests_may_be_either() {
        // 16 blocks of four: in half of them three are short, in the others one.
        let short = |at: usize| at % 4 < if (at / 4).is_multiple_of(2) { 3 } else { 1 };
        let values: Vec<u64> = (0..64).map(|at| if short(at) { 10 + at as u64 } else { 1000 }).collect();
        let block: Vec<u8> = (0..64).map(|at| (at / 4) as u8).collect();
        let group: Vec<u32> = (0..64).collect();
        let found = figures(&values, &block, 16, &group, 3.0);
        assert_eq!((found.count, found.least, found.most), (64, 10, 1000));
        assert_eq!(found.sum, values.iter().map(|&value| u128::from(value)).sum::<u128>());
        let median = found.quantiles[0];
        assert!(median.low >= 10 && median.low < median.value && median.high == 1000);
        let same = figures(&vec![7; 64], &block, 16, &group, 3.0);
        assert_eq!(same.quantiles, [Quantile { value: 7, low: 7, high: 7 }; 2]);
        assert_eq!(figures(&values, &block, 16, &[], 3.0), Figures::default());
    }
}
