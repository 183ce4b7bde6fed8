//! Numbers that change their width. Rows, and all that is counted beside them, have 32 bits in the columns.

/// A count, a row or a place in 32 bits. The decoder refuses more rows than have a number, and whatever else is numbered
/// has at most one for each row: so it is checked there, once for each row, and here in debug builds and by the fuzzer.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the decoder has checked that there are no more")]
pub fn u32_of(count: usize) -> u32 {
    debug_assert!(u32::try_from(count).is_ok(), "{count} rows, and they are numbered with 32 bits");
    count as u32
}

/// A number of rows or bytes that are in memory.
///
/// Panics where they cannot be.
#[inline(always)]
pub fn usize_of(count: u64) -> usize {
    let Ok(size) = usize::try_from(count) else { panic!("{count} bytes do not fit in memory") };
    size
}

/// The low half of a number: what protobuf keeps of a varint in a field of 32 bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the high half is what is left out")]
pub fn low_u32(bits: u64) -> u32 {
    bits as u32
}

/// The lowest byte of a number.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the other bytes are what is left out")]
pub fn low_u8(bits: u64) -> u8 {
    bits as u8
}

/// How long from one instant to another, in ns; 0 if it is not later. Times are at most 2^62, so they can be subtracted.
#[inline(always)]
pub fn ns_between(start: i64, end: i64) -> u64 {
    (end - start).max(0).cast_unsigned()
}
