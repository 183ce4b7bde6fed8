//! One number per distinct string: span and event names, attribute keys, scope and service names.

use std::convert::Infallible;
use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::columns::short_bytes;
use crate::numbers::u32_of;

/// Distinct strings in order of first appearance. The hash is seeded at random, since senders choose the strings.
#[derive(Debug, Clone, Default)]
pub struct Interner {
    text: Vec<u8>,
    /// Where each string stands in `text`.
    place: Vec<Range<usize>>,
    table: HashTable<u32>,
    state: RandomState,
}

impl Interner {
    /// How many distinct strings there are.
    pub fn len(&self) -> usize {
        self.place.len()
    }

    /// True when nothing was interned.
    pub fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    /// The text of `id`, as bytes; empty when there is no such id.
    #[inline]
    pub fn bytes(&self, id: u32) -> &[u8] {
        text_of(&self.text, &self.place, id)
    }

    /// True when `bytes` is the text of `id`.
    #[inline(always)]
    pub fn is(&self, id: u32, bytes: &[u8]) -> bool {
        short_bytes::equal(self.bytes(id), bytes)
    }

    /// The text of `id`.
    pub fn text(&self, id: u32) -> &str {
        std::str::from_utf8(self.bytes(id)).unwrap_or_default()
    }

    /// The id of `bytes`, if it was interned.
    pub fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.table.find(self.state.hash_one(bytes), |&id| self.bytes(id) == bytes).copied()
    }

    /// The id of `bytes`; `check` is asked once, when the string is new.
    pub fn intern<E>(&mut self, bytes: &[u8], check: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<u32, E> {
        if let Some(id) = self.find(bytes) {
            return Ok(id);
        }
        check(bytes)?;
        Ok(self.insert(bytes))
    }

    /// The same, for strings that come in sequence.
    #[inline(always)]
    pub fn intern_next<E>(
        &mut self,
        sequence: &mut Sequence,
        bytes: &[u8],
        check: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<u32, E> {
        match sequence.guess() {
            Some(guess) if self.is(guess, bytes) => Ok(sequence.follow(guess)),
            _ => Ok(sequence.learn(self.intern(bytes, check)?)),
        }
    }

    /// The id of a text.
    pub fn intern_str(&mut self, text: &str) -> u32 {
        self.intern_known(text.as_bytes())
    }

    /// The same, for texts that come in sequence.
    #[inline]
    pub fn intern_str_next(&mut self, sequence: &mut Sequence, text: &str) -> u32 {
        let Ok(id) = self.intern_next(sequence, text.as_bytes(), |_| Ok::<_, Infallible>(()));
        id
    }

    /// The id of a string that is known to be UTF-8, such as another interner's.
    pub fn intern_known(&mut self, bytes: &[u8]) -> u32 {
        self.find(bytes).unwrap_or_else(|| self.insert(bytes))
    }

    /// Reserves memory for this many strings at once.
    pub fn reserve(&mut self, strings: usize) {
        const TYPICAL_LEN: usize = 24;
        self.text.reserve(strings * TYPICAL_LEN);
        self.place.reserve(strings);
        let (text, place, state) = (&self.text, &self.place, &self.state);
        self.table.reserve(strings, |&id| state.hash_one(text_of(text, place, id)));
    }

    #[cold]
    fn insert(&mut self, bytes: &[u8]) -> u32 {
        let id = u32_of(self.place.len());
        self.place.push(self.text.len()..self.text.len() + bytes.len());
        self.text.extend_from_slice(bytes);
        let (table, text, place, state) = (&mut self.table, &self.text, &self.place, &self.state);
        table.insert_unique(state.hash_one(bytes), id, |&other| state.hash_one(text_of(text, place, other)));
        id
    }

    /// All strings, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..u32_of(self.len())).map(|id| self.text(id))
    }

    /// Bytes that the strings need, about: what a sender can drive up.
    #[inline(always)]
    pub fn weight(&self) -> u64 {
        2 * self.text.len() as u64 + 64 * self.place.len() as u64
    }

    /// Bytes held.
    pub fn nbytes(&self) -> usize {
        self.text.capacity() + 16 * self.place.capacity() + 5 * self.table.capacity()
    }
}

#[inline(always)]
fn text_of<'a>(text: &'a [u8], place: &[Range<usize>], id: u32) -> &'a [u8] {
    place.get(id as usize).and_then(|place| text.get(place.clone())).unwrap_or_default()
}

/// Predicts each number from the one before it: what followed that one last time. Spans, events and their names come
/// in sequences that repeat, and comparing with a guess is cheaper than hashing.
#[derive(Debug, Default)]
pub struct Sequence {
    last: u32,
    /// Number → what followed it.
    next: Vec<u32>,
}

impl Sequence {
    /// What is likely to come now; always a number that came before.
    #[inline(always)]
    pub fn guess(&self) -> Option<u32> {
        self.next.get(self.last as usize).copied()
    }

    /// The prediction was right.
    #[inline(always)]
    pub fn follow(&mut self, guess: u32) -> u32 {
        self.last = guess;
        guess
    }

    /// It was wrong, and this came instead.
    #[inline(never)]
    pub fn learn(&mut self, came: u32) -> u32 {
        let last = self.last as usize;
        if last >= self.next.len() {
            self.next.resize(last + 1, came);
        }
        self.next[last] = came;
        self.last = came;
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_gives_the_numbers_that_the_interner_gives() {
        let (mut guessed, mut asked, mut sequence) =
            (Interner::default(), Interner::default(), Sequence::default());
        for name in ["a", "b", "a", "b", "a", "c", "", "a", "b"] {
            let id = guessed.intern_next(&mut sequence, name.as_bytes(), |_| Ok::<_, ()>(()));
            assert_eq!(Ok(asked.intern_str(name)), id);
        }
    }

    #[test]
    fn equal_strings_share_a_number_and_keep_their_text() {
        let mut names = Interner::default();
        let ids: Vec<u32> = ["a", "", "bc", "a", "bc"].iter().map(|name| names.intern_str(name)).collect();
        assert_eq!(vec![0, 1, 2, 0, 2], ids);
        assert_eq!(vec!["a", "", "bc"], names.iter().collect::<Vec<_>>());
    }
}
