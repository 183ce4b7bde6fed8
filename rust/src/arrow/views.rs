//! Texts of the arena as Arrow views: 16 bytes each, short texts inside, long ones by reference.
//!
//! ```text
//! up to 12 bytes   length │ text, then zeros          longer   length │ first 4 bytes │ buffer │ offset
//! ```
//!
//! Arrow's own constructors read every view again to check it. Here each is right as it is made, so the one `unsafe`
//! of the crate hands them over without that. Every debug build checks them all the same.

#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::types::{BinaryViewType, ByteViewType, StringViewType};
use arrow_array::{Array, ArrayRef, GenericByteViewArray, LargeStringArray};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_schema::ArrowError;

use crate::columns::arena::{Arena, TextRef};
use crate::columns::short_bytes;
use crate::numbers::{u32_of, usize_of};

/// Views address 2 GiB per buffer, so each part of the arena is offered as overlapping windows, one every GiB.
const STRIDE_BITS: usize = 30;
const STRIDE: usize = 1 << STRIDE_BITS;
const INLINE: usize = 12;

/// Texts as a column of strings. What stands at a null does not matter.
///
/// Errors: a text that is not UTF-8, which no decoded one is.
pub fn strings(
    arena: &Arena,
    texts: impl ExactSizeIterator<Item = TextRef>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let windows = Windows::new(arena);
    let mut sound = true;
    let views = texts.map(|text| {
        let (view, is_text) = windows.text_view(text);
        sound &= is_text;
        view
    });
    let views: Vec<u128> = views.collect();
    if !sound {
        return Err(ArrowError::InvalidArgumentError("text that is not UTF-8".to_owned()));
    }
    handed_over::<StringViewType>(views, windows.buffers.into(), nulls)
}

/// The same as a column of bytes.
pub fn bytes(
    arena: &Arena,
    texts: impl ExactSizeIterator<Item = TextRef>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let windows = Windows::new(arena);
    let views = texts.map(|text| windows.view(text)).collect();
    handed_over::<BinaryViewType>(views, windows.buffers.into(), nulls)
}

/// Some rows of a column of text, in any order and as often as they are asked for, as views of the text that there is:
/// none is copied. `None` if there are no rows, or too much text for that.
pub fn repeated(
    texts: &LargeStringArray,
    rows: &[usize],
    nulls: Option<NullBuffer>,
) -> Option<Result<ArrayRef, ArrowError>> {
    let (offsets, text) = (texts.value_offsets(), texts.values());
    i32::try_from(text.len()).ok()?;
    let view = |row: usize| {
        make_view(texts.value(row).as_bytes(), 0, u32_of(usize_of(offsets[row].cast_unsigned())))
    };
    let mut last = rows.first().map(|&row| (row, view(row)))?;
    let views = rows.iter().map(|&row| {
        last = if last.0 == row { last } else { (row, view(row)) };
        last.1
    });
    let views = views.collect();
    Some(handed_over::<StringViewType>(views, [text.clone()].into(), nulls))
}

/// Views that were made above, of UTF-8 where the type is text.
fn handed_over<T: ByteViewType>(
    views: Vec<u128>,
    buffers: Arc<[Buffer]>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    if nulls.as_ref().is_some_and(|nulls| nulls.len() != views.len()) {
        return Err(ArrowError::InvalidArgumentError("a validity for each view".to_owned()));
    }
    // SAFETY: `try_new` would not fail. There is a validity for each view. A short text is inside its view with zeros
    // behind it. A longer one has its first bytes as the view's prefix and stands in the buffer that the view names: in
    // `Windows` in one part of the arena (`Place::bytes` gives nothing else), with at most 256 MiB, from the first GiB
    // of a window on; in `repeated` in the only buffer, which is no longer than a view can tell. `strings` has seen that
    // every text is UTF-8, and a column of text is; bytes need not be.
    let array = unsafe { GenericByteViewArray::<T>::new_unchecked(views.into(), buffers, nulls) };
    debug_assert_eq!(Ok(()), array.to_data().validate_full().map_err(|error| error.to_string()));
    Ok(Arc::new(array))
}

/// What views refer to.
struct Windows<'a> {
    /// The first part, which mostly is the only one.
    head: &'a [u8],
    arena: &'a Arena,
    /// Part → number of its first window.
    first: Vec<u32>,
    buffers: Vec<Buffer>,
}

/// Where a text is.
#[derive(Clone, Copy)]
struct Place<'a> {
    part: &'a [u8],
    start: usize,
    len: usize,
    /// Number of the part's first window.
    window: u32,
}

impl<'a> Windows<'a> {
    fn new(arena: &'a Arena) -> Self {
        let (mut first, mut buffers) = (Vec::new(), Vec::new());
        for part in arena.parts() {
            first.push(u32_of(buffers.len()));
            let (bytes, len) = (part.bytes, part.bytes.len());
            let window = |start| bytes.slice_with_length(start, (len - start).min(2 * STRIDE - 1));
            buffers.extend((0..len).step_by(STRIDE).map(window));
        }
        Self { head: arena.part(0).bytes, arena, first, buffers }
    }

    #[inline(always)]
    fn place(&self, text: TextRef) -> Place<'a> {
        let (start, len) = (text.start(), text.len());
        if start < self.head.len() {
            Place { part: self.head, start, len, window: 0 }
        } else {
            self.place_behind(start, len)
        }
    }

    #[inline(never)]
    fn place_behind(&self, start: usize, len: usize) -> Place<'a> {
        let part = self.arena.part(start);
        Place { part: part.bytes, start: start - part.start, len, window: self.first[part.number] }
    }

    /// The view of a text, and whether it is UTF-8.
    #[inline(always)]
    fn text_view(&self, text: TextRef) -> (u128, bool) {
        const HIGH: u128 = u128::MAX / 0xff * 0x80;
        let place = self.place(text);
        if let Some(short) = place.short_bytes()
            && short & HIGH == 0
        {
            return (short << 32 | place.len as u128, true);
        }
        let bytes = place.bytes();
        (place.view(), short_bytes::is_ascii(bytes) || std::str::from_utf8(bytes).is_ok())
    }

    #[inline(always)]
    fn view(&self, text: TextRef) -> u128 {
        self.place(text).view()
    }
}

impl<'a> Place<'a> {
    /// The text, or nothing if its part does not hold all of it.
    #[inline(always)]
    fn bytes(self) -> &'a [u8] {
        self.part.get(self.start..self.start + self.len).unwrap_or_default()
    }

    #[inline(always)]
    fn view(self) -> u128 {
        if let Some(short) = self.short_bytes() {
            short << 32 | self.len as u128
        } else {
            let window = self.window + u32_of(self.start >> STRIDE_BITS);
            make_view(self.bytes(), window, u32_of(self.start & (STRIDE - 1)))
        }
    }

    /// A text that fits into its view, followed by zeros: 16 bytes of its part, read at once, less what is behind it.
    #[inline(always)]
    fn short_bytes(self) -> Option<u128> {
        let ahead = u128::from_le_bytes(*self.part.get(self.start..)?.first_chunk()?);
        (self.len <= INLINE).then(|| ahead & ((1 << (8 * self.len)) - 1))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> (Arena, Vec<TextRef>) {
        let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let ends: Vec<usize> = places.collect();
        let pairs = ends.iter().flat_map(|&a| ends.iter().filter(move |&&b| a <= b).map(move |&b| (a, b)));
        let texts = pairs.map(|(start, end)| TextRef::new(start, end).expect("short"));
        (text.as_bytes().to_vec().into(), texts.collect())
    }

    #[test]
    fn every_part_of_a_text_is_what_arrow_makes_of_it() {
        let (arena, texts) = whole("0123456789abcdefghijklmnopqrstuvwxyz äöü, and €");
        let ours = strings(&arena, texts.iter().copied(), None).expect("UTF-8");
        ours.to_data().validate_full().expect("what Arrow would check");
        for (text, ours) in texts.iter().zip(ours.as_string_view()) {
            assert_eq!(std::str::from_utf8(text.of(&arena)).ok(), ours);
        }
        let views = texts.iter().map(|text| make_view(text.of(&arena), 0, text.start() as u32));
        assert_eq!(views.collect::<Vec<_>>(), ours.as_string_view().views().to_vec());
    }

    #[test]
    fn rows_of_text_are_repeated_with_their_nulls_and_no_copy() {
        let texts = ["a", "", "more than twelve bytes", "äöü€äöü€"];
        let column: LargeStringArray = texts.iter().map(|&text| Some(text)).chain([None]).collect();
        let column = column.slice(1, 4);
        let rows = [3, 1, 1, 0, 2, 2];
        let nulls = NullBuffer::from_iter(rows.iter().map(|&row| column.is_valid(row)));
        let ours = repeated(&column, &rows, Some(nulls)).expect("rows").expect("sound");
        ours.to_data().validate_full().expect("what Arrow would check");
        let expected = rows.map(|row| column.is_valid(row).then(|| column.value(row)));
        assert_eq!(expected.to_vec(), ours.as_string_view().iter().collect::<Vec<_>>());
        assert_eq!(column.values().as_ptr(), ours.as_string_view().data_buffers()[0].as_ptr());
        assert!(repeated(&column, &[], None).is_none());
    }

    #[test]
    fn half_a_character_is_refused_as_text_and_taken_as_bytes() {
        let arena = "€".as_bytes().to_vec().into();
        let half = TextRef::new(0, 2).expect("short");
        assert!(strings(&arena, [half].into_iter(), None).is_err());
        assert!(bytes(&arena, [half].into_iter(), None).is_ok());
    }

    proptest! {
        #[test]
        fn any_places_of_any_bytes_make_sound_views(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4),
            places in proptest::collection::vec((0usize..200, 0usize..80), 0..20),
        ) {
            let mut arena = Arena::default();
            parts.into_iter().for_each(|part| arena.push(Buffer::from_vec(part)));
            let texts: Vec<TextRef> =
                places.iter().map(|&(start, len)| TextRef::new(start, start + len).expect("short")).collect();
            let made = bytes(&arena, texts.iter().copied(), None).expect("bytes");
            made.to_data().validate_full().expect("what Arrow would check");
            let valid = texts.iter().all(|text| std::str::from_utf8(text.of(&arena)).is_ok());
            prop_assert_eq!(valid, strings(&arena, texts.into_iter(), None).is_ok());
        }
    }
}
