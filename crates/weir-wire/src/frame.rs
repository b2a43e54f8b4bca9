//! Cuts a stream of bytes into frames: four bytes of length, then that many bytes.

use crate::error::{Fault, WireError};
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length.
const PREFIX: usize = 4;

/// Takes the first frame out of `buffer`, without its length and without copying, or `None` where more bytes are needed.
/// The buffer is never grown by what a length says.
///
/// # Errors
/// Where the length is negative or more than `limit`. What follows in the stream has no meaning then.
pub fn split_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    let Some(length) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let size = usize::try_from(length).map_err(|_| WireError::new(Fault::Negative(length), 0))?;
    if size > limit {
        return Err(WireError::new(Fault::Oversize { size, limit }, 0));
    }
    if buffer.len() - PREFIX < size {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(buffer.split_to(size).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_as_they_become_whole() {
        let check = |bytes: &[u8], expect: Result<Option<&[u8]>, Fault>, rest: usize| {
            let mut buffer = BytesMut::from(bytes);
            let found = split_frame(&mut buffer, 5).map_err(|error| error.fault().clone());
            assert_eq!(found.as_ref().map(Option::as_deref), expect.as_ref().map(|frame| *frame), "{bytes:?}");
            assert_eq!(buffer.len(), rest, "{bytes:?}");
        };
        check(b"", Ok(None), 0);
        check(b"\0\0\0", Ok(None), 3);
        check(b"\0\0\0\x05abcd", Ok(None), 8);
        check(b"\0\0\0\x05abcde", Ok(Some(b"abcde")), 0);
        check(b"\0\0\0\x02abcde", Ok(Some(b"ab")), 3);
        check(b"\0\0\0\0", Ok(Some(b"")), 0);
        check(b"\0\0\0\x06", Err(Fault::Oversize { size: 6, limit: 5 }), 4);
        check(b"\x7f\xff\xff\xff", Err(Fault::Oversize { size: 0x7fff_ffff, limit: 5 }), 4);
        check(b"\xff\xff\xff\xff", Err(Fault::Negative(-1)), 4);
    }
}
