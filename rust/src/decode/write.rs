//! Protobuf's wire format, written.

use crate::numbers::low_u8;

/// Appends a varint.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_u8(value) | 0x80);
        value >>= 7;
    }
    out.push(low_u8(value));
}

/// Wire bytes that are being written. Fields are given by their numbers.
#[derive(Debug, Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    /// A varint.
    pub fn varint(&mut self, value: u64) {
        push_varint(&mut self.0, value);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    /// An integer, an enum or a bool.
    pub fn number(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    /// Eight bytes.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        self.tag(number, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Text, bytes or a whole message.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Text, unless it is empty.
    pub fn text(&mut self, number: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(number, value.as_bytes());
        }
    }

    /// Starts a message whose length is not yet known; gives the place to patch.
    pub fn open(&mut self, number: u32) -> usize {
        self.tag(number, 2);
        let at = self.0.len();
        self.0.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0]);
        at
    }

    /// Ends the message that was started there: its length is a padded varint, which protobuf allows.
    pub fn close(&mut self, at: usize) {
        let len = self.0.len() - at - 5;
        for (index, byte) in self.0[at..at + 5].iter_mut().enumerate() {
            *byte |= low_u8(len as u64 >> (7 * index)) & 0x7f;
        }
    }

    /// Ends it with a length of as few bytes as can be: what was written moves up.
    pub fn close_tight(&mut self, at: usize) {
        let len = self.0.len() - at - 5;
        let bytes = (usize::BITS - len.leading_zeros()).div_ceil(7).clamp(1, 5) as usize;
        self.close(at);
        self.0[at + bytes - 1] &= 0x7f;
        self.0.copy_within(at + 5.., at + bytes);
        self.0.truncate(at + bytes + len);
    }
}
