//! Any bytes: the verdict of prost, and the message that prost reads; an error points into the input.

#![no_main]

#[path = "../../tests/support/prost_oracle.rs"]
mod prost_oracle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|wire: &[u8]| {
    if let Err(difference) = prost_oracle::check(wire) {
        panic!("{difference}");
    }
});
