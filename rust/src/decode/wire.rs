//! The protobuf wire format: varints, tags, lengths, skipping. Knows nothing of OTLP.
//!
//! Verdicts are those of the official parsers: tags and lengths are bounded, field number 0 and wire types 6 and 7
//! are refused, unknown fields and well-formed groups are skipped, and nesting is limited to [`MAX_DEPTH`] messages.

use crate::error::{DecodeError, Result};
use crate::numbers::low_u32;

/// Messages and groups may nest this deep, as in the official parsers.
pub const MAX_DEPTH: u32 = 100;

/// How a field's payload is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    /// Base-128 integer.
    Varint,
    /// Eight bytes, little endian.
    Fixed64,
    /// Varint length, then that many bytes.
    Len,
    /// Start of a group, closed by an end tag with the same field number.
    GroupStart,
    /// End of a group.
    GroupEnd,
    /// Four bytes, little endian.
    Fixed32,
    /// No field has it.
    Six,
    /// No field has it.
    Seven,
}

impl WireType {
    /// The wire type in the last three bits of a tag.
    #[inline(always)]
    fn of(tag: u32) -> Self {
        match tag & 7 {
            0 => Self::Varint,
            1 => Self::Fixed64,
            2 => Self::Len,
            3 => Self::GroupStart,
            4 => Self::GroupEnd,
            5 => Self::Fixed32,
            6 => Self::Six,
            _ => Self::Seven,
        }
    }
}

/// A place in the input and the end of the message that is being read. Offsets are those of the whole input.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// Reads `buf[start..]`; the message ends where `buf` ends.
    pub fn new(buf: &'a [u8], start: usize) -> Self {
        Self { buf, pos: start }
    }

    /// Where the next byte is read.
    #[inline(always)]
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// True when the message is read to its end.
    #[inline(always)]
    pub fn is_done(&self) -> bool {
        self.pos >= self.buf.len()
    }

    #[cold]
    fn truncated(&self, expected: &'static str) -> Box<DecodeError> {
        DecodeError::new(expected, "the end of the message", self.buf.len())
    }

    /// The next varint, of at most ten bytes; bits beyond the 64th are dropped.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64> {
        match self.buf.get(self.pos) {
            Some(&byte) if byte < 0x80 => {
                self.pos += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// The next varint in a field of 32 bits, which keeps its low half.
    #[inline(always)]
    pub fn uint32(&mut self) -> Result<u32> {
        self.varint().map(low_u32)
    }

    /// The same with a sign: `int32` and enums.
    #[inline(always)]
    pub fn int32(&mut self) -> Result<i32> {
        self.varint().map(|bits| low_u32(bits).cast_signed())
    }

    /// The next varint if it has two bytes, as the lengths of most spans have.
    #[inline(always)]
    fn two_bytes(&mut self) -> Option<u64> {
        match *self.buf.get(self.pos..)?.first_chunk()? {
            [low @ 0x80..=0xff, high @ ..0x80] => {
                self.pos += 2;
                Some(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => None,
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64> {
        if let Some(value) = self.two_bytes() {
            return Ok(value);
        }
        let start = self.pos;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.buf.get(self.pos) else {
                return Err(self.truncated("a varint"));
            };
            self.pos += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::new("a varint of at most 10 bytes", "a longer one", start))
    }

    /// The next field number and wire type. A number or type that no field has is refused by [`Cursor::skip`], to
    /// which everything unknown goes.
    #[inline(always)]
    pub fn tag(&mut self) -> Result<(u32, WireType)> {
        match self.buf.get(self.pos) {
            Some(&byte @ ..0x80) => {
                self.pos += 1;
                Ok((u32::from(byte >> 3), WireType::of(byte.into())))
            }
            _ => self.long_tag(),
        }
    }

    /// A tag of up to five bytes: fields from 16 on have two.
    #[inline(never)]
    fn long_tag(&mut self) -> Result<(u32, WireType)> {
        if let Some(&[low @ 0x80..=0xff, high @ 1..0x80]) =
            self.buf.get(self.pos..).and_then(<[u8]>::first_chunk)
        {
            self.pos += 2;
            return Ok((u32::from(low & 0x7f) >> 3 | u32::from(high) << 4, WireType::of(low.into())));
        }
        let start = self.pos;
        let tag = self.varint()?;
        match u32::try_from(tag) {
            Ok(tag) if tag >= 8 && self.pos - start <= 5 => Ok((tag >> 3, WireType::of(tag))),
            _ => Err(bad_tag(tag, start)),
        }
    }

    /// Reads a length, of at most five bytes, and checks it; the payload is `self.pos()..end`.
    #[inline(always)]
    fn payload_end(&mut self) -> Result<usize> {
        match self.buf.get(self.pos) {
            Some(&len @ ..0x80) if self.buf.len() - self.pos > usize::from(len) => {
                self.pos += 1;
                Ok(self.pos + usize::from(len))
            }
            _ => self.long_payload_end(),
        }
    }

    #[inline(never)]
    fn long_payload_end(&mut self) -> Result<usize> {
        let start = self.pos;
        let len = if let Some(len) = self.two_bytes() { len } else { self.varint()? };
        match usize::try_from(len).ok().and_then(|len| self.pos.checked_add(len)) {
            Some(end) if end <= self.buf.len() && i32::try_from(len).is_ok() && self.pos - start <= 5 => {
                Ok(end)
            }
            _ => Err(self.bad_length(len, start)),
        }
    }

    /// The next length-delimited payload.
    #[inline(always)]
    pub fn payload(&mut self) -> Result<&'a [u8]> {
        let start = self.pos;
        let end = self.payload_end()?;
        let at = std::mem::replace(&mut self.pos, end);
        self.buf.get(at..end).ok_or_else(|| DecodeError::new("a payload", "nothing", start))
    }

    /// The next length-delimited payload as a message to read; this cursor moves past it.
    #[inline(always)]
    pub fn message(&mut self) -> Result<Cursor<'a>> {
        let end = self.payload_end()?;
        let pos = std::mem::replace(&mut self.pos, end);
        Ok(Cursor { buf: self.buf.get(..end).unwrap_or_default(), pos })
    }

    /// Everything from here to the end of the message.
    pub fn rest(&self) -> &'a [u8] {
        self.buf.get(self.pos..).unwrap_or_default()
    }

    /// The next eight bytes, little endian.
    #[inline(always)]
    pub fn fixed64(&mut self) -> Result<u64> {
        match self.buf.get(self.pos..).and_then(<[u8]>::first_chunk::<8>) {
            Some(bytes) => {
                self.pos += 8;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(self.truncated("8 bytes")),
        }
    }

    /// The next four bytes, little endian.
    #[inline(always)]
    pub fn fixed32(&mut self) -> Result<u32> {
        match self.buf.get(self.pos..).and_then(<[u8]>::first_chunk::<4>) {
            Some(bytes) => {
                self.pos += 4;
                Ok(u32::from_le_bytes(*bytes))
            }
            None => Err(self.truncated("4 bytes")),
        }
    }

    /// Skips the payload of a field that is not needed; `depth` is how many messages it is already inside.
    #[inline]
    pub fn skip(&mut self, field: u32, wire_type: WireType, depth: u32) -> Result<()> {
        match wire_type {
            _ if field == 0 => Err(bad_field(field, self.pos)),
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed64().map(drop),
            WireType::Fixed32 => self.fixed32().map(drop),
            WireType::Len => self.payload_end().map(|end| self.pos = end),
            WireType::GroupStart => self.skip_group(field, depth),
            WireType::GroupEnd => Err(stray_end(self.pos)),
            WireType::Six | WireType::Seven => Err(bad_field(field, self.pos)),
        }
    }

    /// Skips to the end of group `field`, with a stack instead of recursion.
    fn skip_group(&mut self, field: u32, depth: u32) -> Result<()> {
        let mut open = vec![field];
        while let Some(&innermost) = open.last() {
            let start = self.pos;
            if depth as usize + open.len() > MAX_DEPTH as usize {
                return Err(too_deep(start));
            }
            match self.tag()? {
                (number, WireType::GroupEnd) if number == innermost => drop(open.pop()),
                (_, WireType::GroupEnd) => return Err(stray_end(start)),
                (number @ 1.., WireType::GroupStart) => open.push(number),
                (number, wire_type) => self.skip(number, wire_type, depth)?,
            }
        }
        Ok(())
    }

    #[cold]
    fn bad_length(&self, len: u64, start: usize) -> Box<DecodeError> {
        if self.pos - start > 5 {
            return DecodeError::new("a length of at most 5 bytes", "a longer one", start);
        }
        let left = self.buf.len().saturating_sub(self.pos);
        DecodeError::new(format!("{len} bytes, as the length says"), format!("{left}"), start)
    }
}

#[cold]
fn bad_tag(tag: u64, at: usize) -> Box<DecodeError> {
    DecodeError::new("a field tag", format!("the invalid tag {tag}"), at)
}

/// Field 0, or wire type 6 or 7. `behind` is where the tag ends, which is taken to be as short as it can be.
#[cold]
fn bad_field(field: u32, behind: usize) -> Box<DecodeError> {
    let bits = u32::BITS - (field << 3 | 7).leading_zeros();
    let tag = bits.div_ceil(7) as usize;
    DecodeError::new("a field tag", format!("an invalid one of field {field}"), behind - tag)
}

#[cold]
fn stray_end(at: usize) -> Box<DecodeError> {
    DecodeError::new("a field", "the end of a group that is not open", at)
}

/// Nesting beyond [`MAX_DEPTH`].
#[cold]
pub fn too_deep(at: usize) -> Box<DecodeError> {
    DecodeError::new(format!("at most {MAX_DEPTH} nested messages"), "more", at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the first field is refused, if it is.
    fn refused_at(bytes: &[u8]) -> Option<u64> {
        let mut cursor = Cursor::new(bytes, 0);
        let done = cursor.tag().and_then(|(field, wire_type)| cursor.skip(field, wire_type, 0));
        done.err().map(|error| error.offset)
    }

    #[test]
    fn field_0_and_wire_types_6_and_7_are_refused_at_their_tag() {
        assert_eq!(None, refused_at(&[0x08, 0]), "field 1");
        assert_eq!(None, refused_at(&[0x80, 1, 0]), "field 16");
        for tag in [0x00, 0x02, 0x0e, 0x0f] {
            assert_eq!(Some(0), refused_at(&[tag, 0, 0]), "{tag:#x}");
        }
        assert_eq!(Some(0), refused_at(&[0x86, 1, 0]), "type 6, field 16");
        assert_eq!(Some(1), refused_at(&[0x0b, 0x02, 0, 0x0c]), "field 0 in a group");
        assert_eq!(Some(1), refused_at(&[0x0b, 0x03, 0x04, 0x0c]), "group 0 in a group");
    }
}
