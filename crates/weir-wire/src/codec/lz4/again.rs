//! Compresses bytes again of which most stood in other frames before.
//!
//! A batch that some records are taken out of is the batch it was but for them and a few bytes of each record behind them.
//! Whoever compressed it has found what repeats; to search for it anew is most of the work of compressing. So the matches of
//! the old blocks are tried at their new places. Each is compared before it is used: what comes out depends on the old
//! frames in its size only. A block that becomes much larger than it should is compressed as any other.

use bytes::Bytes;
use lz4_flex::block::{compress_into, get_maximum_output_size};

use super::{Block, INDEPENDENT, Match, SHORTEST, WRITTEN_BLOCK, WRITTEN_HEADER, block, end_block, header, sequences};

/// A block ends with literals of at least so many bytes (lz4_Block_format, end of block conditions) ...
const LAST_LITERALS: usize = 5;
/// ... and no match begins closer to its end.
const LAST_MATCH: usize = 12;
/// Frames that are kept for one batch, at most.
const MOST: usize = 64;

/// What is known of bytes that are to be compressed: which of them stood in frames before, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    frames: Vec<Old>,
    is_full: bool,
}

/// An old frame, and what is kept of the bytes in it, in their order.
#[derive(Debug, Clone)]
struct Old {
    frame: Bytes,
    runs: Vec<Run>,
}

/// Bytes that stood together and do so still.
#[derive(Debug, Clone, Copy)]
struct Run {
    old: usize,
    new: usize,
    length: usize,
}

impl Kept {
    /// What is [`Kept::add`]ed from here on stood in `frame`, which is read no further than it can be.
    pub(crate) fn from_now_on(&mut self, frame: &Bytes) {
        let same = |last: &Old| last.frame.as_ptr() == frame.as_ptr() && last.frame.len() == frame.len();
        if self.frames.last().is_some_and(same) {
            return;
        }
        self.is_full |= self.frames.len() == MOST;
        if !self.is_full {
            self.frames.push(Old { frame: frame.clone(), runs: Vec::new() });
        }
    }

    /// Nothing is known of what comes.
    pub(crate) fn close(&mut self) {
        self.is_full = !self.frames.is_empty();
    }

    /// So many bytes that stood at `old` among those of the frame stand at `new` now. Both ascend.
    #[inline]
    pub(crate) fn add(&mut self, old: usize, new: usize, length: usize) {
        let Some(last) = self.frames.last_mut().filter(|_| !self.is_full) else { return };
        match last.runs.last_mut() {
            // Out of order, so that nothing could be found: no more than the reuse of what was found before is lost.
            Some(run) if old < run.old + run.length || new < run.new + run.length => self.is_full = true,
            // What lies between stood between them before, if it has not changed; that is seen when it is compared.
            Some(run) if old.wrapping_sub(run.old) == new.wrapping_sub(run.new) => run.length = old + length - run.old,
            _ => last.runs.push(Run { old, new, length }),
        }
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.iter().all(|old| old.runs.is_empty())
    }
}

/// A match at its new place, not compared yet.
struct Candidate {
    at: usize,
    length: usize,
    source: usize,
}

/// Appends `input` compressed to `out`.
pub(in crate::codec) fn compress_again(input: &[u8], kept: &Kept, out: &mut Vec<u8>) -> Result<(), String> {
    out.extend_from_slice(&WRITTEN_HEADER);
    let mut writer = Writer { input, out, candidates: Vec::new(), from: 0, to: 0, was: Was::default() };
    for old in &kept.frames {
        // An old frame that cannot be walked over tells nothing.
        let _ = writer.follow(old)?;
    }
    writer.extend(input.len(), Was::default())?;
    writer.flush(input.len())?;
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

struct Writer<'w> {
    input: &'w [u8],
    out: &'w mut Vec<u8>,
    candidates: Vec<Candidate>,
    /// The block that is being put together, so far.
    from: usize,
    to: usize,
    was: Was,
}

/// What the old blocks were that a block is the image of, in bytes.
#[derive(Default)]
struct Was {
    plain: usize,
    compressed: usize,
}

impl Writer<'_> {
    /// Goes along the blocks of an old frame; `None` where that is no longer possible.
    fn follow(&mut self, old: &Old) -> Result<Option<()>, String> {
        let (frame, runs) = (&old.frame[..], &old.runs[..]);
        let (mut rest, mut start, mut near) = (frame, 0, 0);
        while !rest.is_empty() {
            let Ok(head) = header(frame, &mut rest) else { return Ok(None) };
            if head.flags & INDEPENDENT == 0 {
                return Ok(None);
            }
            loop {
                let Block { is_compressed, bytes, .. } = match block(frame, &mut rest, &head) {
                    Ok(Some(block)) => block,
                    Ok(None) => break,
                    Err(_) => return Ok(None),
                };
                let size = if is_compressed {
                    let candidates = &mut self.candidates;
                    sequences(bytes, |found| place(runs, &mut near, start, found, candidates))
                } else {
                    Some(bytes.len())
                };
                let Some(size) = size else { return Ok(None) };
                start += size;
                let end = runs.partition_point(|run| run.old < start);
                if let Some(run) = end.checked_sub(1).and_then(|last| runs.get(last)) {
                    let was = Was { plain: size, compressed: bytes.len() };
                    self.extend(run.new + run.length.min(start - run.old), was)?;
                }
            }
        }
        Ok(Some(()))
    }

    /// The block goes on to `to`, unless it becomes too large for that.
    fn extend(&mut self, to: usize, was: Was) -> Result<(), String> {
        if to - self.from > WRITTEN_BLOCK {
            self.flush(self.to)?;
        }
        while to - self.from > WRITTEN_BLOCK {
            self.flush(self.from + WRITTEN_BLOCK)?;
        }
        self.to = to;
        self.was.plain += was.plain;
        self.was.compressed += was.compressed;
        Ok(())
    }

    /// Writes the block up to `to`.
    fn flush(&mut self, to: usize) -> Result<(), String> {
        if to <= self.from {
            return Ok(());
        }
        let (from, was) = (std::mem::replace(&mut self.from, to), std::mem::take(&mut self.was));
        let mine = self.candidates.partition_point(|candidate| candidate.at < to);
        let start = self.out.len() + 4;
        self.out.resize(start, 0);
        write_block(self.input, from, to, self.candidates.drain(..mine), self.out);
        let block = &self.input[from..to];
        let expect = was.compressed * block.len() / was.plain.max(1);
        if self.out.len() - start > expect + expect / 8 + 64 {
            self.out.resize(start + get_maximum_output_size(block.len()), 0);
            let written = compress_into(block, &mut self.out[start..]).map_err(|error| error.to_string())?;
            self.out.truncate(start + written);
        }
        end_block(block, start, self.out)
    }
}

/// Where a match of an old block that began at `start` lies now, as far as it and what it copies are kept.
#[inline]
fn place(runs: &[Run], near: &mut usize, start: usize, found: Match, into: &mut Vec<Candidate>) {
    let (mut at, end) = (start + found.at, start + found.at + found.length);
    while at < end {
        while runs.get(*near).is_some_and(|run| run.old + run.length <= at) {
            *near += 1;
        }
        let Some(run) = runs.get(*near).filter(|run| run.old < end) else { return };
        at = at.max(run.old);
        let length = end.min(run.old + run.length) - at;
        let source = at.checked_sub(found.distance).and_then(|source| {
            let behind = if source >= run.old { *near + 1 } else { runs[..*near].partition_point(|r| r.old <= source) };
            let of = runs.get(behind.checked_sub(1)?)?;
            (source < of.old + of.length).then(|| of.new + (source - of.old))
        });
        if let Some(source) = source {
            into.push(Candidate { at: run.new + (at - run.old), length, source });
        }
        at += length;
    }
}

fn write_block(input: &[u8], from: usize, to: usize, candidates: impl Iterator<Item = Candidate>, out: &mut Vec<u8>) {
    let mut literals = from;
    for Candidate { at, length, source } in candidates {
        let end = (at + length).min(to.saturating_sub(LAST_LITERALS));
        // What a block copies lies in it.
        let skip = from.saturating_sub(source).max(literals.saturating_sub(at));
        let (mut at, mut source) = (at + skip, source + skip);
        while at + SHORTEST <= end && at + LAST_MATCH <= to && source < at {
            let same = common(&input[source..], &input[at..end]);
            if same >= SHORTEST {
                sequence(&input[literals..at], at - source, same, out);
                literals = at + same;
            }
            (at, source) = (at + same + 1, source + same + 1);
        }
    }
    let rest = &input[literals..to];
    out.push(nibble(rest.len()) << 4);
    extra(rest.len(), out);
    out.extend_from_slice(rest);
}

/// Writes literals and the match behind them.
#[inline]
fn sequence(literals: &[u8], distance: usize, length: usize, out: &mut Vec<u8>) {
    out.push(nibble(literals.len()) << 4 | nibble(length - SHORTEST));
    extra(literals.len(), out);
    out.extend_from_slice(literals);
    // A block has 64 KiB at most, so it fits.
    out.extend_from_slice(&[distance as u8, (distance >> 8) as u8]);
    extra(length - SHORTEST, out);
}

fn nibble(length: usize) -> u8 {
    length.min(15) as u8
}

/// What of a length its nibble does not hold.
#[inline]
fn extra(length: usize, out: &mut Vec<u8>) {
    let Some(mut left) = length.checked_sub(15) else { return };
    while left >= 255 {
        out.push(255);
        left -= 255;
    }
    out.push(left as u8);
}

/// How many bytes both begin with.
#[inline]
fn common(left: &[u8], right: &[u8]) -> usize {
    let mut same = 0;
    for (l, r) in left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*l) ^ u64::from_le_bytes(*r);
        if differ != 0 {
            return same + differ.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + left[same..].iter().zip(&right[same..]).take_while(|(l, r)| l == r).count()
}
