//! Any bytes: what the decoder takes, Arrow finds nothing wrong with, as if it had not been made without its checks.
//!
//!     make fuzz TARGETS=arrow

#![no_main]

use arrow_array::Array;
use k8strace_core::{Columns, Gather, ODD_IDS, RESOURCES, Room, SCOPES, SPANS, decode, table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|wire: &[u8]| {
    // Two requests, so that texts stand behind the start of the arena, and its end is met too.
    let half = wire.len() / 2;
    let Ok(columns) = decode(&[wire])
        .or_else(|_| decode(&[&wire[half..], &wire[..half]]))
    else {
        return;
    };
    let mut gather = Gather::with_room(&Room::default());
    let all = 0..columns.len();
    gather.add(&columns, std::slice::from_ref(&all), false);
    gather.add(&columns, std::slice::from_ref(&all), true);
    gather.add(&columns, std::slice::from_ref(&all), true);
    check(&columns);
    check(&gather.finish());
});

fn check(columns: &Columns) {
    for builders in [SPANS, SCOPES, RESOURCES, ODD_IDS] {
        let table = table(columns, builders).expect("decoded columns make a table");
        for column in table.columns() {
            column.to_data().validate_full().expect("what Arrow would check");
        }
    }
}
