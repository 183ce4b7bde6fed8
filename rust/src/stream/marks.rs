//! Rows of several tables, brought into the order of tables and rows by marking each with a bit.
//!
//! ```text
//! table 1   . x x . x     table 2   . . x x .
//!             0 1   2                   3 4       places: the bits before
//! ```

use std::ops::Range;

/// See the room.
pub struct Marks {
    /// Table → its first word.
    first: Vec<usize>,
    words: Vec<u64>,
    /// Word → marks before it.
    before: Vec<u32>,
}

impl Marks {
    /// Marks rows of tables that have so many; `marked`: (table, row), each once.
    pub fn new(rows: impl Iterator<Item = usize>, marked: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut first = vec![0];
        first.extend(rows.scan(0, |words, rows| {
            *words += rows.div_ceil(64);
            Some(*words)
        }));
        let mut words = vec![0; first.last().copied().unwrap_or(0)];
        for (table, row) in marked {
            words[first[table as usize] + row as usize / 64] |= 1 << (row % 64);
        }
        let before = words.iter().scan(0, |before, word: &u64| {
            let here = *before;
            *before += word.count_ones();
            Some(here)
        });
        Self { before: before.collect(), first, words }
    }

    /// The place of a row that is marked.
    #[inline]
    pub fn place(&self, table: u32, row: u32) -> u32 {
        let word = self.first[table as usize] + row as usize / 64;
        self.before[word] + (self.words[word] & ((1 << (row % 64)) - 1)).count_ones()
    }

    /// The rows of a table that are marked, in order.
    pub fn runs(&self, table: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (at, &word) in self.words[self.first[table]..self.first[table + 1]].iter().enumerate() {
            let (mut left, mut row) = (word, 64 * at);
            while left != 0 {
                let start = row + left.trailing_zeros() as usize;
                left >>= left.trailing_zeros();
                row = start + left.trailing_ones() as usize;
                left = left.checked_shr(left.trailing_ones()).unwrap_or(0);
                match runs.last_mut().filter(|last| last.end == start) {
                    Some(last) => last.end = row,
                    None => runs.push(start..row),
                }
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_the_order_of_tables_and_rows() {
        let rows = [200, 0, 4];
        let marked = [(2, 3), (0, 63), (0, 0), (0, 130), (0, 64), (2, 1), (0, 65)];
        let marks = Marks::new(rows.into_iter(), marked.into_iter());
        assert_eq!(vec![0..1, 63..66, 130..131], marks.runs(0));
        assert_eq!((vec![], vec![1..2, 3..4]), (marks.runs(1), marks.runs(2)));
        assert_eq!([6, 1, 0, 4, 2, 5, 3], marked.map(|(table, row)| marks.place(table, row)));
        let marks = Marks::new([128].into_iter(), (0..128).map(|row| (0, row)));
        assert!(marks.runs(0).iter().all(|run| *run == (0..128)));
        assert!((0..128).all(|row| marks.place(0, row) == row));
    }
}
