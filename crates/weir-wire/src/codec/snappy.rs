//! Snappy, raw or in the framing of snappy-java: a 16-byte header, then blocks of a 4-byte big-endian length and raw
//! Snappy (`org.xerial.snappy.SnappyOutputStream`). The official Snappy framing format is unknown to Kafka.

use bytes::Buf;
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Codec, CodecError, grow};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version and the lowest compatible version.
const HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const BLOCK: usize = 32 * 1024;
/// No element of Snappy makes more than 64 bytes out of 3, so a block that claims more than that is a lie.
const MAX_RATIO: usize = 22;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    if !input.starts_with(MAGIC) {
        block(input, &mut out, limit, 0)?;
        return Ok(out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        let at = input.len() - rest.len();
        if rest.starts_with(MAGIC) {
            // Streams may follow one another, each with its header.
            rest = rest.get(HEADER.len()..).ok_or_else(|| cut(at))?;
            continue;
        }
        let length = rest.try_get_i32().map_err(|_| cut(at))?;
        let compressed = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n));
        let (compressed, after) = compressed.ok_or_else(|| {
            Codec::Snappy.corrupt(format_args!("block at byte {at} claims {length} of {} bytes", rest.len()))
        })?;
        block(compressed, &mut out, limit, at)?;
        rest = after;
    }
    Ok(out)
}

fn cut(at: usize) -> CodecError {
    Codec::Snappy.corrupt(format_args!("cut off after byte {at}"))
}

fn block(input: &[u8], out: &mut Vec<u8>, limit: usize, at: usize) -> Result<(), CodecError> {
    let corrupt = |error| Codec::Snappy.corrupt(format_args!("block at byte {at}: {error}"));
    let size = decompress_len(input).map_err(corrupt)?;
    if size > input.len().saturating_mul(MAX_RATIO) {
        let detail = format_args!("block at byte {at} of {} bytes claims to hold {size}", input.len());
        return Err(Codec::Snappy.corrupt(detail));
    }
    let start = out.len();
    if size > limit - start {
        return Err(CodecError::TooLarge { codec: Codec::Snappy, limit });
    }
    grow(out, size, limit);
    let written = Decoder::new().decompress(input, &mut out[start..]).map_err(corrupt)?;
    out.truncate(start + written);
    Ok(())
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.extend_from_slice(HEADER);
    let mut encoder = Encoder::new();
    for block in input.chunks(BLOCK) {
        let start = out.len() + 4;
        out.resize(start + max_compress_len(block.len()), 0);
        let written = encoder.compress(block, &mut out[start..]).map_err(|error| error.to_string())?;
        let length = u32::try_from(written).map_err(|error| error.to_string())?;
        out[start - 4..start].copy_from_slice(&length.to_be_bytes());
        out.truncate(start + written);
    }
    Ok(())
}
