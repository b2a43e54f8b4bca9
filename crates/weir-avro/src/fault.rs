//! What can be wrong with a payload, and the place of it. A fault never holds a value of the payload.

use std::fmt;

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It ends in the middle of a value.
    Truncated,
    /// Bytes follow the datum.
    TrailingBytes,
    /// A number takes more than ten bytes.
    VarintTooLong,
    /// An int does not fit 32 bits.
    IntOutOfRange,
    /// A length is below zero.
    NegativeLength,
    /// A length reaches beyond the end.
    LengthBeyondEnd,
    /// A boolean is neither 0 nor 1.
    BadBoolean,
    /// A string is not UTF-8.
    BadUtf8,
    /// There is no symbol of this index.
    EnumOutOfRange,
    /// There is no branch of this index.
    UnionOutOfRange,
    /// A block claims more items than bytes are left for.
    CountBeyondEnd,
    /// The size of a block is not what its items took.
    BadBlockSize,
    /// Values nest deeper than the limit.
    TooDeep,
    /// There are more values than the limit.
    TooManyItems,
    /// A uuid is not one (RFC 4122 text form or 16 bytes).
    BadUuid,
    /// A big-decimal does not contain a number and a scale.
    BadBigDecimal,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Truncated => "payload ends inside a value",
            FaultKind::TrailingBytes => "bytes follow the end of the datum",
            FaultKind::VarintTooLong => "number is longer than ten bytes",
            FaultKind::IntOutOfRange => "int does not fit 32 bits",
            FaultKind::NegativeLength => "length is negative",
            FaultKind::LengthBeyondEnd => "length reaches beyond the payload",
            FaultKind::BadBoolean => "boolean is neither 0 nor 1",
            FaultKind::BadUtf8 => "string is not valid UTF-8",
            FaultKind::EnumOutOfRange => "enum index has no symbol",
            FaultKind::UnionOutOfRange => "union index has no branch",
            FaultKind::CountBeyondEnd => "block claims more items than the payload can hold",
            FaultKind::BadBlockSize => "block size differs from the size of its items",
            FaultKind::TooDeep => "values nest too deep",
            FaultKind::TooManyItems => "payload holds too many values",
            FaultKind::BadUuid => "not a uuid",
            FaultKind::BadBigDecimal => "big-decimal holds no number and scale",
        })
    }
}

/// Where and why a payload is no datum of its schema. It never holds a value of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset} in {path}")]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The byte at which the value starts that is at fault, from the start of the datum.
    pub offset: usize,
    /// The field, as `a.b[3].c`; entries of a map are counted like items. `this` is the datum itself.
    pub path: String,
}

/// A fault on its way up, which gains a segment of its path at each level.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) kind: FaultKind,
    offset: usize,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Field(Box<str>),
    Index(u64),
}

pub(crate) type Fail = Box<Failing>;

impl Failing {
    #[cold]
    pub(crate) fn new(kind: FaultKind, offset: usize) -> Fail {
        Box::new(Failing { kind, offset, segments: Vec::new() })
    }

    #[cold]
    pub(crate) fn in_field(mut self: Box<Self>, name: &str) -> Fail {
        self.segments.push(Segment::Field(name.into()));
        self
    }

    #[cold]
    pub(crate) fn at_index(mut self: Box<Self>, index: u64) -> Fail {
        self.segments.push(Segment::Index(index));
        self
    }

    #[cold]
    pub(crate) fn finish(&self) -> Fault {
        let mut path = String::new();
        for segment in self.segments.iter().rev() {
            match segment {
                Segment::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Segment::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        if path.is_empty() || path.starts_with('[') {
            path.insert_str(0, "this");
        }
        Fault { kind: self.kind, offset: self.offset, path }
    }
}
