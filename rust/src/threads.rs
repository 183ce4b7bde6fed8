//! Work divided among threads. What comes of it does not depend on how many there are: parts are chosen by the callers
//! so that their results, one after the other, are those of the whole.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use crate::error::room_for;

/// The address space of a thread's heap in glibc, which ends the process if there is none for thread-local data.
const HEAP_BYTES: u64 = 64 << 20;

/// Spans for each thread at least, where the work is about spans.
pub const PART_SPANS: usize = 2048;

/// Whether there is memory for another thread.
pub fn can_start() -> bool {
    room_for(HEAP_BYTES, "a thread").is_ok()
}

/// What `work` makes of each part, in their order. This thread works too, and alone if no other can be had.
pub fn each<T: Send, R: Send>(parts: Vec<T>, threads: usize, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let others = threads.min(parts.len()).saturating_sub(1);
    if others == 0 {
        return parts.into_iter().map(work).collect();
    }
    let left = Mutex::new(parts.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || std::iter::from_fn(next).map(|(at, part)| (at, work(part))).collect::<Vec<_>>();
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (0..others)
            .map_while(|_| can_start().then(|| Builder::new().spawn_scoped(scope, run).ok())?)
            .collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What `work` makes of ranges of `0..len`, in their order: of as many as there are threads, none shorter than `least`.
pub fn split<R: Send>(
    len: usize,
    threads: usize,
    least: usize,
    work: impl Fn(Range<usize>) -> R + Sync,
) -> Vec<R> {
    each(ranges(len, threads, least), threads, work)
}

/// A column of `len` that threads write: `write` gets rows and the places for them. Beside it, in order, what it gives.
pub fn written<T: Copy + Default + Send, R: Send>(
    len: usize,
    threads: usize,
    least: usize,
    write: impl Fn(Range<usize>, &mut [T]) -> R + Sync,
) -> (Vec<T>, Vec<R>) {
    let mut column = vec![T::default(); len];
    let mut left = &mut column[..];
    let part = |rows: Range<usize>| {
        let part;
        (part, left) = std::mem::take(&mut left).split_at_mut(rows.len());
        (rows, part)
    };
    let parts = ranges(len, threads, least).into_iter().map(part).collect();
    let given = each(parts, threads, |(rows, part)| write(rows, part));
    (column, given)
}

/// Numbers that threads write, each into places of its own in any order; `none` until then.
pub fn unwritten(len: usize, none: u32) -> Vec<AtomicU32> {
    (0..len).map(|_| AtomicU32::new(none)).collect()
}

/// What they wrote.
pub fn numbers(column: Vec<AtomicU32>) -> Vec<u32> {
    column.into_iter().map(AtomicU32::into_inner).collect()
}

/// All parts as one. The first is not moved, if its memory can grow.
pub fn together<T>(parts: Vec<Vec<T>>) -> Vec<T> {
    let add = |mut all: Vec<T>, mut part: Vec<T>| {
        all.append(&mut part);
        all
    };
    parts.into_iter().reduce(add).unwrap_or_default()
}

/// `0..len` in as many ranges as there are threads, but none shorter than `least`: less is not worth a thread.
pub fn ranges(len: usize, threads: usize, least: usize) -> Vec<Range<usize>> {
    let parts = threads.min(len / least.max(1)).max(1);
    let bound = |part: usize| usize::try_from(len as u128 * part as u128 / parts as u128).unwrap_or(len);
    (0..parts).map(|part| bound(part)..bound(part + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_parts() {
        for threads in [0, 1, 2, 3, 64] {
            let squares = each((0..10).collect(), threads, |number: u32| number * number);
            assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81], "{threads}");
        }
        assert!(each(Vec::<u32>::new(), 4, |number| number).is_empty());
    }

    #[test]
    #[should_panic(expected = "part 7")]
    fn a_panic_of_any_thread_is_one_here() {
        each((0..8).collect(), 3, |number: u32| assert!(number != 7, "part {number}"));
    }

    #[test]
    fn ranges_follow_each_other_and_none_is_too_short() {
        assert_eq!(ranges(10, 3, 1), [0..3, 3..6, 6..10]);
        assert_eq!(ranges(10, 3, 5), [0..5, 5..10]);
        for len in [0, 3, 4] {
            assert_eq!(ranges(len, 8, 4), std::iter::once(0..len).collect::<Vec<_>>());
        }
    }
}
