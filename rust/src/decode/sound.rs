//! What of many requests is sound: each that is not is left out by itself, with its reason.
//!
//! ```text
//! ├ request ┤├ metrics ┤├ request ┤├ ~~ ┤├ request, text not UTF-8 ┤
//!     ✓         left out     ✓     left out    ✓ with U+FFFD
//! ```
//!
//! On several threads each decodes requests that stand together, and the columns are put behind each other. What a
//! request's fate depends on, beside its bytes, is how much memory those before it took: each thread keeps to its share
//! of the bounds, so that all keep to the whole. If one cannot, all is decoded again on one thread.

use std::ops::Range;

use crate::columns::{Columns, roomy};
use crate::decode::json::replace_text;
use crate::decode::otlp::{Decoder, with_arena};
use crate::decode::signals::other_signal;
use crate::error::{DecodeError, ErrorKind, Result, room_for};
use crate::threads;

/// How many errors are kept; all are counted.
const MOST_ERRORS: usize = 256;

/// Bytes of requests for each thread at least.
const PART_BYTES: usize = 1 << 18;

/// How much memory columns may take: `free_bytes`, and `per_byte` for each byte of the requests so far.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Bounds {
    pub per_byte: u64,
    pub free_bytes: u64,
}

impl Bounds {
    /// For so many bytes of requests.
    fn of(self, bytes: usize) -> u64 {
        self.free_bytes.saturating_add(self.per_byte.saturating_mul(bytes as u64))
    }

    /// Those of each of so many parts. Where all keep to them, the whole keeps to its own, and so does each beginning.
    fn shared(self, parts: usize) -> Self {
        Self { free_bytes: self.free_bytes / parts as u64, ..self }
    }
}

/// Requests, one after another.
#[derive(Debug, Default)]
pub struct Requests {
    arena: Vec<u8>,
    lens: Vec<u32>,
    /// Empty ones are only counted.
    empty: u32,
}

/// What came of the requests.
#[derive(Debug)]
pub struct Sound {
    /// The spans of the sound ones.
    pub columns: Columns,
    /// By request: what is wrong with it, if something is. [`ErrorKind::Utf8`] has been put right.
    pub verdicts: Vec<Option<ErrorKind>>,
    /// The first errors, with the number of their request; the offset is in it.
    pub errors: Vec<(usize, Box<DecodeError>)>,
    /// Texts that were no UTF-8, by request.
    pub replaced: Vec<(usize, u32)>,
}

impl Requests {
    /// Takes one more. Errors: no memory, or 2 GiB and more, which protobuf does not have.
    pub fn add(&mut self, size: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let len = u32::try_from(size).ok().filter(|len| i32::try_from(*len).is_ok()).ok_or_else(|| {
            DecodeError::new("a request below 2 GiB", format!("{size} bytes"), 0).of(ErrorKind::Limit)
        })?;
        self.arena.try_reserve(size).map_err(|_| no_memory(self.arena.len() + size))?;
        self.lens.try_reserve(1).map_err(|_| no_memory(self.arena.len()))?;
        fill(&mut self.arena);
        self.lens.push(len);
        Ok(())
    }

    /// Takes an empty one.
    pub fn add_empty(&mut self) {
        self.empty = self.empty.saturating_add(1);
    }

    /// How many there are that are not empty.
    pub fn count(&self) -> usize {
        self.lens.len()
    }

    /// Decodes all that are sound, on at most so many threads; what comes of it is the same.
    ///
    /// Errors: more than 64 GiB, or memory that cannot be had.
    pub fn decode(self, bounds: Bounds, threads: usize) -> Result<Sound> {
        let Self { mut arena, lens, empty } = self;
        arena.shrink_to(roomy(arena.len()));
        let parts = |arena: &[u8]| threads::ranges(arena.len(), threads, PART_BYTES);
        let decoded = decode_sound(&arena, &lens, bounds, parts(&arena))?;
        let is_bad = |&at: &usize| decoded.verdicts[at] == Some(ErrorKind::Utf8);
        let bad: Vec<usize> = (0..lens.len()).filter(is_bad).collect();
        if bad.is_empty() {
            return Ok(decoded.sound(arena, empty, Vec::new()));
        }
        drop(decoded);
        let (arena, lens, replaced) = mended(&arena, &lens, &bad)?;
        let mut decoded = decode_sound(&arena, &lens, bounds, parts(&arena))?;
        for (at, _) in &replaced {
            decoded.verdicts[*at] = decoded.verdicts[*at].or(Some(ErrorKind::Utf8));
        }
        Ok(decoded.sound(arena, empty, replaced))
    }
}

/// Requests that were decoded, without the bytes that their columns refer to.
struct Decoded {
    columns: Columns,
    /// What must stand behind these.
    extra: Vec<u8>,
    verdicts: Vec<Option<ErrorKind>>,
    errors: Vec<(usize, Box<DecodeError>)>,
    keeps_bounds: bool,
}

impl Decoded {
    fn sound(self, arena: Vec<u8>, empty: u32, replaced: Vec<(usize, u32)>) -> Sound {
        let Self { mut columns, extra, verdicts, errors, .. } = self;
        columns.batches = columns.batches.saturating_add(empty);
        Sound { columns: with_arena(columns, arena, &extra), verdicts, errors, replaced }
    }

    /// All parts as one, if that is what decoding them together gives.
    fn together(parts: Vec<Self>) -> Option<Self> {
        let (first, others) = parts.split_first()?;
        let keep_bounds = parts.iter().all(|part| part.keeps_bounds);
        let have_numbers = first.columns.has_numbers_for(others.iter().map(|part| &part.columns));
        // Merged values stand behind all requests, so those of a second part would have to move.
        if !keep_bounds || !have_numbers || others.iter().any(|part| !part.extra.is_empty()) {
            return None;
        }
        parts.into_iter().reduce(|mut all, part| {
            all.columns.append(part.columns);
            all.verdicts.extend(part.verdicts);
            all.errors.extend(part.errors);
            all.errors.truncate(MOST_ERRORS);
            all
        })
    }
}

/// Decodes the requests that begin in each part of the arena on a thread of its own.
fn decode_sound(arena: &[u8], lens: &[u32], bounds: Bounds, parts: Vec<Range<usize>>) -> Result<Decoded> {
    room_for(bounds.of(arena.len()), "spans")?;
    let all: Vec<Range<usize>> = ranges(lens).collect();
    if parts.len() > 1 {
        let (threads, bounds) = (parts.len(), bounds.shared(parts.len()));
        let first_from = |byte: usize| all.partition_point(|range| range.start < byte);
        let decode = |part: Range<usize>| {
            let requests = first_from(part.start)..first_from(part.end);
            // The others come to stand behind those of the first.
            let room = if part.start == 0 { arena.len() } else { part.len() };
            decode_each(arena, &all, requests, bounds, room)
        };
        let decoded: Result<Vec<Decoded>> = threads::each(parts, threads, decode).into_iter().collect();
        if let Some(together) = Decoded::together(decoded?) {
            return Ok(together);
        }
    }
    decode_each(arena, &all, 0..all.len(), bounds, arena.len())
}

/// Decodes some of the requests that stand in these ranges, one after the other.
fn decode_each(
    arena: &[u8],
    ranges: &[Range<usize>],
    requests: Range<usize>,
    bounds: Bounds,
    room_bytes: usize,
) -> Result<Decoded> {
    let mut decoder = Decoder::new(arena, room_bytes)?;
    let (mut verdicts, mut errors) = (vec![None; requests.len()], Vec::new());
    let start = ranges.get(requests.start).map_or(0, |first| first.start);
    for (verdict, index) in verdicts.iter_mut().zip(requests) {
        let range = ranges[index].clone();
        decoder.allowed = bounds.of(range.end - start);
        *verdict = other_signal(&arena[range.clone()]);
        if verdict.is_some() {
            continue;
        }
        if let Err(error) = decoder.decode_or_leave(range) {
            *verdict = Some(error.kind);
            if errors.len() < MOST_ERRORS {
                errors.push((index, error));
            }
        }
    }
    let keeps_bounds = decoder.keeps_bounds() && !verdicts.contains(&Some(ErrorKind::Limit));
    let (columns, extra) = decoder.finish();
    Ok(Decoded { columns, extra, verdicts, errors, keeps_bounds })
}

fn ranges(lens: &[u32]) -> impl Iterator<Item = Range<usize>> {
    lens.iter().scan(0, |end, len| {
        let start = *end;
        *end += *len as usize;
        Some(start..*end)
    })
}

/// Requests in one arena, their lengths, and (request, how many texts were replaced).
type Mended = (Vec<u8>, Vec<u32>, Vec<(usize, u32)>);

/// The requests with every text as UTF-8, and how many there were not.
fn mended(arena: &[u8], lens: &[u32], bad: &[usize]) -> Result<Mended> {
    let mut all = Requests::default();
    let (mut replaced, mut bad) = (Vec::new(), bad.iter().peekable());
    for (index, range) in ranges(lens).enumerate() {
        let wire = &arena[range];
        match bad.next_if_eq(&&index).and_then(|_| replace_text(wire).ok()) {
            Some((wire, count)) => {
                replaced.push((index, count));
                all.add(wire.len(), |arena| arena.extend_from_slice(&wire))?;
            }
            None => all.add(wire.len(), |arena| arena.extend_from_slice(wire))?,
        }
    }
    Ok((all.arena, all.lens, replaced))
}

#[cold]
fn no_memory(bytes: usize) -> Box<DecodeError> {
    DecodeError::new(format!("memory for {bytes} bytes of spans"), "none: read in pieces, with scan", 0)
        .of(ErrorKind::Memory)
}
