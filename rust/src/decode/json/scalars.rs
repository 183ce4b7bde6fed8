//! Single values of a JSON document: what they are, and as what they can be read.

use std::borrow::Cow;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};

pub(super) const THE_NUMBER: &str = "the number ";

/// A JSON value that is neither array, object nor null.
pub(super) enum Scalar<'a> {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

/// 2^53: integers up to here are exact in a double.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

impl Scalar<'_> {
    /// The integer of a number or a decimal string. A fraction has none, nor has a float above 2^53: its digits are lost.
    pub(super) fn integer<T: TryFrom<i128>>(&self) -> Option<T> {
        let wide = match *self {
            Scalar::Unsigned(value) => i128::from(value),
            Scalar::Signed(value) => i128::from(value),
            #[expect(clippy::cast_possible_truncation, reason = "an integer of at most 53 bits")]
            Scalar::Float(value) if value.fract() == 0.0 && value.abs() <= LARGEST_EXACT => value as i128,
            Scalar::Text(text) if !text.starts_with('+') => text.parse().ok()?,
            _ => return None,
        };
        T::try_from(wide).ok()
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest double, as protobuf's JSON readers give")]
    pub(super) fn double(&self) -> Option<f64> {
        match *self {
            Scalar::Unsigned(value) => Some(value as f64),
            Scalar::Signed(value) => Some(value as f64),
            Scalar::Float(value) => Some(value),
            Scalar::Text("NaN") => Some(f64::NAN),
            Scalar::Text("Infinity") => Some(f64::INFINITY),
            Scalar::Text("-Infinity") => Some(f64::NEG_INFINITY),
            // Rust would also read "inf" and "nan", in any case.
            Scalar::Text(text) if !text.contains(['n', 'N']) => text.parse().ok(),
            _ => None,
        }
    }

    #[cold]
    pub(super) fn describe(&self) -> Cow<'static, str> {
        match self {
            Scalar::Bool(value) => format!("{value}"),
            Scalar::Unsigned(value) => format!("{THE_NUMBER}{value}"),
            Scalar::Signed(value) => format!("{THE_NUMBER}{value}"),
            Scalar::Float(value) => format!("{THE_NUMBER}{value}"),
            Scalar::Text(text) => format!("the string {:?}", clip(text)),
        }
        .into()
    }
}

/// At most 40 characters of it: an error must not carry a megabyte.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Ids in base64 cannot be taken for hex: their lengths differ, and one that is not padded is not all digits.
pub(super) fn base64_id(text: &str) -> Option<Vec<u8>> {
    base64(text).filter(|id| matches!(id.len(), 8 | 16))
}

/// Standard or URL-safe, padded or not. Bits left over at the end are dropped, as protobuf's own JSON readers do.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    static STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    static URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
