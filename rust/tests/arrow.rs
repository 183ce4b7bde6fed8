//! Tables made of real recordings, against Arrow's own checks of every value, which making them leaves out.

use std::fs;
use std::path::Path;

use arrow_array::{Array, RecordBatch};
use k8strace_core::{
    Columns, Compression, Gather, ODD_IDS, RESOURCES, Room, SCOPES, SPANS, decode, inflate, table,
};

fn recordings() -> impl Iterator<Item = Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let paths = fs::read_dir(folder).expect("the recordings").map(|entry| entry.expect("a file").path());
    let stored = paths.filter(|path| path.extension().is_some_and(|end| end == "zst"));
    stored.map(|path| {
        let stored = fs::read(path).expect("a file that can be read");
        inflate(Compression::Zstd, &stored, u64::MAX).expect("a whole zstd stream")
    })
}

/// Where the requests stand, each behind its length as a big-endian u32.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some(len) = bytes[at..].first_chunk::<4>() {
        let end = at + 4 + u32::from_be_bytes(*len) as usize;
        frames.push(&bytes[at + 4..end]);
        at = end;
    }
    frames
}

/// Every builder's table, which Arrow finds nothing wrong with.
fn sound_tables(columns: &Columns) -> Vec<RecordBatch> {
    let table = |builders| {
        let table = table(columns, builders).expect("columns that fit each other");
        for (field, column) in table.schema().fields().iter().zip(table.columns()) {
            let verdict = column.to_data().validate_full().map_err(|error| error.to_string());
            assert_eq!(Ok(()), verdict, "{field}");
        }
        table
    };
    [SPANS, SCOPES, RESOURCES, ODD_IDS].into_iter().map(table).collect()
}

#[test]
fn arrow_finds_nothing_wrong_with_any_column_of_any_recording() {
    for bytes in recordings() {
        let columns = decode(&frames(&bytes)).expect("a sound recording");
        sound_tables(&columns);
    }
}

#[test]
fn messages_gathered_make_the_tables_of_all_at_once() {
    for bytes in recordings() {
        let frames = frames(&bytes);
        let mut gather = Gather::with_room(&Room::default());
        for (number, frame) in frames.iter().enumerate() {
            let message = decode(&[frame]).expect("a sound message");
            let all = 0..message.len();
            // Texts of every third one are copied, behind and before parts that are shared.
            gather.add(&message, &[all], number % 3 > 0);
        }
        let columns = decode(&frames).expect("a sound recording");
        assert_eq!(sound_tables(&columns), sound_tables(&gather.finish()));
    }
}
