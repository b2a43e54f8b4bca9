//! LZ4 frames (lz4_Frame_format 1.6). Dictionaries, skippable and legacy frames are refused: no Kafka client writes them.
//!
//! The blocks are decoded straight into the output, whose size a walk over their sequences tells; the frame decoder of
//! lz4_flex would first allocate 12 MiB for a frame of 7 bytes. Checksums are skipped: the batch has one over all of it.

use bytes::Buf;
use lz4_flex::block::{compress_into, decompress_into_with_dict, get_maximum_output_size};

use super::{Codec, CodecError, grow};

const MAGIC: u32 = 0x184D_2204;
const UNCOMPRESSED: u32 = 1 << 31;
const WINDOW: usize = 64 * 1024;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;

/// Magic, independent blocks of at most 64 KiB, no checksums, and the second byte of XXH32 of those flags.
const WRITTEN_HEADER: [u8; 7] = [0x04, 0x22, 0x4D, 0x18, VERSION | INDEPENDENT, 4 << 4, 0x82];
const WRITTEN_BLOCK: usize = 64 * 1024;

pub(super) fn decompress(input: &[u8], limit: usize, memory: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    let mut out = Out { bytes: memory, filled: 0 };
    out.bytes.truncate(limit);
    let mut rest = input;
    loop {
        frame(input, &mut rest, &mut out, limit)?;
        if rest.is_empty() {
            out.bytes.truncate(out.filled);
            return Ok(out.bytes);
        }
    }
}

/// What has come out, and room behind it that need not be zeroed again.
struct Out {
    bytes: Vec<u8>,
    filled: usize,
}

impl Out {
    /// Has room for so many more bytes, which are within the limit.
    fn make_room(&mut self, size: usize, limit: usize) {
        let missing = (self.filled + size).saturating_sub(self.bytes.len());
        if missing > 0 {
            grow(&mut self.bytes, missing, limit);
        }
    }
}

/// Whether the blocks of the (first) frame can be read without those before them.
pub(super) fn has_independent_blocks(input: &[u8]) -> bool {
    input.get(4).is_some_and(|flags| flags & INDEPENDENT != 0)
}

/// Decodes one frame off `rest`, which is the end of `input`.
fn frame(input: &[u8], rest: &mut &[u8], out: &mut Out, limit: usize) -> Result<(), CodecError> {
    let first = out.filled;
    let cut = |rest: &[u8]| Codec::Lz4.corrupt(format_args!("cut off after byte {}", input.len() - rest.len()));
    let magic = rest.try_get_u32_le().map_err(|_| cut(rest))?;
    if magic != MAGIC {
        return Err(Codec::Lz4.corrupt(format_args!("magic {magic:#010x} is not that of a frame")));
    }
    let flags = rest.try_get_u8().map_err(|_| cut(rest))?;
    let max_block = match rest.try_get_u8().map_err(|_| cut(rest))? >> 4 & 0b111 {
        4 => 64 * 1024,
        5 => 256 * 1024,
        6 => 1024 * 1024,
        7 => 4 * 1024 * 1024,
        code => return Err(Codec::Lz4.corrupt(format_args!("block size code {code} does not exist"))),
    };
    if flags & VERSION_MASK != VERSION || flags & DICTIONARY != 0 {
        return Err(Codec::Lz4.corrupt(format_args!("frame flags {flags:#010b} are not supported")));
    }
    let content_size = match flags & CONTENT_SIZE {
        0 => None,
        _ => Some(rest.try_get_u64_le().map_err(|_| cut(rest))?),
    };
    rest.try_get_u8().map_err(|_| cut(rest))?; // The header's checksum.
    loop {
        let at = input.len() - rest.len();
        let word = rest.try_get_u32_le().map_err(|_| cut(rest))?;
        if word == 0 {
            break;
        }
        let length = (word & !UNCOMPRESSED) as usize;
        let block = rest.get(..length).filter(|_| length <= max_block).ok_or_else(|| {
            let have = rest.len();
            Codec::Lz4.corrupt(format_args!("block at byte {at} claims {length} bytes: {have} are there"))
        })?;
        rest.advance(length);
        if word & UNCOMPRESSED == 0 {
            let corrupt =
                |detail: &dyn std::fmt::Display| Codec::Lz4.corrupt(format_args!("block at byte {at}: {detail}"));
            let start = out.filled;
            let window = if flags & INDEPENDENT != 0 { start } else { first.max(start.saturating_sub(WINDOW)) };
            // Where the largest block fits what is there, its size need not be known before. What goes wrong is told below.
            let (before, room) = out.bytes.split_at_mut(start);
            let room = room.get_mut(..max_block);
            let written = room.and_then(|target| decompress_into_with_dict(block, target, &before[window..]).ok());
            if let Some(written) = written {
                out.filled += written;
            } else {
                let size = block_size(block).ok_or_else(|| corrupt(&"cut off inside a sequence"))?;
                if size > max_block {
                    return Err(corrupt(&format_args!("holds {size} bytes, more than the frame's {max_block}")));
                }
                if size > limit - start {
                    return Err(CodecError::TooLarge { codec: Codec::Lz4, limit });
                }
                out.make_room(size, limit);
                let (before, target) = out.bytes.split_at_mut(start);
                let written = decompress_into_with_dict(block, &mut target[..size], &before[window..])
                    .map_err(|error| corrupt(&error))?;
                out.filled += written;
            }
        } else {
            if length > limit - out.filled {
                return Err(CodecError::TooLarge { codec: Codec::Lz4, limit });
            }
            out.make_room(length, limit);
            out.bytes[out.filled..][..length].copy_from_slice(block);
            out.filled += length;
        }
        if flags & BLOCK_CHECKSUM != 0 {
            rest.try_get_u32_le().map_err(|_| cut(rest))?;
        }
    }
    if flags & CONTENT_CHECKSUM != 0 {
        rest.try_get_u32_le().map_err(|_| cut(rest))?;
    }
    let made = (out.filled - first) as u64;
    match content_size {
        Some(size) if size != made => {
            Err(Codec::Lz4.corrupt(format_args!("frame claims {size} bytes and holds {made}")))
        }
        _ => Ok(()),
    }
}

/// How many bytes the sequences of a block make; `None` where the block ends inside one.
fn block_size(block: &[u8]) -> Option<usize> {
    let (mut at, mut size) = (0, 0);
    loop {
        let token = *block.get(at)?;
        at += 1;
        let literals = run_length(block, &mut at, token >> 4)?;
        at += literals;
        size += literals;
        // The last sequence has literals only.
        if at >= block.len() {
            return (at == block.len()).then_some(size);
        }
        at += 2;
        size += run_length(block, &mut at, token & 15)? + 4;
    }
}

/// A length that starts in a nibble of the token and goes on in bytes as long as they are 255.
fn run_length(block: &[u8], at: &mut usize, nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let byte = *block.get(*at)?;
            *at += 1;
            length += usize::from(byte);
            if byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.extend_from_slice(&WRITTEN_HEADER);
    for block in input.chunks(WRITTEN_BLOCK) {
        let start = out.len() + 4;
        out.resize(start + get_maximum_output_size(block.len()), 0);
        let written = compress_into(block, &mut out[start..]).map_err(|error| error.to_string())?;
        let (length, flag) = if written < block.len() { (written, 0) } else { (block.len(), UNCOMPRESSED) };
        out.truncate(start + length);
        if flag != 0 {
            out[start..].copy_from_slice(block);
        }
        let word = u32::try_from(length).map_err(|error| error.to_string())? | flag;
        out[start - 4..start].copy_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}
