//! Many messages of a source at once, and what stands between them: a caller that is slow is asked once for all of them.

use std::collections::BTreeMap;
use std::ops::Range;

use flate2::Crc;

use crate::decode::json::{Found, Piece, Wire};
use crate::error::{DecodeError, ErrorKind};
use crate::numbers::{u32_of, usize_of};

/// Damages of one run that are described; the rest is counted.
const MOST_DAMAGES: usize = 128;
/// Messages of one run at most.
const MOST: usize = 16 << 10;
/// Bytes of one run at most, about.
const RUN_BYTES: usize = 1 << 20;

const LENGTH_BYTES: usize = 4;
/// So many zeros are no empty requests in a row: a caller looks at them.
const ZEROS: [u8; 16] = [0; 16];
/// Field 536870911, fixed32: the CRC-32 that may end a frame.
const CHECKSUM_TAG: [u8; 5] = [0xfd, 0xff, 0xff, 0xff, 0x0f];

/// One message: where its wire is, and where it was in the content.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Placed {
    pub start: usize,
    pub len: u32,
    pub offset: u64,
    pub size: u32,
    /// From 1; 0 if it is no text.
    pub line: u64,
    /// Sequences that were not UTF-8.
    pub replaced: u32,
}

impl Placed {
    /// Where its wire is.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len as usize
    }
}

/// Messages, and what is none.
#[derive(Debug, Default)]
pub struct Run {
    /// The sound ones, in their order.
    pub messages: Vec<Placed>,
    /// The first damages, in their order.
    pub damages: Vec<Piece>,
    /// By kind, as its number: how many more there are, and their bytes.
    pub more: BTreeMap<u8, (u64, u64)>,
    /// Messages whose times are in µs.
    pub micros: u32,
    /// The stream ends within this one.
    pub torn: Option<Piece>,
    held: usize,
    count: usize,
}

impl Run {
    /// Has it enough?
    pub fn is_full(&self) -> bool {
        self.count >= MOST || self.held >= RUN_BYTES
    }

    fn message(&mut self, placed: Placed) {
        self.held += placed.size as usize;
        self.count += 1;
        self.messages.push(placed);
    }

    fn damage(&mut self, piece: Piece, kind: ErrorKind) {
        self.held += usize_of(piece.size);
        self.count += 1;
        if self.damages.len() < MOST_DAMAGES {
            return self.damages.push(piece);
        }
        let (count, bytes) = self.more.entry(kind as u8).or_default();
        *count += 1;
        *bytes += piece.size;
    }

    /// Takes a piece of a stream of JSON; its wire goes behind `wires`.
    pub fn add(&mut self, mut piece: Piece, wires: &mut Vec<u8>) {
        match piece.found {
            Found::Wire(Wire { bytes, replaced, micros }) => {
                let (start, len) = (wires.len(), u32_of(bytes.len()));
                wires.extend_from_slice(&bytes);
                self.micros += u32::from(micros);
                let (offset, size, line) =
                    (piece.offset, u32::try_from(piece.size).unwrap_or(u32::MAX), piece.line);
                self.message(Placed { start, len, offset, size, line, replaced });
            }
            Found::Torn(_) => self.torn = Some(piece),
            Found::Zeros => {
                let got = format!("{} zeros", piece.size);
                let error = DecodeError::new("JSON", got, piece.offset).of(ErrorKind::Zeros);
                piece.found = Found::Bad(error);
                self.damage(piece, ErrorKind::Zeros);
            }
            Found::Bad(ref error) => {
                let kind = error.kind;
                self.damage(piece, kind);
            }
        }
    }
}

/// The whole frames that `data` holds from `at` on, up to what needs a closer look. `base`: the offset of `data[0]`.
///
/// Gives them and where they end.
pub fn frames(data: &[u8], mut at: usize, base: u64, limit: usize) -> (Run, usize) {
    let mut run = Run::default();
    while !run.is_full() {
        let Some(header) = data.get(at..at + LENGTH_BYTES) else { break };
        let size = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let start = at + LENGTH_BYTES;
        let Some(payload) = data.get(start..).and_then(|rest| rest.get(..size)) else { break };
        let zeros = size == 0 && ZEROS.starts_with(&data[at..data.len().min(at + ZEROS.len())]);
        if size > limit || zeros {
            break;
        }
        let (offset, whole) = (base + start as u64, u32_of(size + LENGTH_BYTES));
        match checked(payload, offset) {
            Ok(()) => {
                run.message(Placed { start, len: u32_of(size), offset, size: whole, line: 0, replaced: 0 });
            }
            Err(error) => {
                let found = Found::Bad(error);
                let piece = Piece { offset, size: u64::from(whole), line: 0, sample: Vec::new(), found };
                run.damage(piece, ErrorKind::Checksum);
            }
        }
        at = start + size;
    }
    (run, at)
}

/// A frame whose checksum, if it carries one, must be that of the rest.
fn checked(payload: &[u8], offset: u64) -> Result<(), Box<DecodeError>> {
    let Some((rest, tail)) = payload.split_last_chunk::<9>() else { return Ok(()) };
    let Some(stored) = tail.strip_prefix(&CHECKSUM_TAG) else { return Ok(()) };
    let stored = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]);
    let mut crc = Crc::new();
    crc.update(rest);
    if crc.sum() == stored {
        return Ok(());
    }
    let expected = format!("a frame with the checksum {stored:08x}");
    Err(DecodeError::new(expected, format!("{:08x}", crc.sum()), offset).of(ErrorKind::Checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_up_to_what_needs_a_closer_look() {
        let two = b"\0\0\0\x02\x0a\0\0\0\0\x01x";
        for (rest, end) in [(&b"\0\0"[..], 11), (b"\0\0\0\x05abcd", 11), (b"", 11), (&[0; 16], 11)] {
            let (run, at) = frames(&[&two[..], rest].concat(), 0, 100, 1000);
            let offsets: Vec<u64> = run.messages.iter().map(|message| message.offset).collect();
            assert_eq!((offsets, at), (vec![104, 110], end), "{rest:?}");
        }
        assert_eq!(frames(b"\0\0\0\x04abcd", 0, 0, 3).1, 0);
    }

    #[test]
    fn a_wrong_checksum_is_a_damage_and_the_next_frame_is_sound() {
        // CRC-32 of "123456789" is cbf43926 (RFC 3720 and everywhere).
        let frame =
            |last: u8| [b"\0\0\0\x12123456789", &CHECKSUM_TAG[..], &[0x26, 0x39, 0xf4, last]].concat();
        let (run, at) = frames(&[frame(0xcb), frame(0xcc), frame(0xcb)].concat(), 0, 0, 1000);
        assert_eq!((run.messages.len(), run.damages.len(), at), (2, 1, 66));
        assert_eq!((run.damages[0].offset, run.damages[0].size), (26, 22));
    }

    #[test]
    fn damages_beyond_the_first_are_counted() {
        let frame = [b"\0\0\0\x09", &CHECKSUM_TAG[..], &[1, 0, 0, 0]].concat();
        let (run, at) = frames(&frame.repeat(1000), 0, 0, 1000);
        assert_eq!((run.damages.len(), at), (128, 13_000));
        assert_eq!(run.more[&(ErrorKind::Checksum as u8)], (872, 872 * 13));
    }
}
