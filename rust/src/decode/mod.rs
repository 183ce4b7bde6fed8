//! Bytes → columns: OTLP on the wire, as JSON, compressed.

pub mod any_value;
pub mod fields;
pub mod inflate;
pub mod json;
pub mod otlp;
pub mod runs;
pub mod signals;
pub mod sound;
pub mod wire;
pub mod write;
