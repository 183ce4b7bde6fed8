//! Decodes the valid ones of many requests: each invalid one is left out by itself, with its reason.
//!
//! ```text
//! ├ request ┤├ metrics ┤├ request ┤├ ~~ ┤├ request, text not UTF-8 ┤
//!     ✓         left out     ✓     left out    ✓ with U+FFFD
//! ```
//!
//! With a second thread, that one decodes while more requests are read and inflated: blocks go to it in their order.
//! One decoder goes on from block to block, so the result does not depend on where blocks end.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use arrow_buffer::Buffer;

use crate::columns::{Arena, Columns, TextRef, roomy};
use crate::decode::json::replace_text;
use crate::decode::otlp::Decoder;
use crate::decode::signals::other_signal;
use crate::error::{DecodeError, ErrorKind, Result, room_for};

/// How many errors are kept; all are counted.
const MOST_ERRORS: usize = 256;

/// Bytes of a block, at least.
const BLOCK_BYTES: usize = 1 << 20;

/// A block is at least this part of all before it, so that there are few, and the last is not large.
const BLOCK_SHARE: usize = 16;

/// How much memory columns may take: `free_bytes`, and `per_byte` for each byte of the requests so far.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Bounds {
    pub per_byte: u64,
    pub free_bytes: u64,
}

impl Bounds {
    /// The bound for this many bytes of requests.
    fn of(self, bytes: usize) -> u64 {
        self.free_bytes.saturating_add(self.per_byte.saturating_mul(bytes as u64))
    }
}

/// Requests, one after another.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    lens: Vec<u32>,
}

impl Block {
    fn add(&mut self, size: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let len = u32::try_from(size).ok().filter(|len| i32::try_from(*len).is_ok()).ok_or_else(|| {
            DecodeError::new("a request below 2 GiB", format!("{size} bytes"), 0).of(ErrorKind::Limit)
        })?;
        self.bytes.try_reserve(size).map_err(|_| no_memory(self.bytes.len() + size))?;
        self.lens.try_reserve(1).map_err(|_| no_memory(self.bytes.len()))?;
        fill(&mut self.bytes);
        self.lens.push(len);
        Ok(())
    }
}

/// Requests that are gathered, and decoded then or meanwhile.
#[derive(Debug)]
pub struct Requests {
    bounds: Bounds,
    threads: usize,
    /// What no other thread has.
    block: Block,
    /// Bytes and number of those that another thread has.
    sent: (usize, usize),
    /// Empty ones are only counted.
    empty: u32,
    other: Option<Other>,
}

/// The thread that decodes.
#[derive(Debug)]
struct Other {
    blocks: Sender<Block>,
    decoding: JoinHandle<Result<Decoding>>,
}

/// How many texts of a request were replaced.
type Replaced = Vec<(usize, u32)>;

/// What came of the requests.
#[derive(Debug)]
pub struct Sound {
    /// The spans of the sound ones.
    pub columns: Columns,
    /// By request: what is wrong with it, if something is. [`ErrorKind::Utf8`] has been put right.
    pub verdicts: Vec<Option<ErrorKind>>,
    /// The first errors, with the number of their request; the offset is in it.
    pub errors: Vec<(usize, Box<DecodeError>)>,
    /// Texts that were no UTF-8.
    pub replaced: Replaced,
}

impl Requests {
    /// None yet. With several threads, one decodes what is there while more is added.
    pub fn new(bounds: Bounds, threads: usize) -> Self {
        Self { bounds, threads, block: Block::default(), sent: (0, 0), empty: 0, other: None }
    }

    /// All of them, and none are left.
    pub fn take(&mut self) -> Self {
        let none = Self::new(self.bounds, self.threads);
        std::mem::replace(self, none)
    }

    /// Takes one more. Errors: no memory, or 2 GiB and more, which protobuf does not have.
    pub fn add(&mut self, size: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.block.add(size, fill)?;
        if self.threads > 1 && self.block.bytes.len() >= BLOCK_BYTES.max(self.sent.0 / BLOCK_SHARE) {
            self.send();
        }
        Ok(())
    }

    /// Sends a full block to the other thread, if it can be had.
    fn send(&mut self) {
        self.other = self.other.take().or_else(|| Other::new(self.bounds));
        let Some(other) = &self.other else {
            self.threads = 1;
            return;
        };
        self.sent.0 += self.block.bytes.len();
        self.sent.1 += self.block.lens.len();
        // If the thread has ended, joining it gives the reason.
        let _ = other.blocks.send(std::mem::take(&mut self.block));
    }

    /// Takes an empty one.
    pub fn add_empty(&mut self) {
        self.empty = self.empty.saturating_add(1);
    }

    /// How many there are that are not empty.
    pub fn count(&self) -> usize {
        self.sent.1 + self.block.lens.len()
    }

    /// Decodes all that are sound.
    ///
    /// Errors: more than 64 GiB, or memory that cannot be had.
    pub fn decode(self) -> Result<Sound> {
        let Self { bounds, block, empty, other, .. } = self;
        let decoding = match other {
            Some(other) => other.end(block),
            None => Decoding::of(bounds, block),
        }?;
        let (mended, replaced) = decoding.mended()?;
        let Some(mended) = mended else { return Ok(decoding.sound(empty, replaced)) };
        drop(decoding);
        let mut decoding = Decoding::of(bounds, mended)?;
        for (at, _) in &replaced {
            decoding.verdicts[*at] = decoding.verdicts[*at].or(Some(ErrorKind::Utf8));
        }
        Ok(decoding.sound(empty, replaced))
    }
}

impl Other {
    /// None if there is no thread to be had.
    fn new(bounds: Bounds) -> Option<Self> {
        let (blocks, coming): (_, Receiver<Block>) = channel();
        let decode = move || {
            let mut decoding = Decoding::new(bounds, 0)?;
            coming.into_iter().try_for_each(|block| decoding.add(block))?;
            Ok(decoding)
        };
        let decoding = thread::Builder::new().spawn(decode).ok()?;
        Some(Self { blocks, decoding })
    }

    /// Waits for it, with the last block.
    fn end(self, last: Block) -> Result<Decoding> {
        let _ = self.blocks.send(last);
        drop(self.blocks);
        self.decoding.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Requests that were decoded.
struct Decoding {
    bounds: Bounds,
    decoder: Decoder<'static>,
    /// The bytes, block by block; behind each what its columns refer to beside it.
    arena: Arena,
    /// Bytes of requests, without that.
    bytes: usize,
    lens: Vec<Vec<u32>>,
    verdicts: Vec<Option<ErrorKind>>,
    errors: Vec<(usize, Box<DecodeError>)>,
}

impl std::fmt::Debug for Decoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoding").field("requests", &self.verdicts.len()).finish_non_exhaustive()
    }
}

impl Decoding {
    /// Empty, with capacity for this many bytes.
    fn new(bounds: Bounds, room_bytes: usize) -> Result<Self> {
        room_for(bounds.of(room_bytes), "spans")?;
        Ok(Self {
            bounds,
            decoder: Decoder::with_room_for(room_bytes),
            arena: Arena::default(),
            bytes: 0,
            lens: Vec::new(),
            verdicts: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// All of these.
    fn of(bounds: Bounds, block: Block) -> Result<Self> {
        let mut decoding = Self::new(bounds, block.bytes.len())?;
        decoding.add(block)?;
        Ok(decoding)
    }

    /// Decodes what is sound of these, and keeps them.
    fn add(&mut self, block: Block) -> Result<()> {
        let Block { mut bytes, lens } = block;
        bytes.shrink_to(roomy(bytes.len()));
        let (before, start) = (self.bytes, self.arena.len());
        self.bytes += bytes.len();
        room_for(self.bounds.of(self.bytes), "spans")?;
        if start + bytes.len() > TextRef::MAX_ARENA {
            let got = format!("{} bytes", self.bytes);
            return Err(DecodeError::new("at most 64 GiB in one call", got, 0).of(ErrorKind::Limit));
        }
        let (mut decoder, _) = std::mem::take(&mut self.decoder).reading(&bytes);
        let mark = decoder.mark();
        for range in ranges(&lens) {
            decoder.allowed = self.bounds.of(before + range.end);
            let verdict = other_signal(&bytes[range.clone()]).or_else(|| {
                let error = decoder.decode_or_leave(range).err()?;
                let kind = error.kind;
                if self.errors.len() < MOST_ERRORS {
                    self.errors.push((self.verdicts.len(), error));
                }
                Some(kind)
            });
            self.verdicts.push(verdict);
        }
        if start > 0 {
            decoder.move_texts(&mark, start);
        }
        let (decoder, extra) = decoder.reading(&[]);
        self.decoder = decoder;
        bytes.extend_from_slice(&extra);
        self.arena.push(Buffer::from_vec(bytes));
        self.lens.push(lens);
        Ok(())
    }

    fn sound(self, empty: u32, replaced: Replaced) -> Sound {
        let Self { decoder, arena, verdicts, errors, .. } = self;
        let (mut columns, _) = decoder.finish();
        columns.batches = columns.batches.saturating_add(empty);
        columns.shrink_to_fit();
        columns.arena = arena;
        Sound { columns, verdicts, errors, replaced }
    }

    /// The requests with every text as UTF-8, and how many texts of each there were that were not; none if all are.
    fn mended(&self) -> Result<(Option<Block>, Replaced)> {
        let (mut all, mut replaced) = (Block::default(), Vec::new());
        if !self.verdicts.contains(&Some(ErrorKind::Utf8)) {
            return Ok((None, replaced));
        }
        let blocks = self.arena.parts().zip(&self.lens);
        let wires = blocks.flat_map(|(part, lens)| ranges(lens).map(move |range| &part.bytes[range]));
        for (index, (wire, verdict)) in wires.zip(&self.verdicts).enumerate() {
            let mended =
                verdict.filter(|&kind| kind == ErrorKind::Utf8).and_then(|_| replace_text(wire).ok());
            if let Some((wire, count)) = mended {
                replaced.push((index, count));
                all.add(wire.len(), |bytes| bytes.extend_from_slice(&wire))?;
            } else {
                all.add(wire.len(), |bytes| bytes.extend_from_slice(wire))?;
            }
        }
        Ok((Some(all), replaced))
    }
}

fn ranges(lens: &[u32]) -> impl Iterator<Item = Range<usize>> {
    lens.iter().scan(0, |end, len| {
        let start = *end;
        *end += *len as usize;
        Some(start..*end)
    })
}

#[cold]
fn no_memory(bytes: usize) -> Box<DecodeError> {
    DecodeError::new(format!("memory for {bytes} bytes of spans"), "none: read in pieces, with scan", 0)
        .of(ErrorKind::Memory)
}
