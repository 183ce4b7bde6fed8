//! Short texts, eight bytes at a time: the last eight overlap the ones before, so that no byte is left over.
//!
//! ```text
//! http.request.method        h t t p . r e q|u e s t . m e t|h o d
//!                                                  |. m e t h o d|
//! ```
//!
//! Keys and values have 5 to 40 bytes. For so few, a call to the C library costs more than the work.

/// True for equal bytes.
#[inline(always)]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch for each eight bytes would cost more than the compare"
)]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_end), Some(b_end)) => {
            let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            a_end == b_end && words.fold(true, |equal, (a, b)| equal & (a == b))
        }
        _ => a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0,
    }
}

/// True when no byte is above 127.
#[inline(always)]
pub fn is_ascii(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    match text.last_chunk::<8>() {
        Some(end) => {
            let words = text.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
            words.fold(u64::from_ne_bytes(*end), |bits, word| bits | word) & HIGH == 0
        }
        None => text.iter().fold(0, |bits, byte| bits | byte) < 0x80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_seen_at_every_place_of_every_length() {
        for len in 0..40 {
            let text: Vec<u8> = (0..len).collect();
            assert!(equal(&text, &text.clone()), "{len}");
            assert!(!equal(&text, &[&text[..], &[0]].concat()), "{len}");
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!equal(&text, &other), "{at} of {len}");
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_ascii_is_seen_at_every_place_of_every_length() {
        for len in 0..40 {
            let mut text = vec![0x7f; len];
            assert!(is_ascii(&text), "{len}");
            for at in 0..len {
                text[at] = 0x80;
                assert!(!is_ascii(&text), "{at} of {len}");
                text[at] = 0x7f;
            }
        }
    }
}
