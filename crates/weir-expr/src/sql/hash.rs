//! Digests of texts and bytes as hexadecimal digits, and bytes as text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Hex,
    /// RFC 4648, section 4.
    Base64,
}

impl Base {
    pub(crate) fn by_name(name: &str) -> Option<Base> {
        match name.to_ascii_lowercase().as_str() {
            "hex" => Some(Base::Hex),
            "base64" => Some(Base::Base64),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Base::Hex => "hex",
            Base::Base64 => "base64",
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Base::Hex => hex(bytes),
            Base::Base64 => STANDARD.encode(bytes),
        }
    }

    /// The bytes; `None` where the text is not of this base.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Base::Base64 => STANDARD.decode(text).ok(),
            Base::Hex => {
                let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
                let nibble = |digit: u8| char::from(digit).to_digit(16);
                pairs.iter().map(|[a, b]| u8::try_from((nibble(*a)? << 4) | nibble(*b)?).ok()).collect()
            }
        }
    }
}

/// The digest of `salt`, a zero byte and the bytes; of the bytes alone where there is no salt.
pub(crate) fn sha256(salt: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    if !salt.is_empty() {
        hash.update(salt.as_bytes());
        hash.update([0]);
    }
    hash.update(bytes);
    hex(&hash.finalize())
}

pub(crate) fn sha512(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
