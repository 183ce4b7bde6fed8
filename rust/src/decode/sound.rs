//! Decodes the valid ones of many requests: each invalid one is left out by itself, with its reason.
//!
//! ```text
//! ├ request ┤├ metrics ┤├ request ┤├ ~~ ┤├ request, text not UTF-8 ┤
//!     ✓         left out     ✓     left out    ✓ with U+FFFD
//! ```
//!
//! Nothing of a request is kept but its columns and its texts. With a second thread, that one decodes while more
//! requests are read and inflated: blocks go to it in their order. One decoder goes on from block to block, so the
//! result does not depend on where blocks end.

use std::fmt;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::columns::Columns;
use crate::decode::json::replace_text;
use crate::decode::otlp::Decoder;
use crate::decode::signals::other_signal;
use crate::error::{DecodeError, ErrorKind, Result, no_memory, room_for};
use crate::threads::can_start;

/// How many errors are kept; all are counted.
const MOST_ERRORS: usize = 256;

/// Bytes for which another thread is worth it, and of a block of single requests.
const BLOCK_BYTES: usize = 1 << 20;

/// So many blocks may wait for the other thread. Then the one that reads waits.
const WAITING: usize = 8;

/// Memory is asked for in steps of this many bytes of requests, or of a quarter of all: asking costs, too.
const STEP_BYTES: usize = 16 << 20;

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

/// Bytes that nobody changes any more.
pub type Held = Box<dyn AsRef<[u8]> + Send + Sync>;

/// Requests, and where they are.
struct Block {
    bytes: Held,
    requests: Vec<Range<usize>>,
}

/// Requests that are decoded here or by another thread.
pub struct Requests {
    bounds: Bounds,
    threads: usize,
    /// Copies of requests, to be decoded together.
    copies: Vec<u8>,
    copied: Vec<Range<usize>>,
    /// Too few for another thread so far, and the bytes that they hold.
    few: Vec<Block>,
    few_bytes: usize,
    count: usize,
    /// Empty ones are only counted.
    empty: u32,
    other: Option<Other>,
    here: Result<Decoding>,
}

/// The thread that decodes.
struct Other {
    blocks: SyncSender<Block>,
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

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Requests {
    /// None yet. With several threads, one decodes what is there while more is added.
    pub fn new(bounds: Bounds, threads: usize) -> Self {
        Self {
            bounds,
            threads,
            copies: Vec::new(),
            copied: Vec::new(),
            few: Vec::new(),
            few_bytes: 0,
            count: 0,
            empty: 0,
            other: None,
            here: Ok(Decoding::new(bounds)),
        }
    }

    /// All of them, and none are left.
    pub fn take(&mut self) -> Self {
        let none = Self::new(self.bounds, self.threads);
        std::mem::replace(self, none)
    }

    /// Takes one more, or a copy of it. Errors: no memory, or 2 GiB and more, which protobuf does not have.
    pub fn add(&mut self, request: &[u8]) -> Result<()> {
        let size = request.len();
        if i32::try_from(size).is_err() {
            let got = format!("{size} bytes");
            return Err(DecodeError::new("a request below 2 GiB", got, 0).of(ErrorKind::Limit));
        }
        if self.threads <= 1 {
            self.count += 1;
            self.decode_here(request, std::slice::from_ref(&(0..size)));
            return Ok(());
        }
        self.copies.try_reserve(size).map_err(|_| no_memory(self.copies.len() + size, "spans"))?;
        self.count += 1;
        let start = self.copies.len();
        self.copies.extend_from_slice(request);
        self.copied.push(start..self.copies.len());
        if self.copies.len() >= BLOCK_BYTES {
            self.pass_copies();
        }
        Ok(())
    }

    /// Takes those that stand at these places.
    pub fn add_all(&mut self, bytes: Held, requests: Vec<Range<usize>>) {
        if requests.is_empty() {
            return;
        }
        self.count += requests.len();
        self.pass_copies();
        self.pass(Block { bytes, requests });
    }

    /// Takes an empty one.
    pub fn add_empty(&mut self) {
        self.empty = self.empty.saturating_add(1);
    }

    /// How many there are that are not empty.
    pub fn count(&self) -> usize {
        self.count
    }

    fn pass_copies(&mut self) {
        if !self.copied.is_empty() {
            let (bytes, requests) = (std::mem::take(&mut self.copies), std::mem::take(&mut self.copied));
            self.pass(Block { bytes: Box::new(bytes), requests });
        }
    }

    fn pass(&mut self, block: Block) {
        if let Some(other) = &self.other {
            return other.send(block);
        }
        if self.threads <= 1 {
            return self.decode_here((*block.bytes).as_ref(), &block.requests);
        }
        self.few_bytes += (*block.bytes).as_ref().len();
        self.few.push(block);
        if self.few_bytes >= BLOCK_BYTES {
            self.other = Other::new(self.bounds);
            self.threads = if self.other.is_some() { self.threads } else { 1 };
            self.pass_few();
        }
    }

    fn pass_few(&mut self) {
        for block in std::mem::take(&mut self.few) {
            match &self.other {
                Some(other) => other.send(block),
                None => self.decode_here((*block.bytes).as_ref(), &block.requests),
            }
        }
    }

    fn decode_here(&mut self, bytes: &[u8], requests: &[Range<usize>]) {
        if let Ok(here) = &mut self.here
            && let Err(error) = here.add(bytes, requests)
        {
            self.here = Err(error);
        }
    }

    /// What came of all.
    ///
    /// Errors: more than 64 GiB of texts, or memory that cannot be had.
    pub fn decode(mut self) -> Result<Sound> {
        self.pass_copies();
        self.pass_few();
        let decoding = match self.other {
            Some(other) => other.end()?,
            None => self.here?,
        };
        Ok(decoding.sound(self.empty))
    }
}

impl Other {
    /// None if there is no thread to be had.
    fn new(bounds: Bounds) -> Option<Self> {
        let (blocks, coming): (_, Receiver<Block>) = sync_channel(WAITING);
        let decode = move || {
            let mut decoding = Decoding::new(bounds);
            coming
                .into_iter()
                .try_for_each(|block| decoding.add((*block.bytes).as_ref(), &block.requests))?;
            Ok(decoding)
        };
        let decoding = can_start().then(|| thread::Builder::new().spawn(decode).ok())??;
        Some(Self { blocks, decoding })
    }

    /// If the thread has ended, joining it gives the reason.
    fn send(&self, block: Block) {
        let _ = self.blocks.send(block);
    }

    /// Waits for it.
    fn end(self) -> Result<Decoding> {
        drop(self.blocks);
        self.decoding.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Requests that were decoded.
struct Decoding {
    bounds: Bounds,
    decoder: Decoder,
    /// Bytes of requests, and for how many memory was asked.
    bytes: usize,
    asked: usize,
    verdicts: Vec<Option<ErrorKind>>,
    errors: Vec<(usize, Box<DecodeError>)>,
    replaced: Replaced,
}

impl Decoding {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            decoder: Decoder::default(),
            bytes: 0,
            asked: 0,
            verdicts: Vec::new(),
            errors: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Decodes what is sound of the requests at these places.
    fn add(&mut self, bytes: &[u8], requests: &[Range<usize>]) -> Result<()> {
        let most = self.bytes + bytes.len();
        if most > self.asked {
            self.asked = most + STEP_BYTES.max(most / 4);
            room_for(self.bounds.of(self.asked), "spans")?;
        }
        if self.verdicts.is_empty() {
            self.decoder = Decoder::with_room_for(bytes.len());
        }
        requests.iter().try_for_each(|request| self.one(&bytes[request.clone()]))
    }

    fn one(&mut self, wire: &[u8]) -> Result<()> {
        let before = self.bytes;
        let fault = match self.judged(wire)? {
            Some((ErrorKind::Utf8, error)) => match replace_text(wire) {
                Ok((mended, count)) => {
                    self.bytes = before;
                    self.replaced.push((self.verdicts.len(), count));
                    self.judged(&mended)?.or(Some((ErrorKind::Utf8, None)))
                }
                Err(_) => Some((ErrorKind::Utf8, error)),
            },
            fault => fault,
        };
        let (verdict, error) = fault.unzip();
        if let Some(error) = error.flatten()
            && self.errors.len() < MOST_ERRORS
        {
            self.errors.push((self.verdicts.len(), error));
        }
        self.verdicts.push(verdict);
        Ok(())
    }

    /// Decodes a request, or says what is wrong with it. Errors: what is wrong with all of them.
    fn judged(&mut self, wire: &[u8]) -> Result<Option<(ErrorKind, Option<Box<DecodeError>>)>> {
        self.bytes += wire.len();
        self.decoder.make_room(wire.len())?;
        if let Some(kind) = other_signal(wire) {
            return Ok(Some((kind, None)));
        }
        self.decoder.allowed = self.bounds.of(self.bytes);
        Ok(self.decoder.decode_or_leave(wire).err().map(|error| (error.kind, Some(error))))
    }

    fn sound(self, empty: u32) -> Sound {
        let Self { decoder, verdicts, errors, replaced, .. } = self;
        let mut columns = decoder.finish();
        columns.batches = columns.batches.saturating_add(empty);
        Sound { columns, verdicts, errors, replaced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_little_in_them_do_not_wait_until_it_is_much() {
        let bounds = Bounds { free_bytes: 1 << 20, per_byte: 16 };
        let mut requests = Requests::new(bounds, 2);
        for _ in 0..3 {
            let place = 7..9;
            requests.add_all(Box::new(b"\0\0\0\0\0\0\0\x0a\0".repeat(BLOCK_BYTES / 16)), vec![place]);
            requests.add_all(Box::new(vec![0; BLOCK_BYTES]), Vec::new());
        }
        assert!(requests.few.is_empty() && requests.other.is_some());
        assert_eq!(3, requests.decode().expect("three sound requests").columns.batches);
    }
}
