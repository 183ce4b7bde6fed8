//! The bytes that columns refer to: copies of single texts, and in gathered tables those of other tables.
//!
//! ```text
//! decoded     ├─ texts of one call ────┤
//! gathered    ├─ of one table ─┤├─ of another ─┤├─ copies ─┤     places go on from part to part
//! ```

use arrow_buffer::Buffer;

use crate::error::{DecodeError, Result};
use crate::numbers::usize_of;

/// A run of bytes in the arena: 36 bits of offset, 28 bits of length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextRef(u64);

const LEN_BITS: u32 = 28;

impl TextRef {
    /// The longest run.
    pub const MAX_LEN: usize = (1 << LEN_BITS) - 1;
    /// The largest arena.
    pub const MAX_ARENA: usize = (1 << (u64::BITS - LEN_BITS)) - 1;

    /// Refers to `start..end`.
    #[inline(always)]
    pub fn new(start: usize, end: usize) -> Result<Self> {
        let len = end.saturating_sub(start);
        if len > Self::MAX_LEN {
            return Err(DecodeError::new("a value of at most 256 MiB", format!("{len} bytes"), start));
        }
        Ok(Self(((start as u64) << LEN_BITS) | len as u64))
    }

    /// Where the run starts.
    #[inline(always)]
    pub fn start(self) -> usize {
        (self.0 >> LEN_BITS) as usize
    }

    /// How long it is.
    #[inline(always)]
    pub fn len(self) -> usize {
        usize_of(self.0 & Self::MAX_LEN as u64)
    }

    /// True for an empty run.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The packed form, kept in value columns.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// From the packed form.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A run of the same length that starts this much later, within the largest arena.
    #[inline(always)]
    #[must_use]
    pub fn later(self, by: usize) -> Self {
        Self(self.0.wrapping_add((by as u64) << LEN_BITS))
    }

    /// The bytes themselves.
    #[inline]
    pub fn of(self, arena: &Arena) -> &[u8] {
        let part = arena.part(self.start());
        let start = self.start() - part.start;
        part.bytes.get(start..start + self.len()).unwrap_or_default()
    }

    /// The bytes themselves, of an arena that is not there yet.
    #[inline]
    pub fn within(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start()..self.start() + self.len()).unwrap_or_default()
    }
}

/// Bytes that stand together, and where.
#[derive(Debug, Clone, Default)]
struct Held {
    start: usize,
    bytes: Buffer,
}

/// A part of an arena.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its place among the parts.
    pub number: usize,
    /// Where it starts in the arena.
    pub start: usize,
    /// What it holds.
    pub bytes: &'a Buffer,
}

/// All bytes that one table refers to. Parts can be shared with other tables.
#[derive(Debug, Clone, Default)]
pub struct Arena {
    /// Starts at 0. Mostly there is no other.
    first: Buffer,
    more: Vec<Held>,
}

impl Arena {
    /// The part that holds a place, or the last one before it.
    #[inline(always)]
    pub fn part(&self, at: usize) -> Part<'_> {
        if self.more.is_empty() || at < self.first.len() {
            Part { number: 0, start: 0, bytes: &self.first }
        } else {
            self.other_part(at)
        }
    }

    #[inline(never)]
    fn other_part(&self, at: usize) -> Part<'_> {
        let number = self.more.partition_point(|held| held.start <= at);
        self.nth(number)
    }

    fn nth(&self, number: usize) -> Part<'_> {
        match number.checked_sub(1).and_then(|at| self.more.get(at)) {
            Some(Held { start, bytes }) => Part { number, start: *start, bytes },
            None => Part { number: 0, start: 0, bytes: &self.first },
        }
    }

    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        (0..=self.more.len()).map(|number| self.nth(number))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.more.last().map_or(self.first.len(), |held| held.start + held.bytes.len())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Goes on with these bytes.
    pub fn push(&mut self, bytes: Buffer) {
        let start = self.len();
        if start == 0 {
            self.first = bytes;
        } else if !bytes.is_empty() {
            self.more.push(Held { start, bytes });
        }
    }

    /// Goes on with the bytes of another arena, which both hold from now on. What referred to that one refers to this
    /// one [`TextRef::later`] by the length before.
    pub fn share(&mut self, other: &Self) {
        other.parts().for_each(|part| self.push(part.bytes.clone()));
    }
}

impl From<Vec<u8>> for Arena {
    fn from(bytes: Vec<u8>) -> Self {
        Self { first: Buffer::from_vec(bytes), more: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_its_part() {
        let mut arena = Arena::from(b"abc".to_vec());
        let mut other = Arena::default();
        ["de", "", "fgh"].iter().for_each(|text| other.push(Buffer::from_slice_ref(text.as_bytes())));
        let before = arena.len();
        arena.share(&other);
        arena.share(&Arena::default());
        assert_eq!((3, 8, 3), (before, arena.len(), arena.parts().count()));
        let text = |start: usize, end: usize| TextRef::new(start, end).expect("short");
        let texts = [text(0, 3), text(1, 2), text(0, 2).later(before), text(2, 5).later(before), text(7, 8)];
        assert_eq!(["abc", "b", "de", "fgh", "h"].map(str::as_bytes), texts.map(|text| text.of(&arena)));
        let nowhere = [text(2, 4), text(4, 9), text(8, 9), text(900, 1000), text(5, 5)];
        assert!(nowhere.iter().all(|text| text.of(&arena).is_empty()));
        assert!(nowhere.iter().all(|text| text.of(&Arena::default()).is_empty()));
    }
}
