//! A column in which hardly any row has a value: those that have one, and which rows they are.
//!
//! ```text
//! as a column   . . 7 . . . . . 9 .        row    2 8
//!                                          value  7 9
//! ```

use std::ops::{Index, Range};

/// The values of few rows, in the order of rows. All other rows have the default.
#[derive(Debug, Clone, Default)]
pub struct Rare<T> {
    row: Vec<u32>,
    value: Vec<T>,
    none: T,
}

impl<T: Copy + Default + PartialEq> Rare<T> {
    /// The value of a row behind all that have one.
    #[inline(always)]
    pub fn push(&mut self, row: u32, value: T) {
        if value != self.none {
            self.add(row, value);
        }
    }

    #[inline(never)]
    fn add(&mut self, row: u32, value: T) {
        self.row.push(row);
        self.value.push(value);
    }

    /// The values among these rows, each with its row.
    pub fn among(&self, rows: &Range<usize>) -> impl Iterator<Item = (u32, T)> {
        let first = self.row.partition_point(|&row| (row as usize) < rows.start);
        let end = self.row.partition_point(|&row| (row as usize) < rows.end);
        self.row[first..end].iter().copied().zip(self.value[first..end].iter().copied())
    }

    /// The values of this many rows.
    pub fn dense(&self, rows: usize) -> Vec<T> {
        let mut values = vec![self.none; rows];
        for (&row, &value) in self.row.iter().zip(&self.value) {
            if let Some(place) = values.get_mut(row as usize) {
                *place = value;
            }
        }
        values
    }

    /// Keeps the first rows only.
    pub fn truncate(&mut self, rows: usize) {
        let left = self.row.partition_point(|&row| (row as usize) < rows);
        self.row.truncate(left);
        self.value.truncate(left);
    }

    /// Frees the memory that no row needs.
    pub fn shrink_to_fit(&mut self) {
        self.row.shrink_to_fit();
        self.value.shrink_to_fit();
    }

    /// Bytes held.
    pub fn nbytes(&self) -> usize {
        size_of::<u32>() * self.row.capacity() + size_of::<T>() * self.value.capacity()
    }
}

impl<T> Index<usize> for Rare<T> {
    type Output = T;

    #[inline]
    fn index(&self, row: usize) -> &T {
        if self.row.is_empty() {
            return &self.none;
        }
        self.row
            .binary_search_by(|known| (*known as usize).cmp(&row))
            .map_or(&self.none, |at| &self.value[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_value_have_the_default() {
        let mut column = Rare::default();
        let dense = [0, 0, 7, 0, 9, 9, 0];
        for (row, value) in dense.into_iter().enumerate() {
            column.push(row as u32, value);
        }
        assert_eq!(column.dense(dense.len()), dense);
        assert_eq!((0..9).map(|row| column[row]).collect::<Vec<i32>>(), [0, 0, 7, 0, 9, 9, 0, 0, 0]);
        assert_eq!(column.among(&(2..5)).collect::<Vec<_>>(), [(2, 7), (4, 9)]);
        column.truncate(4);
        assert_eq!((column.dense(5), column[4]), (vec![0, 0, 7, 0, 0], 0));
    }
}
