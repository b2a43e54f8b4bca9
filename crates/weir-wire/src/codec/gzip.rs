//! Gzip (RFC 1952): any number of members, one after the other.

use std::io::{Read, Write};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};

use super::{Codec, CodecError, grow};

const STEP: usize = 4 * 1024;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut decoder = MultiGzDecoder::new(input);
    let mut out = Vec::new();
    let mut filled = 0;
    // Typical batches shrink to a quarter; growing doubles where that is too little.
    grow(&mut out, input.len().saturating_mul(4).max(STEP), limit);
    loop {
        if filled == out.len() {
            grow(&mut out, filled.max(STEP), limit);
        }
        // One byte past the limit tells an output of just that size from a larger one.
        let mut probe = [0];
        let at_limit = filled == out.len();
        let target = if at_limit { &mut probe[..] } else { &mut out[filled..] };
        match decoder.read(target) {
            Ok(0) => break,
            Ok(_) if at_limit => return Err(CodecError::TooLarge { codec: Codec::Gzip, limit }),
            Ok(n) => filled += n,
            Err(error) => return Err(Codec::Gzip.corrupt(error)),
        }
    }
    out.truncate(filled);
    Ok(out)
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(input).and_then(|()| encoder.finish()).map(drop).map_err(|error| error.to_string())
}
