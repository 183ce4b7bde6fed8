//! The spans of one trace that a stream holds, each once.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::columns::Columns;
use crate::join::duplicates;
use crate::numbers::u32_of;
use crate::stream::store::{Held, Store};

/// Up to this many spans, a repeat is found by comparing with all of them.
const FEW: usize = 32;

/// Repeats are searched among at most this many spans of equal ids and times; only forged input has more.
const VARIANTS: usize = 8;

/// See the room.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    all: Vec<Held>,
    /// If they are many: hash of ids and times, place.
    places: HashTable<(u64, u32)>,
}

impl Spans {
    /// The spans, in the order in which they came.
    #[inline]
    pub fn all(&self) -> &[Held] {
        &self.all
    }

    /// The same, to be moved to another table.
    pub fn all_mut(&mut self) -> &mut [Held] {
        &mut self.all
    }

    /// The same memory for another trace, unless it is much.
    pub fn emptied(mut self) -> Option<Self> {
        self.all.clear();
        (self.places.is_empty() && self.all.capacity() <= 2 * FEW).then_some(self)
    }

    /// Adds a span; false if the same one is here.
    #[inline]
    pub fn add(&mut self, store: &Store, held: Held) -> bool {
        let is_new = if self.all.len() < FEW {
            let here = store.place(&held);
            let mut like = self.all.iter().filter(|other| other.span_id == held.span_id);
            !like.any(|other| duplicates::same(store.place(other), here))
        } else {
            self.add_to_many(store, &held)
        };
        if is_new {
            self.all.push(held);
        }
        is_new
    }

    fn add_to_many(&mut self, store: &Store, held: &Held) -> bool {
        let Self { all, places } = self;
        let hash = |held: &Held| store.hasher.hash_one(times(held, store.place(held)));
        if places.is_empty() {
            for (at, held) in all.iter().enumerate() {
                let key = hash(held);
                places.insert_unique(key, (key, u32_of(at)), |&(hash, _)| hash);
            }
        }
        let (key, here) = (hash(held), store.place(held));
        let like = places.iter_hash(key).map(|&(_, at)| (&all[at as usize], store.place(&all[at as usize])));
        let mut variants = like.filter(|(other, at)| times(other, *at) == times(held, here)).take(VARIANTS);
        let is_new = !variants.any(|(_, at)| duplicates::same(at, here));
        if is_new {
            places.insert_unique(key, (key, u32_of(all.len())), |&(hash, _)| hash);
        }
        is_new
    }
}

/// What a repeat has in common with a span, at least, beside its trace.
fn times(held: &Held, (c, row): (&Columns, usize)) -> [u64; 3] {
    [held.span_id, c.spans.start_time_unix_nano[row], c.spans.end_time_unix_nano[row]]
}
