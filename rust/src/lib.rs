//! The compiled core of k8strace. It builds and tests without Python; the feature `python` is the only door to PyO3.
//!
//! ```text
//! bytes ─inflate─ json→wire ─┐          ┌ screen: what a receiver takes
//!                      wire ─┴─ otlp → columns ─ join → requests ─ phases + sweep → attribution
//!                                         └───────── arrow: tables that other libraries read
//! ```

pub mod arena;
pub mod arrow;
pub mod blame;
pub mod clock;
pub mod columns;
pub mod complete;
pub mod details;
pub mod error;
pub mod etcd;
pub mod forest;
pub mod gather;
pub mod hull;
pub mod index;
pub mod inflate;
pub mod intern;
pub mod issues;
pub mod join;
pub mod json;
pub mod kube;
pub mod nested;
pub mod operations;
pub mod otlp;
pub mod phases;
pub mod processes;
pub mod repair;
pub mod report;
pub mod requests;
pub mod roles;
pub mod screen;
pub mod shapes;
pub mod stream;
pub mod sweep;
pub mod twins;
pub mod wire;
pub mod words;

#[cfg(feature = "python")]
mod python;
