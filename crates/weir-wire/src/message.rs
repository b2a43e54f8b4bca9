//! The one macro that declares messages, and what it expands to rests on.
//!
//! ```text
//! message! {
//!     /// What the message is for.
//!     pub struct FetchRequest: Fetch 4..=18, flexible 12 {   // API, versions, first flexible version
//!         replica_id: i32 [..=14] = -1,                      // in versions up to 14; -1 where it is not given
//!         max_wait_ms: i32,                                  // in all versions
//!         topics: Vec<FetchTopic> [nullable 7.., ignorable], // may be null from 7 on
//!     } tagged {
//!         0 => cluster_id: Option<Text>,                     // in all flexible versions
//!     }
//!
//!     /// A structure inside of it.
//!     pub struct FetchTopic { .. }
//! }
//! ```
//!
//! Without an API in front of the versions it is a structure that carries its version with it, see
//! [`Versioned`](crate::versioned::Versioned).
//!
//! The names and rules are those of Kafka's message definitions. A field that a version does not have reads as its default.
//! Writing it with another value is an error, unless the field is `ignorable`. Structures nest as the declaration says and
//! no deeper, so that no input can exhaust the stack.

use crate::api::ApiKey;
use crate::error::{Fault, WireError};
use crate::field::{Field, Version};
use crate::reader::Reader;
use crate::writer::Writer;
use std::ops::RangeInclusive;

/// A request or a response.
pub trait Message: Field + Clone + Default + std::fmt::Debug + PartialEq {
    /// The API it belongs to.
    const KEY: ApiKey;
    /// The versions it can be read and written in.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version (KIP-482); `i16::MAX` where there is none.
    const FLEXIBLE: i16;

    /// Reads the body, from after the header. As in Kafka, bytes that follow are no error; they stay in the reader.
    ///
    /// # Errors
    /// Where the version is unknown or the bytes are not this message.
    fn read(reader: &mut Reader, version: i16) -> Result<Self, WireError> {
        let version = version_of(version, Self::VERSIONS, Self::FLEXIBLE, reader.position())?;
        Self::take(reader, version)
    }

    /// Writes the body, after the header.
    ///
    /// # Errors
    /// Where the version is unknown or cannot carry what the message says.
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        let version = version_of(version, Self::VERSIONS, Self::FLEXIBLE, writer.len())?;
        self.put(writer, version)
    }
}

/// The version, if it is one of those.
pub(crate) fn version_of(
    number: i16,
    versions: RangeInclusive<i16>,
    flexible: i16,
    at: usize,
) -> Result<Version, WireError> {
    if versions.contains(&number) {
        return Ok(Version { number, flexible: number >= flexible });
    }
    Err(WireError::new(Fault::Version(number), at))
}

/// In which versions a field is there, and may be null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub from: i16,
    pub to: i16,
    /// First version in which the field may be null; asked only for types that can be.
    pub nullable: i16,
    /// Whether the field may be left out, whatever it says, where a version does not have it.
    pub ignorable: bool,
}

impl Rule {
    pub const ALWAYS: Rule = Rule { from: 0, to: i16::MAX, nullable: 0, ignorable: false };

    pub const fn has(self, version: Version) -> bool {
        self.from <= version.number && version.number <= self.to
    }
}

/// Reads a field that the version has.
pub(crate) fn take<T: Field>(
    rule: Rule,
    name: &'static str,
    reader: &mut Reader,
    version: Version,
) -> Result<T, WireError> {
    let start = reader.position();
    let value = T::take(reader, version).map_err(|error| error.within(name))?;
    if version.number < rule.nullable && value.is_null() {
        return Err(WireError::new(Fault::Null(version.number), start).within(name));
    }
    Ok(value)
}

/// Writes a field that the version has.
pub(crate) fn put<T: Field>(
    value: &T,
    rule: Rule,
    name: &'static str,
    writer: &mut Writer,
    version: Version,
) -> Result<(), WireError> {
    if version.number < rule.nullable && value.is_null() {
        return Err(WireError::new(Fault::Null(version.number), writer.len()).within(name));
    }
    value.put(writer, version).map_err(|error| error.within(name))
}

/// Writes a tagged field behind its tag and size.
pub(crate) fn put_tagged<T: Field>(
    value: &T,
    tag: u32,
    rule: Rule,
    name: &'static str,
    writer: &mut Writer,
    version: Version,
) -> Result<(), WireError> {
    let mut inner = Writer::new();
    put(value, rule, name, &mut inner, version)?;
    let limit = i32::MAX as usize;
    let size = inner.len();
    writer.uvarint(tag);
    writer.uvarint(
        i32::try_from(size).map_err(|_| WireError::new(Fault::Oversize { size, limit }, writer.len()))? as u32,
    );
    writer.append(inner);
    Ok(())
}

#[cold]
pub(crate) fn absent(name: &'static str, writer: &Writer, version: Version) -> WireError {
    WireError::new(Fault::Absent(version.number), writer.len()).within(name)
}

/// What stands in brackets behind a field's type, as a [`Rule`].
macro_rules! rule {
    ($rule:expr;) => { $rule };
    ($rule:expr; ignorable $(, $($rest:tt)*)?) => {
        rule!($crate::message::Rule { ignorable: true, ..$rule }; $($($rest)*)?)
    };
    ($rule:expr; nullable $from:literal .. $(, $($rest:tt)*)?) => {
        rule!($crate::message::Rule { nullable: $from, ..$rule }; $($($rest)*)?)
    };
    ($rule:expr; $from:literal ..= $to:literal $(, $($rest:tt)*)?) => {
        rule!($crate::message::Rule { from: $from, to: $to, ..$rule }; $($($rest)*)?)
    };
    ($rule:expr; ..= $to:literal $(, $($rest:tt)*)?) => {
        rule!($crate::message::Rule { to: $to, ..$rule }; $($($rest)*)?)
    };
    ($rule:expr; $from:literal .. $(, $($rest:tt)*)?) => {
        rule!($crate::message::Rule { from: $from, ..$rule }; $($($rest)*)?)
    };
}

/// The value of a field that is not given.
macro_rules! default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// Declares messages and their structures; see the module.
macro_rules! message {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident $(: $($key:ident)? $min:literal ..= $max:literal $(or $newer:ident)?
            $(, flexible $flexible:literal)?)? {
            $($(#[$field_doc:meta])* $field:ident: $type:ty $([$($rule:tt)*])? $(= $default:expr)?,)*
        } $(tagged {
            $($tag:literal => $tagged:ident: $tagged_type:ty $([$($tagged_rule:tt)*])? $(= $tagged_default:expr)?,)*
        })?
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the fields are Kafka's, which documents them")]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            $($(pub $tagged: $tagged_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: default!($($default)?),)*
                    $($($tagged: default!($($tagged_default)?),)*)?
                }
            }
        }

        impl $crate::field::Field for $name {
            #[allow(unused_mut, reason = "a structure may have no fields")]
            fn least(version: $crate::field::Version) -> usize {
                let mut least = usize::from(version.flexible);
                $({
                    const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($($rule)*)?);
                    if RULE.has(version) {
                        least += <$type as $crate::field::Field>::least(version);
                    }
                })*
                least
            }

            fn take(
                reader: &mut $crate::Reader,
                version: $crate::field::Version,
            ) -> Result<Self, $crate::WireError> {
                $(let $field: $type = {
                    const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($($rule)*)?);
                    if RULE.has(version) {
                        $crate::message::take(RULE, stringify!($field), reader, version)?
                    } else {
                        default!($($default)?)
                    }
                };)*
                $($(let mut $tagged: $tagged_type = default!($($tagged_default)?);)*)?
                if version.flexible {
                    reader.tagged(&mut |tag, _reader| {
                        match tag {
                            $($($tag => {
                                const RULE: $crate::message::Rule =
                                    rule!($crate::message::Rule::ALWAYS; $($($tagged_rule)*)?);
                                if !RULE.has(version) {
                                    return Ok(false);
                                }
                                $tagged = $crate::message::take(RULE, stringify!($tagged), _reader, version)?;
                                Ok(true)
                            })*)?
                            _ => Ok(false),
                        }
                    })?;
                }
                Ok(Self { $($field,)* $($($tagged,)*)? })
            }

            fn put(
                &self,
                writer: &mut $crate::Writer,
                version: $crate::field::Version,
            ) -> Result<(), $crate::WireError> {
                $({
                    const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($($rule)*)?);
                    if RULE.has(version) {
                        $crate::message::put(&self.$field, RULE, stringify!($field), writer, version)?;
                    } else if !RULE.ignorable {
                        let default: $type = default!($($default)?);
                        if self.$field != default {
                            return Err($crate::message::absent(stringify!($field), writer, version));
                        }
                    }
                })*
                message!(@tagged self writer version $($($tag => $tagged: $tagged_type
                    [$($($tagged_rule)*)?] [$($tagged_default)?],)*)?);
                Ok(())
            }
        }

        impl $crate::field::Nullable for $name {
            fn least_or_null(_: $crate::field::Version) -> usize {
                1
            }

            fn take_or_null(
                reader: &mut $crate::Reader,
                version: $crate::field::Version,
            ) -> Result<Option<Self>, $crate::WireError> {
                if reader.i8()? < 0 { Ok(None) } else { $crate::field::Field::take(reader, version).map(Some) }
            }

            fn put_or_null(
                value: Option<&Self>,
                writer: &mut $crate::Writer,
                version: $crate::field::Version,
            ) -> Result<(), $crate::WireError> {
                writer.i8(if value.is_some() { 1 } else { -1 });
                value.map_or(Ok(()), |value| $crate::field::Field::put(value, writer, version))
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            #[allow(unused_variables, reason = "a structure may have no fields")]
            fn sample(source: &mut $crate::sample::Source, version: $crate::field::Version) -> Self {
                #[allow(unused_mut, reason = "a structure may have no fields")]
                let mut sample = Self::default();
                $({
                    const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($($rule)*)?);
                    if RULE.has(version) {
                        sample.$field = $crate::sample::sample(RULE, source, version);
                    }
                })*
                $($({
                    const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($($tagged_rule)*)?);
                    if version.flexible && RULE.has(version) {
                        sample.$tagged = $crate::sample::sample(RULE, source, version);
                    }
                })*)?
                sample
            }

            fn widest(version: $crate::field::Version) -> usize {
                let fields: &[usize] = &[
                    $(<$type as $crate::sample::Sample>::widest(version),)*
                    $($(<$tagged_type as $crate::sample::Sample>::widest(version),)*)?
                ];
                fields.iter().copied().max().unwrap_or(0)
            }
        }

        $(message!(@impl $name [$($key)?] $min..=$max, [$($newer)?] [$($flexible)?]);)?
    )*};

    (@impl $name:ident [$key:ident] $versions:expr, [] [$($flexible:literal)?]) => {
        impl $crate::Message for $name {
            const KEY: $crate::ApiKey = $crate::ApiKey::$key;
            const VERSIONS: std::ops::RangeInclusive<i16> = $versions;
            const FLEXIBLE: i16 = message!(@flexible $($flexible)?);
        }
    };
    (@impl $name:ident [] $versions:expr, [$($newer:ident)?] [$($flexible:literal)?]) => {
        impl $crate::versioned::Versioned for $name {
            const VERSIONS: std::ops::RangeInclusive<i16> = $versions;
            const FLEXIBLE: i16 = message!(@flexible $($flexible)?);
            const NEWER: bool = message!(@newer $($newer)?);
        }
    };

    (@newer) => { false };
    (@newer newer) => { true };

    (@flexible) => { i16::MAX };
    (@flexible $flexible:literal) => { $flexible };

    (@tagged $self:ident $writer:ident $version:ident) => {
        if $version.flexible {
            $writer.uvarint(0);
        }
    };
    (@tagged $self:ident $writer:ident $version:ident
        $($tag:literal => $field:ident: $type:ty [$($rule:tt)*] [$($default:expr)?],)+) => {
        let mut count = 0;
        $(
            // Only what is not at its default is written.
            let default: $type = default!($($default)?);
            let $field = $self.$field != default;
            if $field {
                const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($rule)*);
                if $version.flexible && RULE.has($version) {
                    count += 1;
                } else if !RULE.ignorable {
                    return Err($crate::message::absent(stringify!($field), $writer, $version));
                }
            }
        )+
        if $version.flexible {
            $writer.uvarint(count);
            $(if $field {
                const RULE: $crate::message::Rule = rule!($crate::message::Rule::ALWAYS; $($rule)*);
                if RULE.has($version) {
                    $crate::message::put_tagged(
                        &$self.$field, $tag, RULE, stringify!($field), $writer, $version,
                    )?;
                }
            })+
        }
    };
}
