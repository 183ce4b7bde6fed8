//! The last traces that were released, so that one that comes again is known to be late.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// The last traces that were released: one that comes again is late.
#[derive(Default)]
pub struct Released {
    order: VecDeque<u64>,
    known: HashMap<u64, u32, RandomState>,
}

/// Traces remembered, at most.
const KNOWN: usize = 1 << 18;

impl Released {
    /// Of keys, the oldest first.
    pub fn of(keys: impl IntoIterator<Item = u64>) -> Self {
        let mut made = Self::default();
        keys.into_iter().for_each(|key| made.push(key));
        made
    }

    /// The keys, the oldest first.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.order.iter().copied()
    }

    /// A trace was released.
    pub fn add(&mut self, id: [u8; 16]) {
        self.push(key(id));
    }

    fn push(&mut self, key: u64) {
        self.order.push_back(key);
        *self.known.entry(key).or_default() += 1;
        if self.order.len() <= KNOWN {
            return;
        }
        if let Some(oldest) = self.order.pop_front()
            && let Some(times) = self.known.get_mut(&oldest)
        {
            *times -= 1;
            if *times == 0 {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether a trace is one of them.
    pub fn contains(&self, id: [u8; 16]) -> bool {
        self.known.contains_key(&key(id))
    }
}

/// Ids are random, so half of one is enough.
fn key(id: [u8; 16]) -> u64 {
    let [high, low] = [0, 8].map(|at| id[at..at + 8].try_into().map_or(0, u64::from_le_bytes));
    high.rotate_left(1) ^ low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_released_traces_are_known() {
        let id = |n: u64| {
            let mut id = [7; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            id
        };
        let mut released = Released::default();
        (0..KNOWN as u64 + 2).for_each(|n| released.add(id(n)));
        assert!(!released.contains(id(1)) && released.contains(id(2)));
        let again = Released::of(released.keys());
        assert!(again.contains(id(2)) && again.keys().eq(released.keys()));
    }
}
