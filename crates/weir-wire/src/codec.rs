//! The compression codecs of record batches.

/// How the records of a batch are compressed: bits 0 to 2 of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in the framing of the Java library snappy-java (xerial); readers take raw Snappy too.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878, since Kafka 2.1 (KIP-110).
    Zstd,
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
}
