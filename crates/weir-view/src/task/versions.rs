//! A table that is remembered as it was: each row from its time to the time of the one that follows it.
//!
//! A row that another has followed is kept for as long as the history says, by the stream time; so is a delete. The
//! newest row of a key stays.

use super::{CLOSES, Done, FORM, Fault, ROWS, Record, Task, keyed};
use crate::bytes::{sorted, unsorted};
use crate::state::{State, StateError};

impl Task {
    /// Drops the rows whose time is over.
    pub(super) fn outdate(&mut self, time: i64, state: &dyn State) -> Result<(), Fault> {
        let stream_time = self.stream_time(time, state)?;
        for (index, place) in self.due(stream_time, state)? {
            self.pending.put(index, None);
            self.pending.put(place, None);
        }
        Ok(())
    }

    /// Takes a row of a table in, at its time.
    pub(super) fn version(
        &mut self,
        input: usize,
        history: i64,
        record: &Record<'_>,
        state: &dyn State,
    ) -> Result<Done, Fault> {
        let prefix = keyed(self.space | ROWS, record.key.unwrap_or_default(), &[input as u8]);
        let (mut before, mut after) = (None, None);
        state.scan(&prefix, &mut |place, _| {
            let Some(time) = time_of(place, prefix.len()) else { return true };
            match time.cmp(&record.time) {
                std::cmp::Ordering::Less => before = Some(place.to_vec()),
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => after = Some(time),
            }
            after.is_none()
        })?;
        let place = [&prefix[..], &sorted(record.time)].concat();
        let mut entry = vec![FORM, u8::from(record.value.is_some())];
        entry.extend_from_slice(record.value.unwrap_or_default());
        if let Some(before) = before {
            self.outdated(&before, record.time, history);
        }
        // A delete of the same time has said that it goes by itself.
        let (own, _) = self.outdated_index(&place, record.time, history);
        self.pending.put(own, None);
        // What this one deletes is followed by nothing; it is itself needed no longer than what it has followed.
        if let Some(followed) = after.or(record.value.is_none().then_some(record.time)) {
            self.outdated(&place, followed, history);
        }
        self.pending.put(place, Some(entry));
        Ok(Done::Taken)
    }

    /// Notes that a row is followed by another from a time on.
    fn outdated(&mut self, place: &[u8], followed: i64, history: i64) {
        let (index, close) = self.outdated_index(place, followed, history);
        self.pending.put(index, Some(vec![FORM]));
        self.clock.next_close = self.clock.next_close.map(|next| next.min(close));
    }

    fn outdated_index(&self, place: &[u8], followed: i64, history: i64) -> (Vec<u8>, i64) {
        let close = followed.saturating_add(history).saturating_add(1);
        ([&[self.space | CLOSES][..], &sorted(close), place].concat(), close)
    }

    /// The row under a prefix as it was at a time; it stands behind one byte in `found`.
    pub(super) fn as_of(
        &self,
        prefix: &[u8],
        at: i64,
        state: &dyn State,
        found: &mut Vec<u8>,
    ) -> Result<bool, StateError> {
        state.scan(prefix, &mut |place, entry| {
            let Some(time) = time_of(place, prefix.len()) else { return true };
            if time <= at {
                found.clear();
                found.extend_from_slice(entry.get(1..).unwrap_or_default());
            }
            time <= at
        })?;
        Ok(found.first() == Some(&1))
    }
}

fn time_of(place: &[u8], from: usize) -> Option<i64> {
    place.get(from..).and_then(|rest| rest.first_chunk::<8>()).map(|time| unsorted(*time))
}
