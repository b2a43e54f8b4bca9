//! Bytes of a connection into frames, in buffers that are used again.
//!
//! A fetched batch goes on to the producer as a slice of the frame it came in, so a buffer is free when the last such slice
//! is gone. Nobody gives it back: whoever needs a buffer looks whether one has become free.

use bytes::{Bytes, BytesMut};

/// The smallest buffer, in bytes. What is smaller comes and goes with the allocator.
const LEAST: usize = 64 << 10;
/// How many buffers are kept.
const KEPT: usize = 24;
/// What is allocated for a frame before its bytes are there: more than this only grows as they come.
const TRUSTED: usize = 8 << 20;
/// The largest frame that is read, in bytes: `receive.message.max.bytes` as librdkafka ships it.
pub(super) const LARGEST: usize = 100_000_000;

/// Buffers that were lent out as [`Bytes`].
#[derive(Debug, Default)]
pub(super) struct Buffers {
    lent: Vec<Bytes>,
}

impl Buffers {
    /// A buffer of at least `need` bytes, of any content.
    fn take(&mut self, need: usize) -> BytesMut {
        if need < LEAST {
            return BytesMut::zeroed(need);
        }
        let fits = |bytes: &Bytes| bytes.len() >= need && bytes.len() <= need.saturating_mul(4) && bytes.is_unique();
        if let Some(at) = self.lent.iter().position(fits) {
            match self.lent.swap_remove(at).try_into_mut() {
                Ok(buffer) => return buffer,
                Err(bytes) => self.lent.push(bytes),
            }
        }
        BytesMut::zeroed(need.next_power_of_two())
    }

    /// Lends a buffer out; it comes back when nothing refers to it.
    fn lend(&mut self, buffer: BytesMut) -> Bytes {
        let bytes = buffer.freeze();
        if bytes.len() < LEAST || bytes.len() > TRUSTED {
            return bytes;
        }
        if self.lent.len() == KEPT {
            // One that nobody asked for again, if there is one.
            let Some(at) = self.lent.iter().position(Bytes::is_unique) else { return bytes };
            self.lent.swap_remove(at);
        }
        self.lent.push(bytes.clone());
        bytes
    }
}

/// A frame whose length is known.
#[derive(Debug)]
struct Body {
    buffer: BytesMut,
    filled: usize,
    size: usize,
}

/// A frame that cannot be: the length it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible(pub(super) i32);

/// The frames of one connection, as they become whole.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 4],
    have: usize,
    body: Option<Body>,
}

impl Frames {
    /// Where the next bytes of a large frame may be read to directly; `None` where they are to be [`Frames::feed`].
    pub(super) fn room(&mut self, buffers: &mut Buffers) -> Option<&mut [u8]> {
        let body = self.body.as_mut()?;
        if body.filled == body.buffer.len() {
            let mut larger = buffers.take(body.size.min(body.buffer.len().saturating_mul(2)));
            larger[..body.filled].copy_from_slice(&body.buffer);
            body.buffer = larger;
        }
        let end = body.size.min(body.buffer.len());
        Some(&mut body.buffer[body.filled..end])
    }

    /// Says that so many bytes were read to [`Frames::room`]; gives the frame if it is whole.
    pub(super) fn advance(&mut self, count: usize, buffers: &mut Buffers) -> Option<Bytes> {
        let body = self.body.as_mut()?;
        body.filled += count;
        if body.filled < body.size {
            return None;
        }
        let body = self.body.take()?;
        self.have = 0;
        Some(buffers.lend(body.buffer).slice(..body.size))
    }

    /// Takes bytes that were read elsewhere and hands out the frames that become whole.
    ///
    /// # Errors
    /// [`Impossible`] for a length that is negative or above [`LARGEST`]; the connection is of no more use.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        buffers: &mut Buffers,
        mut whole: impl FnMut(Bytes),
    ) -> Result<(), Impossible> {
        while !bytes.is_empty() {
            if self.body.is_none() {
                let count = bytes.len().min(4 - self.have);
                self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have < 4 {
                    break;
                }
                let length = i32::from_be_bytes(self.head);
                let size = usize::try_from(length).ok().filter(|size| (4..=LARGEST).contains(size));
                let size = size.ok_or(Impossible(length))?;
                self.body = Some(Body { buffer: buffers.take(size.min(TRUSTED)), filled: 0, size });
            }
            while !bytes.is_empty() {
                let Some(room) = self.room(buffers) else { break };
                let count = room.len().min(bytes.len());
                room[..count].copy_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                if let Some(frame) = self.advance(count, buffers) {
                    whole(frame);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(sizes: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let frames: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(n, size)| (0..*size).map(|at| (at * 7 + n) as u8).collect()).collect();
        let bytes = frames.iter().flat_map(|f| [&i32::try_from(f.len()).unwrap().to_be_bytes(), &f[..]].concat());
        (bytes.collect(), frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_whatever_the_cuts(
            sizes in prop::collection::vec(prop_oneof![4..40usize, 60_000..200_000usize], 1..8),
            cuts in prop::collection::vec(1..90_000usize, 1..40),
        ) {
            let (bytes, expect) = stream(&sizes);
            let (mut frames, mut buffers, mut found) = (Frames::default(), Buffers::default(), Vec::new());
            let (mut rest, mut cut) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let count = (*cut.next().unwrap()).min(rest.len());
                // Half of the bytes of a large frame come directly.
                let direct = frames.room(&mut buffers).map(|room| {
                    let count = count.min(room.len());
                    room[..count].copy_from_slice(&rest[..count]);
                    count
                });
                match direct {
                    Some(count) => {
                        found.extend(frames.advance(count, &mut buffers).map(|f| f.to_vec()));
                        rest = &rest[count..];
                    }
                    None => {
                        frames.feed(&rest[..count], &mut buffers, |f| found.push(f.to_vec())).unwrap();
                        rest = &rest[count..];
                    }
                }
            }
            prop_assert_eq!(found, expect);
        }
    }

    #[test]
    fn a_buffer_is_used_again_once_nothing_refers_to_it() {
        let mut buffers = Buffers::default();
        let buffer = buffers.take(100_000);
        let (at, first) = (buffer.as_ptr(), buffers.lend(buffer));
        let kept = first.slice(5..10);
        drop(first);
        assert_ne!(buffers.take(100_000).as_ptr(), at, "a slice is still out");
        drop(kept);
        assert_eq!(buffers.take(90_000).as_ptr(), at);
    }

    #[test]
    fn a_claimed_length_allocates_no_more_than_is_trusted() {
        let mut frames = Frames::default();
        let mut buffers = Buffers::default();
        frames.feed(&i32::try_from(LARGEST).unwrap().to_be_bytes(), &mut buffers, |_| {}).unwrap();
        assert!(frames.room(&mut buffers).unwrap().len() <= TRUSTED);
        for length in [i32::MIN, -1, 0, 3, i32::try_from(LARGEST).unwrap() + 1, i32::MAX] {
            let fed = Frames::default().feed(&length.to_be_bytes(), &mut buffers, |_| {});
            assert_eq!(fed, Err(Impossible(length)));
        }
    }
}
