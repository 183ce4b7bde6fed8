//! Bounded, streaming inflation of gzip (several members) and zstd (several frames).
//!
//! Output grows only by what was really inflated, never by a size that the sender wrote. What the decoder keeps for
//! itself is bounded too: gzip's window is 32 KiB, zstd's at most 128 MiB ([`WINDOW_LOG_MAX`]); larger ones are refused.
//!
//! ```text
//! input  ▓▓▓▓▓▓▓▓▓▓│▓▓▓▓▓▓▓░░░░░░   one feed: stops at the input's end or at its budget of output
//! output ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓
//!                  └ a member or frame ended here: input that ends here is complete, elsewhere it is cut
//! ```

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::error::{DecodeError, ErrorKind, Result};
use crate::numbers::usize_of;

/// The largest zstd window that we hold memory for, as a power of two: 128 MiB, zstd's own default and `--long`'s.
pub const WINDOW_LOG_MAX: u32 = 27;
const STEP_BYTES: usize = 64 * 1024;
const GZIP_WINDOW_BITS: u8 = 15;

/// The compressions that wrap whole files and request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

enum Codec {
    Gzip(Decompress),
    Zstd(Decoder<'static>),
}

/// What one step of a codec did.
struct Step {
    consumed: usize,
    produced: usize,
    ended: bool,
}

/// Inflates a stream that arrives in pieces.
pub struct Inflater {
    codec: Codec,
    window_log: u32,
    limit: u64,
    consumed: u64,
    produced: u64,
    /// At the start or right after a member or frame.
    at_boundary: bool,
    /// Where zeros begin behind the last member or frame: what is left of a file that lost its end.
    zeros_at: Option<u64>,
    /// The last step filled all that it might: there may be output left that needs no input.
    unflushed: bool,
}

impl Inflater {
    /// An inflater that gives at most `limit` bytes in all.
    ///
    /// Errors: the decoder could not be set up (no memory).
    pub fn new(compression: Compression, limit: u64) -> Result<Self> {
        Self::with_window(compression, limit, WINDOW_LOG_MAX)
    }

    /// The same, with a zstd window of at most 2 to the power of `window_log` bytes.
    ///
    /// Errors: as for [`Inflater::new`]; a power that zstd does not know.
    pub fn with_window(compression: Compression, limit: u64, window_log: u32) -> Result<Self> {
        Ok(Self {
            codec: codec(compression, window_log)?,
            window_log,
            limit,
            consumed: 0,
            produced: 0,
            at_boundary: true,
            unflushed: false,
            zeros_at: None,
        })
    }

    /// Inflates `input` and appends to `out`, about `budget` bytes at most (64 KiB more at the very most).
    ///
    /// Gives how many bytes of `input` were used. Fewer than all: the budget was reached; feed the rest again.
    /// While [`Inflater::is_pending`], feed again too, if need be with no input at all.
    /// What was appended before an error stays in `out`.
    ///
    /// Errors: corrupt data, or more than the limit. The offset is in the compressed stream.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>, budget: usize) -> Result<usize> {
        let mut made = out.len();
        let used = self.feed_over(input, out, &mut made, budget);
        out.truncate(made);
        used
    }

    /// The same, over what `out` has from `made` on. Its length only grows: what is fed again and again into the same
    /// memory need not be cleared each time.
    pub fn feed_over(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        made: &mut usize,
        budget: usize,
    ) -> Result<usize> {
        let (mut used, end) = (0, made.saturating_add(budget));
        while (used < input.len() || self.unflushed) && *made < end {
            // Small steps, since one that fails gives nothing of what it has inflated.
            let most = *made + STEP_BYTES;
            if out.len() < most {
                self.grow(out, most)?;
            }
            let step = self.step(&input[used..], &mut out[*made..most])?;
            self.produced += step.produced as u64;
            if self.produced > self.limit {
                return Err(self.too_long());
            }
            used += step.consumed;
            *made += step.produced;
        }
        Ok(used)
    }

    fn grow(&self, out: &mut Vec<u8>, len: usize) -> Result<()> {
        if out.try_reserve(len - out.len()).is_err() {
            let expected = format!("memory for {} bytes once inflated", self.produced + STEP_BYTES as u64);
            return Err(DecodeError::new(expected, "none", self.consumed).of(ErrorKind::Memory));
        }
        out.resize(len, 0);
        Ok(())
    }

    /// May there be output left that needs no more input?
    pub fn is_pending(&self) -> bool {
        self.unflushed
    }

    /// Did the input so far end where a member or frame ends? If not, it was cut.
    pub fn is_complete(&self) -> bool {
        self.at_boundary && !self.unflushed
    }

    /// Where zeros begin behind the last member or frame, if they do.
    pub fn zeros_at(&self) -> Option<u64> {
        self.zeros_at
    }

    /// Bytes of input used so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        if self.at_boundary && self.consumed > 0 && input.first() == Some(&0) {
            self.zeros_at.get_or_insert(self.consumed);
            let consumed = input.iter().take_while(|byte| **byte == 0).count();
            self.consumed += consumed as u64;
            self.unflushed = false;
            return Ok(Step { consumed, produced: 0, ended: true });
        }
        if let (Codec::Gzip(_), true, false) = (&self.codec, self.at_boundary, self.consumed == 0) {
            self.codec = codec(Compression::Gzip, self.window_log)?;
        }
        let at = self.consumed;
        let corrupt =
            |name: &'static str, got: String| DecodeError::new(name, got, at).of(ErrorKind::Compression);
        let step = match &mut self.codec {
            Codec::Gzip(gzip) => {
                gunzip(gzip, input, out).map_err(|error| corrupt("a sound gzip stream", error.to_string()))?
            }
            Codec::Zstd(zstd) => unzstd(zstd, input, out).map_err(|error| {
                if is_no_memory(&error) {
                    return no_memory(at, &error);
                }
                let window = 1u64 << self.window_log >> 20;
                let expected = format!("a sound zstd stream with a window of at most {window} MiB");
                DecodeError::new(expected, error.to_string(), at).of(ErrorKind::Compression)
            })?,
        };
        if step.consumed == 0 && step.produced == 0 && !step.ended && !input.is_empty() {
            return Err(corrupt("compressed data that leads on", "data that leads nowhere".to_owned()));
        }
        self.consumed += step.consumed as u64;
        self.at_boundary = step.ended;
        self.unflushed = !step.ended && step.produced == out.len();
        Ok(step)
    }

    #[cold]
    fn too_long(&self) -> Box<DecodeError> {
        let expected = format!("at most {} bytes once inflated", self.limit);
        DecodeError::new(expected, "more", self.consumed).of(ErrorKind::Limit)
    }
}

/// All of `input`, which must be complete, inflated to at most `limit` bytes.
///
/// Errors: corrupt or cut data, or more than the limit. The offset is in `input`.
pub fn inflate(compression: Compression, input: &[u8], limit: u64) -> Result<Vec<u8>> {
    inflate_all(Inflater::new(compression, limit)?, input)
}

/// All of `input`, which must be complete.
///
/// Errors: as for [`inflate`].
pub fn inflate_all(mut inflater: Inflater, input: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    inflater.feed(input, &mut out, usize::MAX)?;
    if inflater.is_complete() {
        return Ok(out);
    }
    Err(DecodeError::new("the rest of the compressed data", "its end", input.len()).of(ErrorKind::Cut))
}

fn codec(compression: Compression, window_log: u32) -> Result<Codec> {
    match compression {
        Compression::Gzip => Ok(Codec::Gzip(Decompress::new_gzip(GZIP_WINDOW_BITS))),
        Compression::Zstd => zstd_decoder(window_log).map(Codec::Zstd).map_err(|error| no_memory(0, &error)),
    }
}

/// zstd says so by name only. The number is its `ZSTD_error_memory_allocation`, which its ABI keeps.
fn is_no_memory(error: &std::io::Error) -> bool {
    error.to_string() == zstd::zstd_safe::get_error_name(64_usize.wrapping_neg())
}

#[cold]
fn no_memory(at: u64, error: &std::io::Error) -> Box<DecodeError> {
    DecodeError::new("memory for zstd", error.to_string(), at).of(ErrorKind::Memory)
}

fn zstd_decoder(window_log: u32) -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(window_log))?;
    Ok(decoder)
}

fn gunzip(
    gzip: &mut Decompress,
    input: &[u8],
    out: &mut [u8],
) -> std::result::Result<Step, flate2::DecompressError> {
    let (consumed, produced) = (gzip.total_in(), gzip.total_out());
    let status = gzip.decompress(input, out, FlushDecompress::None)?;
    Ok(Step {
        consumed: usize_of(gzip.total_in() - consumed),
        produced: usize_of(gzip.total_out() - produced),
        ended: status == Status::StreamEnd,
    })
}

fn unzstd(zstd: &mut Decoder<'static>, input: &[u8], out: &mut [u8]) -> std::io::Result<Step> {
    let (mut input, mut out) = (InBuffer::around(input), OutBuffer::around(out));
    let hint = zstd.run(&mut input, &mut out)?;
    Ok(Step { consumed: input.pos(), produced: out.pos(), ended: hint == 0 })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    fn deflated(compression: Compression, data: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(data).expect("a Vec takes all");
                writer.finish().expect("a Vec takes all")
            }
            Compression::Zstd => zstd::encode_all(data, 1).expect("a Vec takes all"),
        }
    }

    /// Bytes that neither repeat nor are random: compressible by about half.
    fn text(len: u32) -> Vec<u8> {
        (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 28) as u8).collect()
    }

    /// Everything that comes out when `input` arrives in pieces of `piece` bytes, and whether it was complete.
    fn streamed(compression: Compression, input: &[u8], piece: usize, budget: usize) -> (Vec<u8>, bool) {
        let (mut inflater, mut out) = (Inflater::new(compression, u64::MAX).expect("memory"), Vec::new());
        for mut chunk in input.chunks(piece) {
            while !chunk.is_empty() || inflater.is_pending() {
                let used = inflater.feed(chunk, &mut out, budget).expect("sound data");
                chunk = &chunk[used..];
            }
        }
        (out, inflater.is_complete())
    }

    #[test]
    fn members_and_frames_are_joined_however_they_arrive() {
        let data = text(300_000);
        for kind in BOTH {
            let parts =
                [deflated(kind, &data[..1]), deflated(kind, &[]), deflated(kind, &data[1..])].concat();
            for (piece, budget) in
                [(1, 1), (7, 1000), (4096, 1), (usize::MAX, 65536), (usize::MAX, usize::MAX)]
            {
                assert_eq!(
                    streamed(kind, &parts, piece, budget),
                    (data.clone(), true),
                    "{kind:?} {piece} {budget}"
                );
            }
            assert_eq!(inflate(kind, &parts, data.len() as u64), Ok(data.clone()));
        }
    }

    #[test]
    fn a_cut_stream_gives_what_came_before_and_is_known_to_be_cut() {
        let data = text(1_000);
        for kind in BOTH {
            let whole = deflated(kind, &data);
            for end in 1..whole.len() {
                let (out, complete) = streamed(kind, &whole[..end], usize::MAX, usize::MAX);
                assert!(!complete && data.starts_with(&out), "{kind:?} {end}");
                assert!(inflate(kind, &whole[..end], u64::MAX).is_err(), "{kind:?} {end}");
            }
            let joined = [whole.clone(), whole.clone()].concat();
            let (out, complete) = streamed(kind, &joined[..whole.len() + 5], 100, 100);
            assert!(!complete && out == data);
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte_and_for_all_members_together() {
        for kind in BOTH {
            let twice = deflated(kind, &[7; 1000]).repeat(2);
            assert_eq!(inflate(kind, &twice, 2000).map(|out| out.len()), Ok(2000));
            let error = inflate(kind, &twice, 1999).expect_err("one byte too many");
            assert_eq!(error.expected, "at most 1999 bytes once inflated");
            assert!(error.offset > twice.len() as u64 / 2 && error.offset <= twice.len() as u64);
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_inflated() {
        for kind in BOTH {
            let bomb = deflated(kind, &vec![0; 8 << 20]);
            let (mut inflater, mut out) = (Inflater::new(kind, 1 << 20).expect("memory"), Vec::new());
            assert!(inflater.feed(&bomb, &mut out, usize::MAX).is_err());
            assert!(out.capacity() <= 2 << 20);
        }
    }

    #[test]
    fn corruption_is_an_error_with_its_place() {
        for kind in BOTH {
            let whole = deflated(kind, &text(200_000));
            let error =
                inflate(kind, &[whole.clone(), b"garbage".to_vec()].concat(), u64::MAX).expect_err("garbage");
            assert_eq!(error.offset, whole.len() as u64, "{kind:?}");
            assert!(inflate(kind, b"neither", u64::MAX).is_err());
        }
        let mut checksum = deflated(Compression::Gzip, b"abc");
        let at = checksum.len() - 8;
        checksum[at] ^= 1;
        assert!(inflate(Compression::Gzip, &checksum, u64::MAX).is_err());
    }

    #[test]
    fn what_zstd_calls_no_memory_is_not_called_corrupt() {
        assert!(is_no_memory(&std::io::Error::other("Allocation error : not enough memory")));
        assert!(!is_no_memory(&std::io::Error::other("Data corruption detected")));
    }

    #[test]
    fn a_window_above_the_bound_is_refused() {
        // Magic, a frame header without content size whose window is 2^28, then one empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0x00, 0x00];
        let error = inflate(Compression::Zstd, &frame, u64::MAX).expect_err("the window is too large");
        assert!(error.expected.contains("128 MiB"), "{error}");
        let allowed = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x01, 0x00, 0x00];
        assert_eq!(inflate(Compression::Zstd, &allowed, u64::MAX), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0usize..3) {
            let magics: [&[u8]; 3] = [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"];
            bytes.splice(0..0, magics[magic].iter().copied());
            for kind in BOTH {
                let _ = inflate(kind, &bytes, 1 << 20);
            }
        }

        #[test]
        fn damaged_streams_are_survived(at in 0usize..1000, byte in any::<u8>()) {
            for kind in BOTH {
                let mut whole = deflated(kind, &text(3000));
                let at = at % whole.len();
                whole[at] = byte;
                let _ = inflate(kind, &whole, 1 << 20);
            }
        }
    }
}
