//! SHA-256 of texts and bytes, as hexadecimal digits.

use sha2::{Digest, Sha256};

/// The digest of `salt`, a zero byte and the bytes; of the bytes alone where there is no salt.
pub(crate) fn sha256(salt: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    if !salt.is_empty() {
        hash.update(salt.as_bytes());
        hash.update([0]);
    }
    hash.update(bytes);
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(hash.finalize()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    // Digits are always text.
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}
