//! Texts and values: what of an attribute is over a limit.

use super::recent_texts::RecentTexts;
use super::{CutReason, Owned, Screen, bytes, is_text};
use crate::columns::short_bytes;
use crate::decode::fields::key_value;
use crate::decode::otlp::{Holds, Owner, Shape, plain_key_value, plain_value};
use crate::decode::wire::Cursor;
use crate::decode::wire::WireType::Len;
use crate::error::Result;
use crate::numbers::u32_of;

impl<'a> Screen<'a> {
    #[inline(always)]
    pub(super) fn text(&mut self, bytes: &[u8]) {
        if !is_text(bytes) {
            self.flaw = Some(CutReason::Utf8);
        }
    }

    /// Text that the decoder keeps once for all its uses.
    #[inline(always)]
    pub(super) fn name(&mut self, bytes: &'a [u8]) {
        let slot = self.seen.slot(bytes);
        if short_bytes::equal(slot, bytes) {
            return;
        }
        if bytes.len() <= RecentTexts::LONGEST && is_text(bytes) {
            *slot = bytes;
        } else {
            self.text(bytes);
        }
        self.state.columns += bytes::TEXT + 2 * bytes.len() as u64;
    }

    /// One `KeyValue`: kept, or cut.
    #[inline(always)]
    pub(super) fn attribute(
        &mut self,
        tag: usize,
        outer: &mut Cursor<'a>,
        owner: Owner,
        owned: &mut Owned,
    ) -> Result<()> {
        let message = outer.message()?;
        let end = outer.pos();
        if owned.kept >= self.limits.attributes {
            self.cut(tag..end, CutReason::Attributes);
            owned.cut += 1;
            return Ok(());
        }
        self.state.columns += bytes::ATTRIBUTE;
        if let Some((key, value)) = plain_key_value(message.rest())
            && plain_value(value).is_some()
            && message.rest().len() <= self.limits.value_bytes
        {
            self.name(key);
            owned.kept += 1;
            return Ok(());
        }
        match self.key_value(message, owner.attribute_depth()).map_err(|e| e.within("attributes"))? {
            None => owned.kept += 1,
            Some(reason) => {
                self.state.columns -= bytes::ATTRIBUTE;
                self.cut(tag..end, reason);
                owned.cut += 1;
            }
        }
        Ok(())
    }

    /// Why a `KeyValue` must be cut, if it must. Its parts together are what is limited: repeated ones are merged.
    #[inline(never)]
    fn key_value(&mut self, mut cursor: Cursor<'a>, depth: u32) -> Result<Option<CutReason>> {
        let (mut key, mut long) = (0, 0);
        while !cursor.is_done() {
            match cursor.tag()? {
                key_value::KEY => {
                    let bytes = cursor.payload().map_err(|e| e.within("key"))?;
                    key += bytes.len();
                    if key > self.limits.value_bytes {
                        return Ok(Some(CutReason::ValueBytes));
                    }
                    self.name(bytes);
                }
                key_value::VALUE => {
                    let message = cursor.message()?;
                    long += cursor.pos() - message.pos();
                    if long > self.limits.value_bytes {
                        return Ok(Some(CutReason::ValueBytes));
                    }
                    if !self.value(message, depth).map_err(|e| e.within("value"))? {
                        return Ok(Some(CutReason::ValueDepth));
                    }
                }
                key_value::KEY_STRINDEX => {
                    self.state.columns += bytes::RARE;
                    cursor.varint()?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, depth)?,
            }
        }
        Ok(None)
    }

    /// Walks an `AnyValue`, with a stack instead of recursion. False if there is one that is too deep.
    fn value(&mut self, message: Cursor<'a>, depth: u32) -> Result<bool> {
        let mut levels = 1;
        self.open.clear();
        self.open.push((message, Shape::Any));
        loop {
            let below = depth + u32_of(self.open.len());
            let Some((cursor, shape)) = self.open.last_mut() else { return Ok(true) };
            if cursor.is_done() {
                levels -= u32::from(*shape == Shape::Any);
                self.open.pop();
                continue;
            }
            let (field, wire_type) = cursor.tag()?;
            match (wire_type, shape.holds(field)) {
                (Len, Holds::Message(inner)) => {
                    let message = cursor.message()?;
                    levels += u32::from(inner == Shape::Any);
                    if levels > self.limits.value_depth {
                        return Ok(false);
                    }
                    self.open.push((message, inner));
                }
                (Len, Holds::Text) => {
                    if !is_text(cursor.payload()?) {
                        self.flaw = Some(CutReason::Utf8);
                    }
                }
                _ => cursor.skip(field, wire_type, below)?,
            }
        }
    }
}
