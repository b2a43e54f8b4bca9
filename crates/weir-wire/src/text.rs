//! Strings as they lie in a frame. Nothing is copied; the price is that a kept [`Text`] keeps its whole frame, see [`Text::detached`].

use bytes::Bytes;
use bytestring::ByteString;
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// UTF-8 text that is a slice of a frame, a static string or a buffer of its own. Cloning it counts a reference.
///
/// Equality, order and hash are those of `str`, so that a map keyed by `Text` can be asked with a `&str`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(ByteString);

impl Text {
    /// The text of no bytes.
    pub const EMPTY: Text = Text::from_static("");

    /// A text that lives as long as the program.
    pub const fn from_static(text: &'static str) -> Text {
        Text(ByteString::from_static(text))
    }

    /// The bytes as text, not copied.
    ///
    /// # Errors
    /// Where the bytes are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Text, std::str::Utf8Error> {
        ByteString::try_from(bytes).map(Text)
    }

    /// The text as a string slice.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes of the text, sharing its memory.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// A copy with memory of its own: for what outlives its frame by much, such as the name in a table.
    pub fn detached(&self) -> Text {
        Text::from(self.as_str())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(ByteString::from(text.to_owned()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(ByteString::from(text))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_text_is_found_by_its_str_and_detaches_from_its_frame() {
        let frame = Bytes::from_static(b"..orders..");
        let text = Text::from_utf8(frame.slice(2..8)).unwrap();
        assert_eq!(text, "orders");
        assert_eq!(format!("{text:?} {text:>8}"), "\"orders\"   orders");
        assert_eq!(text.as_ptr(), frame[2..].as_ptr());
        assert_ne!(text.detached().as_ptr(), text.as_ptr());
        assert_eq!(HashMap::from([(text, 1)]).get("orders"), Some(&1));
        assert!(Text::from_utf8(Bytes::from_static(b"\xff")).is_err());
    }
}
