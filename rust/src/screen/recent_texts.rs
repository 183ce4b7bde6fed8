//! Texts that come again and again.

use crate::numbers::u32_of;

/// Recent names and keys, all of them UTF-8, so that only new ones are looked at and charged. A collision charges one
/// too often; one that a rejected span brought first is charged too seldom, which comes to a few KiB at most.
pub struct RecentTexts<'a>(Box<[&'a [u8]; RecentTexts::SLOTS]>);

impl Default for RecentTexts<'_> {
    fn default() -> Self {
        Self(Box::new([&[]; RecentTexts::SLOTS]))
    }
}

impl<'a> RecentTexts<'a> {
    const SLOTS: usize = 256;
    /// Longer texts are looked at each time.
    pub const LONGEST: usize = 256;

    /// Where a text is, if it was there lately.
    #[inline(always)]
    pub fn slot(&mut self, bytes: &[u8]) -> &mut &'a [u8] {
        let ends = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(a), Some(b)) => u32::from_le_bytes(*a) ^ u32::from_le_bytes(*b).rotate_left(13),
            _ => bytes.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)),
        };
        let hash = (ends ^ u32_of(bytes.len())).wrapping_mul(0x9e37_79b1);
        &mut self.0[(hash >> 24) as usize]
    }
}
