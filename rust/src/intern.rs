//! One number per distinct string: span and event names, attribute keys, scope and service names.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Distinct strings in order of first appearance. The hash is seeded at random, since senders choose the strings.
#[derive(Debug, Clone, Default)]
pub struct Interner {
    text: Vec<u8>,
    end: Vec<usize>,
    table: HashTable<u32>,
    state: RandomState,
}

impl Interner {
    /// How many distinct strings there are.
    pub fn len(&self) -> usize {
        self.end.len()
    }

    /// True when nothing was interned.
    pub fn is_empty(&self) -> bool {
        self.end.is_empty()
    }

    /// The text of `id`, as bytes; empty when there is no such id.
    #[inline]
    pub fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.end.get(id - 1).copied().unwrap_or(0) };
        let end = self.end.get(id).map_or(start, |&end| end);
        self.text.get(start..end).unwrap_or_default()
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

    /// The id of a string that is known to be UTF-8.
    pub fn intern_str(&mut self, text: &str) -> u32 {
        self.find(text.as_bytes()).unwrap_or_else(|| self.insert(text.as_bytes()))
    }

    #[cold]
    fn insert(&mut self, bytes: &[u8]) -> u32 {
        let id = self.end.len() as u32;
        self.text.extend_from_slice(bytes);
        self.end.push(self.text.len());
        let (table, text, end, state) = (&mut self.table, &self.text, &self.end, &self.state);
        let bytes_of = |id: u32| {
            let start = if id == 0 { 0 } else { end[id as usize - 1] };
            &text[start..end[id as usize]]
        };
        table.insert_unique(state.hash_one(bytes), id, |&other| state.hash_one(bytes_of(other)));
        id
    }

    /// All strings, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|id| self.text(id))
    }

    /// Bytes held.
    pub fn nbytes(&self) -> usize {
        self.text.capacity() + 8 * self.end.capacity() + 5 * self.table.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_a_number_and_keep_their_text() {
        let mut names = Interner::default();
        let ids: Vec<u32> = ["a", "", "bc", "a", "bc"].iter().map(|name| names.intern_str(name)).collect();
        assert_eq!(vec![0, 1, 2, 0, 2], ids);
        assert_eq!(vec!["a", "", "bc"], names.iter().collect::<Vec<_>>());
    }
}
