//! Times and ids as the join compares them.

/// Later times (the year 2116 on) are taken for this one, so that no difference of two times overflows.
pub const LATEST: i64 = 1 << 62;

/// A time as sent, at most [`LATEST`].
pub fn saturated(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(LATEST).min(LATEST)
}

/// Times of recordings that were shifted to begin at 0 are valid up to this, in ns: a day.
const RELATIVE: u64 = 86_400_000_000_000;

/// What is wrong with a start and an end, in ns since the epoch: 0 stands for a time that was not set, unless the other
/// one is near it.
pub fn bad_time(start: u64, end: u64) -> Option<&'static str> {
    const ABSURD: u64 = LATEST as u64;
    match (start, end) {
        (0, 0 | RELATIVE..) | (1.., 0) => Some("zero_time"),
        (ABSURD.., _) | (_, ABSURD..) => Some("absurd_time"),
        _ if end < start => Some("end_before_start"),
        _ => None,
    }
}

/// The span id as a number that sorts like its bytes.
#[inline(always)]
pub fn id_key(span_id: [u8; 8]) -> u64 {
    u64::from_be_bytes(span_id)
}
