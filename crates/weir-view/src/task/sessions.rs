//! Sessions: windows that grow with their records, and become one where a record comes between them.

use weir_avro::{put_blob, put_long};

use super::windows::{read_head, read_memories, show, unambiguous, windowed};
use super::{BROKEN, CLOSES, Done, FORM, Fault, Operator, ROWS, Record, Task, keyed};
use crate::aggregate::Memory;
use crate::bytes::{Bytes, sorted, unsorted};
use crate::state::State;

/// A session as the state holds it.
struct Session {
    start: i64,
    end: i64,
    was: Option<[u8; 16]>,
    memories: Vec<Memory>,
}

impl Task {
    pub(super) fn session(
        &mut self,
        gap: i64,
        grace: i64,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let Some(key) = record.key else { return Ok(Done::NoKey) };
        let stream_time = self.stream_time(record.time, state)?;
        let space = self.space;
        let Operator::Aggregate { keys, texts, args, all, last, .. } = &mut self.operator else {
            return Ok(Done::Taken);
        };
        let all = &*all;
        let value = record.value.unwrap_or_default();
        if !keys.run(value, record, row)? {
            // Out by WHERE, yet time has gone on.
            self.close(stream_time, state)?;
            return Ok(Done::Taken);
        }
        let made = match texts {
            Some(texts) => unambiguous(texts, key, record)?,
            None => None,
        };
        let key = made.as_deref().unwrap_or(key);
        let prefix = keyed(space | ROWS, key, &[]);
        let (from, to) = (record.time.saturating_sub(gap), record.time.saturating_add(gap));
        let mut near: Vec<Session> = Vec::new();
        let mut whole = true;
        self.pending.scan(state, &prefix, &mut |place, entry| {
            let start = place.get(prefix.len()..).and_then(|rest| rest.first_chunk::<8>());
            let Some(start) = start.map(|start| unsorted(*start)) else { return true };
            let mut bytes = Bytes(entry);
            let mut read = || {
                let (was, _) = read_head(&mut bytes)?;
                let end = bytes.long()?;
                let memories = if end >= from { Some(read_memories(&mut bytes, all)?) } else { None };
                Some(memories.map(|memories| Session { start, end, was, memories }))
            };
            if start <= to {
                match read() {
                    Some(session) => near.extend(session),
                    None => whole = false,
                }
            }
            start <= to
        })?;
        if !whole {
            return Err(BROKEN.into());
        }
        let start = near.iter().map(|s| s.start).fold(record.time, i64::min);
        let end = near.iter().map(|s| s.end).fold(record.time, i64::max);
        let closes = |end: i64| end.saturating_add(gap).saturating_add(grace).saturating_add(1);
        if closes(end) <= stream_time {
            self.close(stream_time, state)?;
            return Ok(Done::Late);
        }
        let mut own = vec![Memory::default(); all.len()];
        args.values(value, record, |i, value| match (all.get(i), own.get_mut(i)) {
            (Some(aggregate), Some(memory)) => {
                aggregate.add(memory, value)?;
                aggregate.stamp(memory, record.offset);
                Ok(())
            }
            _ => Ok(()),
        })?;
        let mut memories = vec![Memory::default(); all.len()];
        let mut was = None;
        for session in near {
            for ((aggregate, memory), other) in all.iter().zip(&mut memories).zip(&session.memories) {
                aggregate.merge(memory, other)?;
            }
            let place = [&prefix[..], &sorted(session.start)].concat();
            let index = [&[space | CLOSES][..], &sorted(closes(session.end)), &place].concat();
            self.pending.put(index, None);
            if session.start == start {
                was = session.was;
            } else {
                // It is one with an earlier session, or begins earlier itself.
                let gone = windowed(key, Some(session.start));
                Task::settle(&mut self.pending, &gone, session.was, None, record.time);
                self.pending.put(place, None);
            }
        }
        for ((aggregate, memory), other) in all.iter().zip(&mut memories).zip(&own) {
            aggregate.merge(memory, other)?;
        }
        let mut now = was;
        if !*last {
            let bounds = Some((start, end));
            now = show(
                &mut self.select,
                &mut self.pending,
                &mut self.group.shown,
                key,
                row,
                bounds,
                all,
                &memories,
                was,
                record,
            )?;
        }
        let mut entry = vec![FORM, u8::from(now.is_some())];
        entry.extend_from_slice(now.as_ref().map_or(&[], |hash| hash));
        put_blob(&mut entry, row);
        put_long(&mut entry, end);
        memories.iter().for_each(|memory| memory.write(&mut entry));
        let place = [&prefix[..], &sorted(start)].concat();
        let index = [&[space | CLOSES][..], &sorted(closes(end)), &place].concat();
        self.pending.put(place, Some(entry));
        self.pending.put(index, Some(vec![FORM]));
        self.clock.next_close = self.clock.next_close.map(|next| next.min(closes(end)));
        self.close(stream_time, state)?;
        Ok(Done::Taken)
    }
}
