//! Tables: row by row, looked up by a stream, and merged on one key.

use std::borrow::Cow;

use weir_avro::{put_blob, put_long};

use super::rekey::Shown;
use super::{BROKEN, Done, FORM, Fault, Operator, Pending, ROWS, Record, Task, hash, keyed};
use crate::bytes::Bytes;
use crate::sql::How;
use crate::state::State;

/// Bytes that an entry or a row takes besides the rows in it, most often.
const ROOM: usize = 64;

/// What was put out for a key of a table.
#[derive(Clone, Copy)]
pub(super) enum Was<'a> {
    Nothing,
    Hash([u8; 16]),
    /// With changes to be summed up, the row itself and its key.
    Row(&'a [u8], &'a [u8]),
}

impl<'a> Was<'a> {
    pub(super) fn read(bytes: &mut Bytes<'a>, retracts: bool) -> Option<Was<'a>> {
        Some(match retracts {
            true => Was::Row(bytes.blob()?, bytes.blob()?),
            false => Was::Hash(bytes.array::<16>()?),
        })
    }

    /// Puts the newest row of a key out where it differs from the one before, and gives what to remember of it.
    pub(super) fn tell(
        self,
        pending: &mut Pending,
        retracts: bool,
        now: Shown<'_>,
        key: &[u8],
        time: i64,
    ) -> Option<Vec<u8>> {
        if retracts {
            let was = if let Was::Row(key, row) = self { Some((key, row)) } else { None };
            pending.change(was, now, time);
            return now.and_then(|(key, row)| Was::Row(key, row).head());
        }
        let was = if let Was::Hash(hash) = self { Some(hash) } else { None };
        let now = Task::settle(pending, key, was, now.map(|(_, row)| row), time);
        now.and_then(|hash| Was::Hash(hash).head())
    }

    /// What an entry holds of it.
    pub(super) fn head(self) -> Option<Vec<u8>> {
        match self {
            Was::Nothing => None,
            Was::Hash(hash) => Some(hash.to_vec()),
            Was::Row(key, row) => {
                let mut head = Vec::new();
                put_blob(&mut head, key);
                put_blob(&mut head, row);
                Some(head)
            }
        }
    }
}

impl Task {
    /// Puts the newest output of a key out where it differs from the one before, whose hash begins the entry.
    pub(super) fn settle(
        pending: &mut Pending,
        key: &[u8],
        was: Option<[u8; 16]>,
        now: Option<&[u8]>,
        time: i64,
    ) -> Option<[u8; 16]> {
        let new = now.map(hash);
        if new != was {
            pending.output(Some(key), now, time, false);
        }
        new
    }

    pub(super) fn table(
        &mut self,
        record: &Record<'_>,
        state: &dyn State,
        out: &mut Vec<u8>,
        entry: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let key = record.key.unwrap_or_default();
        let place = keyed(self.space | ROWS, key, &[]);
        let was = match self.pending.get(state, &place, entry)? {
            true => Was::read(&mut Bytes(entry.get(1..).unwrap_or_default()), self.retracts).ok_or(BROKEN)?,
            false => Was::Nothing,
        };
        let mut done = Done::Taken;
        let mut made = Some(Cow::Borrowed(key));
        let mut there = false;
        if let Some(value) = record.value {
            there = self.select.run(value, record, out)?;
            if let (Some(rekey), true) = (&mut self.rekey, there) {
                made = rekey.key(value, record)?.map(Cow::Owned);
                if made.is_none() {
                    done = Done::NoKey;
                }
            }
        }
        let now = made.as_deref().filter(|_| there).map(|key| (key, &**out));
        let head = was.tell(&mut self.pending, self.retracts, now, key, record.time);
        let new = head.map(|head| [&[FORM][..], &head].concat());
        if new.as_deref().unwrap_or_default() != &**entry {
            self.pending.put(place, new);
        }
        Ok(done)
    }

    pub(super) fn lookup(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let kind = self.space | ROWS;
        let Operator::Lookup { history, .. } = &self.operator else { return Ok(Done::Taken) };
        if history.iter().any(Option::is_some) {
            self.outdate(record.time, state)?;
        }
        let Operator::Lookup { sides, history } = &self.operator else { return Ok(Done::Taken) };
        if let Some(table) = input.checked_sub(1) {
            if let Some(history) = history.get(table).copied().flatten() {
                return self.version(input, history, record, state);
            }
            let place = keyed(kind, record.key.unwrap_or_default(), &[input as u8]);
            self.pending.put(place, record.value.map(|value| [&[FORM][..], value].concat()));
            return Ok(Done::Taken);
        }
        row.extend_from_slice(record.value.unwrap_or_default());
        let mut found = Vec::new();
        for (i, (how, history)) in sides.iter().zip(history).enumerate() {
            found.clear();
            let side = i as u8 + 1;
            let there = match (record.key, history) {
                (Some(key), Some(_)) => self.as_of(&keyed(kind, key, &[side]), record.time, state, &mut found)?,
                (Some(key), None) => self.pending.get(state, &keyed(kind, key, &[side]), &mut found)?,
                (None, _) => false,
            };
            match (how, there) {
                (How::Inner, false) => return Ok(if record.key.is_none() { Done::NoKey } else { Done::Taken }),
                (How::Inner, true) => row.extend_from_slice(found.get(1..).unwrap_or_default()),
                (_, true) => {
                    put_long(row, 1);
                    row.extend_from_slice(found.get(1..).unwrap_or_default());
                }
                (_, false) => put_long(row, 0),
            }
        }
        self.joined(row, record, true)
    }

    /// Puts out what a row of a join of streams gives, where it is kept, under its key.
    pub(super) fn joined(&mut self, row: &[u8], record: &Record<'_>, headers: bool) -> Result<Done, Fault> {
        let mut out = Vec::new();
        if !self.select.run(row, record, &mut out)? {
            return Ok(Done::Taken);
        }
        match &mut self.rekey {
            Some(rekey) => match (rekey.key(row, record)?, rekey.needed) {
                (None, true) => return Ok(Done::NoKey),
                (key, _) => self.pending.output(key.as_deref(), Some(&out), record.time, headers),
            },
            None => self.pending.output(record.key, Some(&out), record.time, headers),
        }
        Ok(Done::Taken)
    }

    /// One entry for a key: what was put out for it, then time and row of each side. Every change of a side makes at
    /// most one output.
    pub(super) fn merge(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
        entry: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let Operator::Merge { sides, nullable } = &self.operator else { return Ok(Done::Taken) };
        let key = record.key.unwrap_or_default();
        let place = keyed(self.space | ROWS, key, &[]);
        let found = self.pending.get(state, &place, entry)?;
        let mut bytes = Bytes(entry.get(1..).unwrap_or_default());
        let mut was = Was::Nothing;
        let mut rows: Vec<Option<(i64, &[u8])>> = vec![None; nullable.len()];
        if found {
            if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                was = Was::read(&mut bytes, self.retracts).ok_or(BROKEN)?;
            }
            for side in &mut rows {
                if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                    *side = Some((bytes.long().ok_or(BROKEN)?, bytes.blob().ok_or(BROKEN)?));
                }
            }
        }
        if let Some(side) = rows.get_mut(input) {
            *side = record.value.map(|value| (record.time, value));
        }
        // From left to right, as the joins stand: what is there of the row so far.
        let mut seen: Vec<bool> = vec![rows.first().is_some_and(Option::is_some)];
        let mut there = seen[0];
        for (how, side) in sides.iter().zip(rows.iter().skip(1)) {
            let own = side.is_some();
            match how {
                How::Inner => {
                    there &= own;
                    seen.push(there);
                }
                How::Left => seen.push(there && own),
                How::Full => {
                    if !there {
                        // What an inner join has dropped is not there for a full one either.
                        seen.iter_mut().for_each(|seen| *seen = false);
                    }
                    seen.push(own);
                    there |= own;
                }
            }
        }
        let time = rows.iter().flatten().map(|(time, _)| *time).fold(record.time, i64::max);
        let held: usize = rows.iter().flatten().map(|(_, value)| value.len()).sum();
        let mut out = Vec::with_capacity(held + ROOM);
        let mut made = Some(Cow::Borrowed(key));
        let (mut shown, mut done) = (false, Done::Taken);
        if there {
            for ((side, seen), nullable) in rows.iter().zip(&seen).zip(nullable) {
                match side.filter(|_| *seen) {
                    Some((_, value)) => {
                        if *nullable {
                            put_long(row, 1);
                        }
                        row.extend_from_slice(value);
                    }
                    None => put_long(row, 0),
                }
            }
            let record = Record { time, headers: &[], ..*record };
            shown = self.select.run(row, &record, &mut out)?;
            if let (Some(rekey), true) = (&mut self.rekey, shown) {
                made = rekey.key(row, &record)?.map(Cow::Owned);
                if made.is_none() {
                    done = Done::NoKey;
                }
            }
        }
        let now = made.as_deref().filter(|_| shown).map(|key| (key, &*out));
        let head = was.tell(&mut self.pending, self.retracts, now, key, time);
        let new = rows.iter().any(Option::is_some).then(|| {
            let head_len = head.as_ref().map_or(0, Vec::len);
            let mut new = Vec::with_capacity(head_len + held + ROOM);
            new.extend([FORM, u8::from(head.is_some())]);
            new.extend_from_slice(head.as_deref().unwrap_or_default());
            for side in &rows {
                new.push(u8::from(side.is_some()));
                if let Some((time, value)) = side {
                    put_long(&mut new, *time);
                    put_blob(&mut new, value);
                }
            }
            new
        });
        self.pending.put(place, new);
        Ok(done)
    }
}
