//! A table whose rows name the key of another: a join on a foreign key, in three stages (the meaning of KIP-213).
//!
//! The left rows subscribe to the keys they name; who keeps the right rows keeps the subscriptions and answers, to each
//! when it comes and to all when the right row changes; the answers meet the left rows under the left key. An answer
//! carries the hash of the left row that has asked and the offset it has in its topic: a later left row drops it.
//! What has asked for another key than before takes its subscription back, and that is answered too, so that nothing is
//! remembered of a left row that has gone.

use weir_avro::{put_blob, put_long};

use super::tables::Was;
use super::{BROKEN, Done, FORM, Fault, Operator, Pending, ROWS, Record, Task, hash, keyed};
use crate::bytes::Bytes;
use crate::projection::RowError;
use crate::sql::How;
use crate::state::State;

/// The Avro schema of a subscription: whether it is one or takes one back, and who asks.
pub(crate) const SUBSCRIPTION: &str = r#"{"type": "record", "name": "Subscription", "fields": [
    {"name": "on", "type": "boolean"}, {"name": "offset", "type": "long"},
    {"name": "hash", "type": "bytes"}, {"name": "key", "type": "bytes"}]}"#;

/// The Avro schema of an answer but for its last field, the right row or null.
pub(crate) const ANSWER: [(&str, &str); 3] = [("gone", "boolean"), ("offset", "long"), ("hash", "bytes")];

/// A record between stages that is none of them.
const ALIEN: RowError = RowError::Record("a record between the stages of the join is none of its stages");

/// Who has asked for a right row.
struct Asked<'a> {
    on: bool,
    offset: i64,
    hash: [u8; 16],
    key: &'a [u8],
}

/// What was answered.
struct Answer<'a> {
    gone: bool,
    offset: i64,
    hash: [u8; 16],
    right: Option<&'a [u8]>,
}

impl Task {
    /// Left rows to subscriptions under the key they name.
    pub(super) fn subscribe(&mut self, record: &Record<'_>, state: &dyn State) -> Result<Done, Fault> {
        let Operator::Subscribe { by } = &mut self.operator else { return Ok(Done::Taken) };
        let key = record.key.unwrap_or_default();
        let place = keyed(self.space | ROWS, key, &[]);
        let mut entry = Vec::new();
        let mut old = None;
        if self.pending.get(state, &place, &mut entry)? {
            let mut bytes = Bytes(entry.get(1..).unwrap_or_default());
            old = Some((bytes.array::<16>().ok_or(BROKEN)?, bytes.blob().ok_or(BROKEN)?.to_vec()));
        }
        let new = match record.value {
            Some(row) => by.key(row, record)?.map(|fk| (hash(row), fk)),
            None => None,
        };
        if old == new {
            return Ok(Done::Taken);
        }
        let mut tell = |on: bool, (hash, fk): &([u8; 16], Vec<u8>)| {
            let mut value = vec![u8::from(on)];
            put_long(&mut value, record.offset);
            put_blob(&mut value, hash);
            put_blob(&mut value, key);
            self.pending.output(Some(fk), Some(&value), record.time, false);
        };
        if let Some(old) = old.filter(|(_, fk)| new.as_ref().is_none_or(|(_, new)| new != fk)) {
            tell(false, &old);
        }
        if let Some(new) = &new {
            tell(true, new);
        }
        let entry = new.map(|(hash, fk)| {
            let mut entry = [&[FORM][..], &hash].concat();
            put_blob(&mut entry, &fk);
            entry
        });
        self.pending.put(place, entry);
        Ok(Done::Taken)
    }

    /// Right rows (input 0) and subscriptions (input 1) to answers under the left key.
    pub(super) fn answer(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
        entry: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let key = record.key.unwrap_or_default();
        let place = keyed(self.space | ROWS, key, &[0]);
        let found = self.pending.get(state, &place, entry)?;
        let asked = keyed(self.space | ROWS, key, &[1]);
        if input == 0 {
            let there = match record.value {
                Some(value) => self.select.run(value, record, row)?,
                None => false,
            };
            let mut known = Bytes(entry.get(1..).unwrap_or_default());
            if found {
                known.long().ok_or(BROKEN)?;
            }
            let right = there.then_some(&**row);
            if found.then_some(known.0) == right {
                return Ok(Done::Taken);
            }
            let pending = &mut self.pending;
            let mut whole = true;
            state.scan(&asked, &mut |place, entry| {
                let mut bytes = Bytes(entry.get(1..).unwrap_or_default());
                match (bytes.array::<16>(), bytes.long(), place.get(asked.len()..)) {
                    (Some(hash), Some(offset), Some(left)) => {
                        say(pending, left, Answer { gone: false, offset, hash, right }, record.time);
                    }
                    _ => whole = false,
                }
                whole
            })?;
            if !whole {
                return Err(BROKEN.into());
            }
            let entry = right.map(|right| {
                let mut entry = vec![FORM];
                put_long(&mut entry, record.time);
                entry.extend_from_slice(right);
                entry
            });
            self.pending.put(place, entry);
            return Ok(Done::Taken);
        }
        let Asked { on, offset, hash, key: left } = read_asked(record.value.unwrap_or_default()).ok_or(ALIEN)?;
        let place = [&asked[..], left].concat();
        if !on {
            self.pending.put(place, None);
            say(&mut self.pending, left, Answer { gone: true, offset, hash, right: None }, record.time);
            return Ok(Done::Taken);
        }
        let (mut time, mut right) = (record.time, None);
        if found {
            let mut bytes = Bytes(entry.get(1..).unwrap_or_default());
            time = time.max(bytes.long().ok_or(BROKEN)?);
            right = Some(bytes.0);
        }
        say(&mut self.pending, left, Answer { gone: false, offset, hash, right }, time);
        let mut entry = [&[FORM][..], &hash].concat();
        put_long(&mut entry, offset);
        self.pending.put(place, Some(entry));
        Ok(Done::Taken)
    }

    /// Left rows (input 0) and answers (input 1) to joined rows.
    pub(super) fn foreign(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
        entry: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let Operator::Foreign { by, how } = &mut self.operator else { return Ok(Done::Taken) };
        let key = record.key.unwrap_or_default();
        let place = keyed(self.space | ROWS, key, &[]);
        let found = self.pending.get(state, &place, entry)?;
        let mut bytes = Bytes(entry.get(1..).unwrap_or_default());
        let (mut was, mut left, mut answer) = (Was::Nothing, None, None);
        if found {
            if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                was = Was::read(&mut bytes, self.retracts).ok_or(BROKEN)?;
            }
            if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                left = Some((bytes.long().ok_or(BROKEN)?, bytes.blob().ok_or(BROKEN)?));
            }
            if bytes.array::<1>().ok_or(BROKEN)? == [1] {
                answer = Some((bytes.long().ok_or(BROKEN)?, read_answer(bytes.blob().ok_or(BROKEN)?).ok_or(BROKEN)?));
            }
        }
        if input == 0 {
            if record.value.is_some_and(|row| by.key(row, record).is_err()) {
                // The stage that asks reads it as well, and has said so.
                return Ok(Done::Taken);
            }
            left = record.value.map(|row| (record.time, row));
            // What was answered to a row that has gone is dropped; to one that is still to come, it is not.
            answer = answer.filter(|(_, a): &(i64, Answer<'_>)| left.is_some() || a.offset > record.offset);
        } else {
            let new = read_answer(record.value.unwrap_or_default()).ok_or(ALIEN)?;
            let known = answer.as_ref().map_or(i64::MIN, |(_, a)| a.offset);
            match new.gone {
                // All that was answered before it from there has come.
                true if left.is_none() && known < new.offset => answer = None,
                true => {}
                false if known <= new.offset => answer = Some((record.time, new)),
                false => return Ok(Done::Taken),
            }
        }
        // What the left row is joined with: a right row or null; unknown until its answer is there.
        let met = match (left, &answer) {
            (None, _) => None,
            (Some((_, row)), answer) => match (by.key(row, record)?, answer) {
                (None, _) => Some(None),
                (Some(_), Some((_, answer))) if answer.hash == hash(row) => Some(answer.right),
                _ => None,
            },
        };
        let waits = left.is_some() && met.is_none();
        let time = [left.map(|(time, _)| time), answer.as_ref().map(|(time, _)| *time)];
        let time = time.into_iter().flatten().fold(record.time, i64::max);
        let (mut out, mut shown, mut done) = (Vec::new(), false, Done::Taken);
        let mut made = Some(key.to_vec());
        if let (Some((_, left)), Some(right)) = (left, met)
            && (right.is_some() || *how != How::Inner)
        {
            row.extend_from_slice(left);
            if *how != How::Inner {
                put_long(row, i64::from(right.is_some()));
            }
            row.extend_from_slice(right.unwrap_or_default());
            let record = Record { time, headers: &[], ..*record };
            shown = self.select.run(row, &record, &mut out)?;
            if let (Some(rekey), true) = (&mut self.rekey, shown) {
                made = rekey.key(row, &record)?;
                if made.is_none() {
                    done = Done::NoKey;
                }
            }
        }
        let head = match waits {
            true => was.head(),
            false => {
                let now = made.as_deref().filter(|_| shown).map(|key| (key, &*out));
                was.tell(&mut self.pending, self.retracts, now, key, time)
            }
        };
        let new = (left.is_some() || answer.is_some()).then(|| {
            let mut new = vec![FORM, u8::from(head.is_some())];
            new.extend_from_slice(head.as_deref().unwrap_or_default());
            new.push(u8::from(left.is_some()));
            if let Some((time, row)) = left {
                put_long(&mut new, time);
                put_blob(&mut new, row);
            }
            new.push(u8::from(answer.is_some()));
            if let Some((time, answer)) = &answer {
                put_long(&mut new, *time);
                put_blob(&mut new, &answer.write());
            }
            new
        });
        self.pending.put(place, new);
        Ok(done)
    }
}

fn say(pending: &mut Pending, left: &[u8], answer: Answer<'_>, time: i64) {
    pending.output(Some(left), Some(&answer.write()), time, false);
}

impl Answer<'_> {
    fn write(&self) -> Vec<u8> {
        let mut value = vec![u8::from(self.gone)];
        put_long(&mut value, self.offset);
        put_blob(&mut value, &self.hash);
        put_long(&mut value, i64::from(self.right.is_some()));
        value.extend_from_slice(self.right.unwrap_or_default());
        value
    }
}

fn read_answer(value: &[u8]) -> Option<Answer<'_>> {
    let mut bytes = Bytes(value);
    let gone = bytes.array::<1>()? == [1];
    let (offset, hash) = (bytes.long()?, bytes.blob()?.try_into().ok()?);
    let right = (bytes.long()? == 1).then_some(bytes.0);
    Some(Answer { gone, offset, hash, right })
}

fn read_asked(value: &[u8]) -> Option<Asked<'_>> {
    let mut bytes = Bytes(value);
    let on = bytes.array::<1>()? == [1];
    Some(Asked { on, offset: bytes.long()?, hash: bytes.blob()?.try_into().ok()?, key: bytes.blob()? })
}
