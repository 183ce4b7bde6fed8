//! Means and quantiles of a group of requests, of all of them and without each block of time: what a jackknife needs.

use crate::join::Joined;

/// Sum, count and two quantiles of some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// Sum, ns.
    pub sum: u128,
    /// Median by nearest rank, ns; 0 of none.
    pub p50: u64,
    /// 99th percentile by nearest rank, ns.
    pub p99: u64,
    /// The least, ns.
    pub least: u64,
    /// The most, ns.
    pub most: u64,
}

/// Request → its block: equal stretches of time between the first and the last start of these requests.
pub fn blocks(joined: &Joined, requests: &[usize], count: u8) -> Vec<u8> {
    let start = |request: usize| i128::from(joined.start[joined.requests.root[request] as usize]);
    let starts = || requests.iter().map(|&request| start(request));
    let first = starts().min().unwrap_or(0);
    let span = starts().max().unwrap_or(0) - first + 1;
    let mut blocks = vec![0; joined.requests.len()];
    for &request in requests {
        blocks[request] = ((start(request) - first) * i128::from(count) / span) as u8;
    }
    blocks
}

/// Of all of a group, then of it without each block. `values` and `block` by request.
pub fn figures(values: &[u64], block: &[u8], count: u8, group: &[usize]) -> Vec<Figures> {
    let mut ranked: Vec<(u64, u8)> = group.iter().map(|&request| (values[request], block[request])).collect();
    ranked.sort_unstable();
    let all = std::iter::once(None);
    all.chain((0..count).map(Some)).map(|without| figures_without(&ranked, without)).collect()
}

fn figures_without(ranked: &[(u64, u8)], without: Option<u8>) -> Figures {
    let kept = || ranked.iter().filter(|(_, block)| Some(*block) != without).map(|&(value, _)| value);
    let count = kept().count() as u64;
    // Nearest rank: the smallest value that at least so many hundredths of all do not exceed.
    let rank = |hundredths: u64| (count * hundredths).div_ceil(100).saturating_sub(1) as usize;
    let mut figures = Figures { count, ..Figures::default() };
    for (at, value) in kept().enumerate() {
        if at == 0 {
            figures.least = value;
        }
        if at == rank(50) {
            figures.p50 = value;
        }
        if at == rank(99) {
            figures.p99 = value;
        }
        figures.sum += u128::from(value);
        figures.most = value;
    }
    figures
}
