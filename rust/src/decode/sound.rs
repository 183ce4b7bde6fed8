//! What of many requests is sound: each that is not is left out by itself, with its reason.
//!
//! ```text
//! ├ request ┤├ metrics ┤├ request ┤├ ~~ ┤├ request, text not UTF-8 ┤
//!     ✓         left out     ✓     left out    ✓ with U+FFFD
//! ```

use std::ops::Range;

use crate::columns::{Columns, roomy};
use crate::decode::json::replace_text;
use crate::decode::otlp::{Decoder, with_arena};
use crate::decode::signals::other_signal;
use crate::error::{DecodeError, ErrorKind, Result, room_for};

/// How many errors are kept; all are counted.
const MOST_ERRORS: usize = 256;

/// How much memory columns may take: `free_bytes`, and `per_byte` for each byte of the requests so far.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Bounds {
    pub per_byte: u64,
    pub free_bytes: u64,
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

    /// Decodes all that are sound.
    ///
    /// Errors: more than 64 GiB, or memory that cannot be had.
    pub fn decode(self, bounds: Bounds) -> Result<Sound> {
        let Self { mut arena, lens, empty } = self;
        arena.shrink_to(roomy(arena.len()));
        let (mut columns, extra, verdicts, errors) = decode_sound(&arena, &lens, bounds)?;
        let bad: Vec<usize> = (0..lens.len()).filter(|&at| verdicts[at] == Some(ErrorKind::Utf8)).collect();
        if bad.is_empty() {
            columns.batches = columns.batches.saturating_add(empty);
            return Ok(Sound {
                columns: with_arena(columns, arena, &extra),
                verdicts,
                errors,
                replaced: Vec::new(),
            });
        }
        drop((columns, extra));
        let (arena, lens, replaced) = mended(&arena, &lens, &bad)?;
        let (mut columns, extra, mut verdicts, errors) = decode_sound(&arena, &lens, bounds)?;
        columns.batches = columns.batches.saturating_add(empty);
        for (at, _) in &replaced {
            verdicts[*at] = verdicts[*at].or(Some(ErrorKind::Utf8));
        }
        Ok(Sound { columns: with_arena(columns, arena, &extra), verdicts, errors, replaced })
    }
}

type Decoded = (Columns, Vec<u8>, Vec<Option<ErrorKind>>, Vec<(usize, Box<DecodeError>)>);

fn decode_sound(arena: &[u8], lens: &[u32], bounds: Bounds) -> Result<Decoded> {
    let most = bounds.free_bytes.saturating_add(bounds.per_byte.saturating_mul(arena.len() as u64));
    room_for(most, "spans")?;
    let mut decoder = Decoder::new(arena)?;
    let (mut verdicts, mut errors) = (vec![None; lens.len()], Vec::new());
    for (index, range) in ranges(lens).enumerate() {
        let so_far = bounds.per_byte.saturating_mul(range.end as u64);
        decoder.allowed = bounds.free_bytes.saturating_add(so_far);
        verdicts[index] = other_signal(&arena[range.clone()]);
        if verdicts[index].is_some() {
            continue;
        }
        if let Err(error) = decoder.decode_or_leave(range) {
            verdicts[index] = Some(error.kind);
            if errors.len() < MOST_ERRORS {
                errors.push((index, error));
            }
        }
    }
    let (columns, extra) = decoder.finish();
    Ok((columns, extra, verdicts, errors))
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
