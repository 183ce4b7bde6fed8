//! Any bytes, as gzip and as zstd: what flate2 and zstd read, whole or in pieces, and never more than the limit.
//! Compressed first: the same bytes again.

#![no_main]

use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use k8strace_core::{Compression, Inflater, inflate};
use libfuzzer_sys::fuzz_target;

/// More than that is not read.
const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let whole = inflate(compression, bytes, LIMIT as u64);
        assert!(whole.as_ref().is_err() || whole.as_ref().is_ok_and(|out| out.len() <= LIMIT));
        if let Ok(out) = &whole {
            assert_eq!(Some(out), in_pieces(compression, bytes).as_ref(), "in pieces");
            assert_eq!(Some(out), others(compression, bytes).as_ref(), "others read something else");
        }
        let packed = pack(compression, bytes);
        assert_eq!(bytes, inflate(compression, &packed, LIMIT as u64).expect("just packed"));
    }
});

/// What is read when a few bytes come at a time, and few are wanted.
fn in_pieces(compression: Compression, bytes: &[u8]) -> Option<Vec<u8>> {
    let step = 1 + usize::from(bytes.first().copied().unwrap_or(0)) % 64;
    let mut inflater = Inflater::new(compression, LIMIT as u64).expect("memory");
    let mut out = Vec::new();
    for mut piece in bytes.chunks(step) {
        while !piece.is_empty() || inflater.is_pending() {
            let used = inflater.feed(piece, &mut out, step).ok()?;
            piece = &piece[used..];
        }
    }
    inflater.is_complete().then_some(out)
}

/// Member by member, or frame by frame. Zeros behind one are padding to us, as they are to GNU gzip.
fn others(compression: Compression, bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        match compression {
            Compression::Gzip => GzDecoder::new(&mut rest).read_to_end(&mut out).ok()?,
            Compression::Zstd => {
                zstd::Decoder::with_buffer(&mut rest).ok()?.single_frame().read_to_end(&mut out).ok()?
            }
        };
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
    }
    Some(out)
}

fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut gzip = GzEncoder::new(Vec::new(), Level::fast());
            gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("memory")
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).expect("memory"),
    }
}
