//! Finding the schema id of a record: before the payload or in a header. Pure: it looks, it does not ask anybody.
//!
//! Source: Confluent's wire format, prefix `0x00` and four bytes big endian, or `0x01` and the sixteen bytes of a
//! UUID; the latter also as the record header `__value_schema_id` or `__key_schema_id`, with a bare payload.

use crate::SchemaId;

/// The header that carries the schema id of a value.
pub const VALUE_SCHEMA_ID: &str = "__value_schema_id";
/// The header that carries the schema id of a key.
pub const KEY_SCHEMA_ID: &str = "__key_schema_id";

/// Where a schema id may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the payload.
    Prefix,
    /// In a header.
    Header,
    /// In a header, or else before the payload, as Confluent's own deserializers look.
    Either,
}

/// A payload taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names the writer's schema.
    pub id: SchemaId,
    /// The bare Avro datum.
    pub body: &'a [u8],
}

/// Why no schema id was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload is too short to hold one.
    #[error("payload of {0} bytes is too short for a schema id")]
    TooShort(usize),
    /// The payload starts with neither 0x00 nor 0x01.
    #[error("payload does not start with a schema id")]
    NoMagic,
    /// The header that should hold one is missing.
    #[error("header {0} is missing")]
    NoHeader(&'static str),
    /// The header does not hold 0x01 and sixteen bytes.
    #[error("header {0} holds no schema id")]
    BadHeader(&'static str),
}

/// Takes `payload` apart, looking for the id in `place` and, for headers, under `name`. Of several headers of one
/// name the last counts (Kafka's `lastHeader`).
///
/// # Errors
/// [`FrameError`] where no id was found; it never holds a byte of the payload.
pub fn parse<'a>(
    payload: &'a [u8],
    headers: &[(&str, Option<&[u8]>)],
    name: &'static str,
    place: Place,
) -> Result<Frame<'a>, FrameError> {
    if place != Place::Prefix {
        if let Some((_, value)) = headers.iter().rev().find(|(key, _)| *key == name) {
            return match value {
                Some([1, guid @ ..]) => match guid.try_into() {
                    Ok(guid) => Ok(Frame { id: SchemaId::Guid(guid), body: payload }),
                    Err(_) => Err(FrameError::BadHeader(name)),
                },
                _ => Err(FrameError::BadHeader(name)),
            };
        }
        if place == Place::Header {
            return Err(FrameError::NoHeader(name));
        }
    }
    match payload {
        [0, rest @ ..] => match rest.split_first_chunk::<4>() {
            Some((id, body)) => Ok(Frame { id: SchemaId::Id(u32::from_be_bytes(*id)), body }),
            None => Err(FrameError::TooShort(payload.len())),
        },
        [1, rest @ ..] => match rest.split_first_chunk::<16>() {
            Some((guid, body)) => Ok(Frame { id: SchemaId::Guid(*guid), body }),
            None => Err(FrameError::TooShort(payload.len())),
        },
        [] => Err(FrameError::TooShort(0)),
        _ => Err(FrameError::NoMagic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &[u8], header: Option<&[u8]>, place: Place, expect: Result<(SchemaId, &[u8]), FrameError>) {
        let headers: Vec<(&str, Option<&[u8]>)> = header.map(|h| (VALUE_SCHEMA_ID, Some(h))).into_iter().collect();
        let found = parse(payload, &headers, VALUE_SCHEMA_ID, place).map(|f| (f.id, f.body));
        assert_eq!(found, expect, "{payload:?} {header:?} {place:?}");
    }

    #[test]
    fn an_id_is_found_where_it_may_stand() {
        let guid = [7u8; 16];
        let mut header = vec![1u8];
        header.extend(guid);
        let mut prefixed = header.clone();
        prefixed.push(9);
        check(&[0, 0, 0, 1, 2, 9], None, Place::Prefix, Ok((SchemaId::Id(258), &[9])));
        check(&[0, 0, 0, 0, 1], None, Place::Either, Ok((SchemaId::Id(1), &[])));
        check(&prefixed, None, Place::Prefix, Ok((SchemaId::Guid(guid), &[9])));
        check(&[9], Some(&header), Place::Either, Ok((SchemaId::Guid(guid), &[9])));
        check(&[9], Some(&header), Place::Header, Ok((SchemaId::Guid(guid), &[9])));
        check(&[0, 0, 0, 0, 1, 9], Some(&header), Place::Prefix, Ok((SchemaId::Id(1), &[9])));
    }

    #[test]
    fn a_missing_or_broken_id_is_named() {
        for (payload, expect) in [
            (&[][..], FrameError::TooShort(0)),
            (&[0], FrameError::TooShort(1)),
            (&[0, 0, 0, 1], FrameError::TooShort(4)),
            (&[1, 2, 3], FrameError::TooShort(3)),
            (&[2, 0, 0, 0, 1], FrameError::NoMagic),
        ] {
            check(payload, None, Place::Either, Err(expect));
        }
        check(&[0, 0, 0, 0, 1], None, Place::Header, Err(FrameError::NoHeader(VALUE_SCHEMA_ID)));
        check(&[9], Some(&[1, 2]), Place::Either, Err(FrameError::BadHeader(VALUE_SCHEMA_ID)));
        check(&[9], Some(&[0; 17]), Place::Either, Err(FrameError::BadHeader(VALUE_SCHEMA_ID)));
    }
}
