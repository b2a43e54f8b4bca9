//! The compression codecs of record batches, with the output capped while it is made.
//!
//! Streaming is no concern: a batch is in memory as a whole and so are its records. Checksums inside the compressed
//! forms (LZ4 frames) are not all compared: the batch's CRC-32C covers the same bytes.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use bytes::Bytes;
use thiserror::Error;

/// How the records of a batch are compressed: bits 0 to 2 of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// Snappy in the framing of the Java library snappy-java (xerial), which is written; raw Snappy (librdkafka) is
    /// read too.
    Snappy,
    /// LZ4 frames (lz4_Frame_format 1.6), written with independent blocks of 64 KiB as Java needs them.
    Lz4,
    /// RFC 8878, since Kafka 2.1 (KIP-110).
    Zstd,
}

/// Why compressed bytes do not come out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The output is larger than the caller's limit: MESSAGE_TOO_LARGE.
    #[error("{codec} data is larger than {limit} bytes once decompressed", codec = .codec.name())]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The limit that was passed.
        limit: usize,
    },
    /// The bytes are not what the codec writes: INVALID_RECORD (a checksum that fits says the producer sent them so;
    /// CORRUPT_MESSAGE would have clients try again for ever).
    #[error("{codec} data is corrupt: {detail}", codec = .codec.name())]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What is wrong, and at which byte of the input where that is known.
        detail: String,
    },
    /// The input cannot be compressed, which only lack of memory explains: UNKNOWN_SERVER_ERROR.
    #[error("{codec} compression failed: {detail}", codec = .codec.name())]
    Compress {
        /// The codec.
        codec: Codec,
        /// What the library says.
        detail: String,
    },
}

impl Codec {
    /// All codecs, in the order of their ids.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec of an id; `None` for 5 and above.
    pub fn from_id(id: u8) -> Option<Codec> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The id in the attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The name in configurations (`compression.type`).
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec of a name as [`Codec::name`] writes it.
    pub fn from_name(name: &str) -> Option<Codec> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The whole of `input` decompressed, at most `limit` bytes.
    ///
    /// At no time more than twice `limit` is allocated for the output, whatever sizes `input` claims, plus what the
    /// codec needs for itself (gzip 50 KiB, zstd 160 KiB; zstd's window is the output, so its size costs nothing).
    pub fn decompress(self, input: &[u8], limit: usize) -> Result<Bytes, CodecError> {
        self.decompress_in(input, limit, Vec::new())
    }

    /// The same, in memory that was used before where the codec can (LZ4, zstd); what is in it is overwritten.
    pub fn decompress_in(self, input: &[u8], limit: usize, memory: Vec<u8>) -> Result<Bytes, CodecError> {
        let mut out = match self {
            Codec::None if input.len() > limit => Err(CodecError::TooLarge { codec: self, limit }),
            Codec::None => Ok(input.to_vec()),
            Codec::Gzip => gzip::decompress(input, limit),
            Codec::Snappy => snappy::decompress(input, limit),
            Codec::Lz4 => lz4::decompress(input, limit, memory),
            Codec::Zstd => zstd::decompress(input, limit, memory),
        }?;
        if out.capacity() / 2 > out.len() {
            out.shrink_to_fit();
        }
        Ok(Bytes::from(out))
    }

    /// Whether the Java client can read `input`, which came from somebody else: it refuses LZ4 frames of linked blocks.
    pub fn is_portable(self, input: &[u8]) -> bool {
        self != Codec::Lz4 || input.is_empty() || lz4::has_independent_blocks(input)
    }

    /// Appends `input` compressed to `out`, at the codec's default level.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Codec::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => gzip::compress(input, out),
            Codec::Snappy => snappy::compress(input, out),
            Codec::Lz4 => lz4::compress(input, out),
            Codec::Zstd => zstd::compress(input, out),
        }
        .map_err(|detail| CodecError::Compress { codec: self, detail })
    }

    fn corrupt(self, detail: impl ToString) -> CodecError {
        CodecError::Corrupt { codec: self, detail: detail.to_string() }
    }
}

/// Makes `out` longer by up to `more` zeroed bytes, to at most `limit`; capacity at least doubles, so that many small
/// steps cost no quadratic copying.
fn grow(out: &mut Vec<u8>, more: usize, limit: usize) {
    let len = out.len().saturating_add(more).min(limit);
    if len > out.capacity() {
        let capacity = len.max(out.capacity() * 2).min(limit);
        out.reserve_exact(capacity - out.len());
    }
    out.resize(len.max(out.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_stops_at_the_limit() {
        let mut out = Vec::new();
        grow(&mut out, 10, 100);
        assert_eq!((out.len(), out.capacity()), (10, 10));
        grow(&mut out, 1, 100);
        assert_eq!((out.len(), out.capacity()), (11, 20));
        grow(&mut out, usize::MAX, 100);
        assert_eq!((out.len(), out.capacity()), (100, 100));
        grow(&mut out, 1, 50);
        assert_eq!(out.len(), 100);
    }

    #[test]
    fn names_and_ids_are_kafkas() {
        let names: Vec<_> = (0..8).map_while(Codec::from_id).map(Codec::name).collect();
        assert_eq!(names, ["none", "gzip", "snappy", "lz4", "zstd"]);
        assert!(
            Codec::ALL.iter().all(|c| Codec::from_id(c.id()) == Some(*c) && Codec::from_name(c.name()) == Some(*c))
        );
        assert_eq!(Codec::from_name("producer"), None);
    }
}
