//! What can be wrong with bytes that should be a message, and with a message that should become bytes.

use std::fmt;

/// A message that could not be read or written: what, in which field, at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(Box<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    fault: Fault,
    at: usize,
    /// Innermost first.
    path: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// The kinds of [`WireError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes end within a value.
    #[error("{needed} bytes are needed, {left} are left")]
    Short {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// An array claims more elements than the rest of the frame can hold. Nothing was allocated for it.
    #[error("an array of {count} elements cannot lie in {left} bytes")]
    Count {
        /// The claimed number of elements.
        count: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A variable-length number goes on after its fifth byte.
    #[error("a variable-length number is longer than 5 bytes")]
    Varint,
    /// A string is longer than the 32,767 bytes that Kafka allows.
    #[error("a string of {0} bytes is longer than 32767")]
    Long(usize),
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A value that must be there is null.
    #[error("null where version {0} allows none")]
    Null(i16),
    /// A tagged field ended before or after the size given for it.
    #[error("a tagged field does not fill its {size} bytes: {left} are left over")]
    Tagged {
        /// The size that was given.
        size: usize,
        /// What the field did not use.
        left: usize,
    },
    /// A field has a meaning that the version cannot carry. Leaving it out would change what the message says.
    #[error("version {0} has no such field, and it is not at its default")]
    Absent(i16),
    /// The message does not exist in this version.
    #[error("version {0} is not known")]
    Version(i16),
    /// A frame gives a negative length.
    #[error("a frame cannot have {0} bytes")]
    Negative(i32),
    /// A frame is larger than the limit.
    #[error("a frame of {size} bytes is larger than the limit of {limit}")]
    Oversize {
        /// The length it gives.
        size: usize,
        /// The most that is allowed.
        limit: usize,
    },
}

impl WireError {
    /// An error at byte `at` of what is read or written.
    pub fn new(fault: Fault, at: usize) -> WireError {
        WireError(Box::new(Place { fault, at, path: Vec::new() }))
    }

    /// What is wrong.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The byte of the frame, from 0 (for writing: how many bytes had been written).
    pub fn at(&self) -> usize {
        self.0.at
    }

    /// The path of the field, such as `topics[2].partitions`; empty outside of any.
    pub fn field(&self) -> String {
        let mut text = String::new();
        for step in self.0.path.iter().rev() {
            match step {
                Step::Field(name) if text.is_empty() => text.push_str(name),
                Step::Field(name) => text.extend([".", name]),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    /// The same error, seen from outside of the field.
    #[cold]
    pub(crate) fn within(mut self, field: &'static str) -> WireError {
        self.0.path.push(Step::Field(field));
        self
    }

    /// The same error, seen from outside of the element.
    #[cold]
    pub(crate) fn at_index(mut self, index: usize) -> WireError {
        self.0.path.push(Step::Index(index));
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = WireError(Box::new(self.clone())).field();
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{} (byte {})", self.fault, self.at)
    }
}
