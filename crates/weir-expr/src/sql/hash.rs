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
    let digest = hash.finalize();
    let mut text = String::with_capacity(64);
    for byte in digest {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text
}
