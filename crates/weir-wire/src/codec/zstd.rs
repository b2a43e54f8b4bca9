//! Zstandard (RFC 8878), any number of frames, skippable ones included; dictionaries are unknown to Kafka.
//!
//! All of it is decoded in one call, straight into the output: then the output is the window and no frame makes the
//! library allocate one (its header may ask for 2 GiB). How large the output can be is told by the blocks, not by
//! sizes the frame claims.

use std::io::Write;

use bytes::Buf;
use zstd::{
    stream::write::Encoder,
    zstd_safe::{DCtx, get_error_name, zstd_sys::ZSTD_ErrorCode},
};

use super::{Codec, CodecError};

const MAGIC: u32 = 0xFD2F_B528;
const SKIPPABLE: u32 = 0x184D_2A50;
/// RFC 8878, section 3.1.1.2.4: no block makes more.
const MAX_BLOCK: u64 = 128 * 1024;
const TOO_SMALL: usize = ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize;

pub(super) fn decompress(input: &[u8], limit: usize, mut out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let bound = output_bound(input).ok_or_else(|| Codec::Zstd.corrupt("the frames are cut off or malformed"))?;
    let room = usize::try_from(bound).unwrap_or(usize::MAX).min(limit);
    let mut context = DCtx::try_create().ok_or_else(|| Codec::Zstd.corrupt("out of memory"))?;
    let written = if out.len() >= room {
        context.decompress(&mut out[..room], input)
    } else {
        out = Vec::with_capacity(room);
        context.decompress(&mut out, input)
    };
    match written {
        Ok(written) => {
            out.truncate(written);
            Ok(out)
        }
        // Short of the limit only a frame that makes more than it claims runs out of room.
        Err(code) if bound > limit as u64 && code.wrapping_neg() == TOO_SMALL => {
            Err(CodecError::TooLarge { codec: Codec::Zstd, limit })
        }
        Err(code) => Err(Codec::Zstd.corrupt(get_error_name(code))),
    }
}

/// The most that `input` can decompress to, by a walk over frames and block headers; `None` where they are malformed.
fn output_bound(mut input: &[u8]) -> Option<u64> {
    let mut bound = 0u64;
    loop {
        match input.try_get_u32_le().ok()? {
            MAGIC => bound = bound.saturating_add(frame_bound(&mut input)?),
            magic if magic & !0xF == SKIPPABLE => {
                let length = input.try_get_u32_le().ok()? as usize;
                input = input.get(length..)?;
            }
            _ => return None,
        }
        if input.is_empty() {
            return Some(bound);
        }
    }
}

/// Takes a frame without its magic off `input`.
fn frame_bound(input: &mut &[u8]) -> Option<u64> {
    let descriptor = input.try_get_u8().ok()?;
    let single_segment = descriptor >> 5 & 1;
    let window = usize::from(1 - single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = [usize::from(single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    *input = input.get(window + dictionary..)?;
    let (size, rest) = input.split_at_checked(content)?;
    *input = rest;
    // RFC 8878, section 3.1.1.1.4: two bytes count from 256 on.
    let claimed = match content {
        0 => u64::MAX,
        2 => u64::from(u16::from_le_bytes([size[0], size[1]])) + 256,
        _ => size.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)),
    };
    let mut bound = 0u64;
    loop {
        let (head, rest) = input.split_first_chunk::<3>()?;
        let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let size = (head >> 3) as usize;
        let (length, makes) = match head >> 1 & 3 {
            0 => (size, size as u64),
            1 => (1, size as u64),
            2 => (size, MAX_BLOCK),
            _ => return None,
        };
        bound = bound.saturating_add(makes.min(MAX_BLOCK));
        *input = rest.get(length..)?;
        if head & 1 == 1 {
            break;
        }
    }
    if descriptor & 0b100 != 0 {
        *input = input.get(4..)?;
    }
    Some(bound.min(claimed))
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let finish = |out| {
        let mut encoder = Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        encoder.set_pledged_src_size(Some(input.len() as u64))?;
        encoder.write_all(input)?;
        encoder.finish().map(drop)
    };
    finish(out).map_err(|error: std::io::Error| error.to_string())
}
