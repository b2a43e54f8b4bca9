//! How each type of the protocol lies on the wire. The structures of the messages get theirs from `message!`.

use crate::error::{Fault, WireError};
use crate::error_code::ErrorCode;
use crate::reader::Reader;
use crate::text::Text;
use crate::uuid::Uuid;
use crate::writer::Writer;
use bytes::Bytes;

/// The longest string Kafka writes or reads, in bytes.
const MAX_STRING: usize = 0x7fff;

/// The version that a message is read or written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The number of the request's version, or of a record's.
    pub number: i16,
    /// Whether lengths are variable-length numbers and structures end in tagged fields (KIP-482).
    pub flexible: bool,
}

/// A type that a field can have.
pub trait Field: Sized {
    /// The fewest bytes a value takes. What an array allocates is bounded by it.
    fn least(version: Version) -> usize;

    /// Reads a value.
    ///
    /// # Errors
    /// Where the bytes are no value of this type.
    fn take(reader: &mut Reader, version: Version) -> Result<Self, WireError>;

    /// Writes the value.
    ///
    /// # Errors
    /// Where the version cannot carry it.
    fn put(&self, writer: &mut Writer, version: Version) -> Result<(), WireError>;

    /// Whether the value is null.
    fn is_null(&self) -> bool {
        false
    }
}

/// A type whose `Option` is a field, `None` being null.
pub trait Nullable: Field {
    /// [`Field::least`] of null or a value.
    fn least_or_null(version: Version) -> usize;

    /// Reads null or a value.
    ///
    /// # Errors
    /// As [`Field::take`].
    fn take_or_null(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError>;

    /// Writes null or a value.
    ///
    /// # Errors
    /// As [`Field::put`].
    fn put_or_null(value: Option<&Self>, writer: &mut Writer, version: Version) -> Result<(), WireError>;
}

impl<T: Nullable> Field for Option<T> {
    fn least(version: Version) -> usize {
        T::least_or_null(version)
    }

    fn take(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        T::take_or_null(reader, version)
    }

    fn put(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        T::put_or_null(self.as_ref(), writer, version)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {$(
        impl Field for $name {
            fn least(_: Version) -> usize {
                size_of::<$name>()
            }

            #[inline]
            fn take(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
                reader.$name()
            }

            #[inline]
            fn put(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
                writer.$name(*self);
                Ok(())
            }
        }
    )*};
}

numbers!(i8 i16 i32 i64 u16 u32 f64);

/// Every byte but 0 is true, as in Kafka.
impl Field for bool {
    fn least(_: Version) -> usize {
        1
    }

    fn take(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
        Ok(reader.i8()? != 0)
    }

    fn put(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
        writer.i8(i8::from(*self));
        Ok(())
    }
}

impl Field for ErrorCode {
    fn least(_: Version) -> usize {
        2
    }

    fn take(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
        reader.i16().map(ErrorCode)
    }

    fn put(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
        writer.i16(self.0);
        Ok(())
    }
}

impl Field for Uuid {
    fn least(_: Version) -> usize {
        16
    }

    fn take(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
        reader.array().map(Uuid)
    }

    fn put(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
        writer.slice(&self.0);
        Ok(())
    }
}

/// Strings, byte fields and arrays are read where null is allowed; elsewhere null is an error.
macro_rules! never_null {
    () => {
        fn least(version: Version) -> usize {
            Self::least_or_null(version)
        }

        #[inline]
        fn take(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
            let start = reader.position();
            match Self::take_or_null(reader, version)? {
                Some(value) => Ok(value),
                None => Err(WireError::new(Fault::Null(version.number), start)),
            }
        }

        #[inline]
        fn put(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
            Self::put_or_null(Some(self), writer, version)
        }
    };
}

impl Field for Text {
    never_null!();
}

impl Field for Bytes {
    never_null!();
}

impl<T: Field> Field for Vec<T> {
    never_null!();
}

impl Nullable for Text {
    fn least_or_null(version: Version) -> usize {
        if version.flexible { 1 } else { 2 }
    }

    fn take_or_null(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        let start = reader.position();
        let length = if version.flexible { reader.compact_length()? } else { usize::try_from(reader.i16()?).ok() };
        let Some(length) = length else { return Ok(None) };
        if length > MAX_STRING {
            return Err(WireError::new(Fault::Long(length), start));
        }
        let bytes = reader.take(length)?;
        Text::from_utf8(bytes).map(Some).map_err(|_| WireError::new(Fault::Utf8, start))
    }

    fn put_or_null(value: Option<&Self>, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        let length = value.map(|text| text.len());
        if let Some(length) = length.filter(|length| *length > MAX_STRING) {
            return Err(WireError::new(Fault::Long(length), writer.len()));
        }
        match length {
            _ if version.flexible => put_compact_length(writer, length)?,
            Some(length) => writer.u16(length as u16),
            None => writer.i16(-1),
        }
        writer.slice(value.map_or(b"", |text| text.as_bytes()));
        Ok(())
    }
}

impl Nullable for Bytes {
    fn least_or_null(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }

    fn take_or_null(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        take_length(reader, version)?.map(|length| reader.take(length)).transpose()
    }

    fn put_or_null(value: Option<&Self>, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        put_length(writer, version, value.map(Bytes::len))?;
        if let Some(bytes) = value {
            writer.bytes(bytes);
        }
        Ok(())
    }
}

impl<T: Field> Nullable for Vec<T> {
    fn least_or_null(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }

    fn take_or_null(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        let Some(count) = take_length(reader, version)? else { return Ok(None) };
        let least = T::least(version);
        reader.elements(count, least)?;
        let mut elements = Vec::with_capacity(count);
        for index in 0..count {
            reader.begin_element(least);
            elements.push(T::take(reader, version).map_err(|error| error.at_index(index))?);
        }
        Ok(Some(elements))
    }

    fn put_or_null(value: Option<&Self>, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        put_length(writer, version, value.map(Vec::len))?;
        for (index, element) in value.into_iter().flatten().enumerate() {
            element.put(writer, version).map_err(|error| error.at_index(index))?;
        }
        Ok(())
    }
}

/// The length of a byte field or the count of an array; `None` is null, and every negative number is, as in Kafka.
#[inline]
fn take_length(reader: &mut Reader, version: Version) -> Result<Option<usize>, WireError> {
    if version.flexible { reader.compact_length() } else { Ok(usize::try_from(reader.i32()?).ok()) }
}

#[inline]
fn put_length(writer: &mut Writer, version: Version, length: Option<usize>) -> Result<(), WireError> {
    if version.flexible {
        return put_compact_length(writer, length);
    }
    let length = length.map_or(Ok(-1), i32::try_from);
    writer.i32(length.map_err(|_| oversize(writer))?);
    Ok(())
}

fn put_compact_length(writer: &mut Writer, length: Option<usize>) -> Result<(), WireError> {
    let length = length.map_or(Ok(0), |length| i32::try_from(length.saturating_add(1)));
    writer.uvarint(length.map_err(|_| oversize(writer))? as u32);
    Ok(())
}

#[cold]
fn oversize(writer: &Writer) -> WireError {
    let limit = i32::MAX as usize;
    WireError::new(Fault::Oversize { size: limit + 1, limit }, writer.len())
}
