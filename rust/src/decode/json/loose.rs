//! Other tools' JSON, read without a table: objects whose fields are taken one by one, values of any kind.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::scalars::{Scalar, base64};

/// A value that is no object and no array; one that is, is passed over.
pub(super) enum Loose<'de> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'de, str>),
    Nested,
}

impl Loose<'_> {
    pub(super) fn scalar(&self) -> Option<Scalar<'_>> {
        Some(match self {
            Loose::Bool(value) => Scalar::Bool(*value),
            Loose::Unsigned(value) => Scalar::Unsigned(*value),
            Loose::Signed(value) => Scalar::Signed(*value),
            Loose::Float(value) => Scalar::Float(*value),
            Loose::Text(text) => Scalar::Text(text),
            Loose::Null | Loose::Nested => return None,
        })
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Loose::Text(text) => Some(text),
            _ => None,
        }
    }

    /// True, as itself or in words.
    pub(super) fn is_true(&self) -> bool {
        matches!(self, Loose::Bool(true)) || self.text() == Some("true")
    }

    /// A time or duration in µs, perhaps with a fraction, in ns.
    pub(super) fn micros<E: Error>(&self, name: &str) -> Result<u64, E> {
        let whole =
            self.scalar().and_then(|value| value.integer::<u64>()).and_then(|us| us.checked_mul(1000));
        let broken = || self.scalar().and_then(|value| value.double()).filter(|us| (0.0..9e15).contains(us));
        match (self, whole) {
            (Loose::Null, _) => Ok(0),
            (_, Some(ns)) => Ok(ns),
            _ => broken()
                .map(ns_of_micros)
                .ok_or_else(|| self.unfit(&format!("{name} in µs, a number from 0 on"))),
        }
    }

    /// A text, or nothing where there is none.
    pub(super) fn into_text<E: Error>(self, name: &str) -> Result<String, E> {
        match self {
            Loose::Null => Ok(String::new()),
            Loose::Text(text) => Ok(text.into_owned()),
            _ => Err(self.unfit(&format!("{name}, a string"))),
        }
    }

    fn unfit<E: Error>(&self, expected: &str) -> E {
        let got = self.scalar().map_or("an object or an array".into(), |value| value.describe());
        E::custom(format_args!("{got}, expected {expected}"))
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        parser.deserialize_any(AnyLoose(PhantomData))
    }
}

struct AnyLoose<'a>(PhantomData<&'a ()>);

impl<'de> Visitor<'de> for AnyLoose<'de> {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Loose<'de>, E> {
        Ok(Loose::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Nested)
    }
}

/// What takes the fields of an object, one after the other.
pub(super) trait Object {
    /// What it is, for errors.
    const WHAT: &'static str;

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Passes over a value.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// Fills in an object; null leaves it as it is. Gives whether there was one.
pub(super) struct Fill<'a, T>(pub(super) &'a mut T);

impl<'de, T: Object> DeserializeSeed<'de> for Fill<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<bool, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for Fill<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(key) = map.next_key::<Loose<'de>>()? {
            self.0.field(key.text().unwrap_or_default(), &mut map)?;
        }
        Ok(true)
    }
}

/// Gives every object of an array to a function; null is an empty array.
pub(super) struct Each<T, F>(F, PhantomData<T>);

impl<T, F> Each<T, F> {
    pub(super) fn new(take: F) -> Self {
        Self(take, PhantomData)
    }
}

impl<'de, T: Object + Default, F: FnMut(T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de, T: Object + Default, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array, of each {}", T::WHAT)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let mut item = T::default();
            match seq.next_element_seed(Fill(&mut item))? {
                Some(true) => (self.0)(item),
                Some(false) => {}
                None => return Ok(()),
            }
        }
    }
}

/// An id of this many bytes: hex, with the zeros before it that its writer left out. What is no such number is hashed,
/// always to the same id; an empty text is no id.
pub(super) fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.is_empty() {
        return None;
    }
    let padded = || hex::decode(format!("{text:0>width$}", width = 2 * N)).ok()?.try_into().ok();
    let same = || base64(text).and_then(|bytes| bytes.try_into().ok());
    Some(padded().or_else(same).unwrap_or_else(|| hashed(text)))
}

/// From µs with a fraction, at least 0 and below 9e15: their whole part is exact in a float.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0 and below 2^53")]
fn ns_of_micros(us: f64) -> u64 {
    us.trunc() as u64 * 1000 + (us.fract() * 1000.0).round() as u64
}

/// FNV-1a, for as many bytes as are due.
fn hashed<const N: usize>(text: &str) -> [u8; N] {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut id = [0; N];
    for (salt, eight) in (0..).zip(id.chunks_mut(8)) {
        let hash = text.bytes().fold(step(0xcbf2_9ce4_8422_2325, salt), step);
        eight.copy_from_slice(&hash.to_be_bytes()[..eight.len()]);
    }
    id
}
