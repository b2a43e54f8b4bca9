//! Aggregates over a table: each change takes the old row out of its group and puts the new one in.

use weir_avro::{put_blob, put_long};

use super::windows::{read_head, read_memories, show};
use super::{BROKEN, Done, FORM, Fault, Of, Operator, ROWS, Record, Task, Undefined, keyed};
use crate::aggregate::Memory;
use crate::bytes::Bytes;
use crate::state::State;

/// In the entry of a group, in place of whether a row of it is in the output: there is none, for it has no value.
const FAILED: u8 = 2;

impl Task {
    pub(super) fn regroup(&mut self, record: &Record<'_>, state: &dyn State, row: &mut Vec<u8>) -> Result<Done, Fault> {
        let Operator::Aggregate { changes: Some(changes), keys, args, all, .. } = &mut self.operator else {
            return Ok(Done::Taken);
        };
        let Some(key) = record.key else { return Ok(Done::NoKey) };
        let (old, new) = changes.split(record.value.unwrap_or_default())?;
        let place = keyed(self.space | ROWS, key, &[]);
        let mut found = Vec::new();
        let (mut was, mut rows, mut memories) = (None, 0, vec![Memory::default(); all.len()]);
        if self.pending.get(state, &place, &mut found)? {
            let mut bytes = Bytes(&found);
            was = read_head(&mut bytes).ok_or(BROKEN)?.0;
            rows = bytes.long().ok_or(BROKEN)?;
            memories = read_memories(&mut bytes, all).ok_or(BROKEN)?;
        }
        if let Some(old) = old {
            rows -= 1;
            args.values(old, record, |i, value| match (all.get(i), memories.get_mut(i)) {
                (Some(aggregate), Some(memory)) => aggregate.remove(memory, value),
                _ => Ok(()),
            })?;
        }
        if let Some(new) = new {
            rows += 1;
            args.values(new, record, |i, value| match (all.get(i), memories.get_mut(i)) {
                (Some(aggregate), Some(memory)) => aggregate.add(memory, value),
                _ => Ok(()),
            })?;
        }
        if rows <= 0 {
            Task::settle(&mut self.pending, key, was, None, record.time);
            self.pending.put(place, None);
            return Ok(Done::Taken);
        }
        keys.run(new.or(old).unwrap_or_default(), record, row)?;
        let shown = show(
            &mut self.select,
            &mut self.pending,
            &mut self.group.shown,
            key,
            row,
            None,
            all,
            &memories,
            was,
            record,
        );
        let (now, state) = match shown {
            Ok(now) => (now, u8::from(now.is_some())),
            // What another task has put in it will take out again, whatever the row of the group is worth meanwhile.
            Err(fault) if changes.apart => {
                // Once, until the row has a value again.
                if found.get(1) != Some(&FAILED) {
                    let reason = format!("the row of the group: {fault}");
                    self.pending.undefined.push(Undefined { of: Of::Group, reason });
                }
                (Task::settle(&mut self.pending, key, was, None, record.time), FAILED)
            }
            Err(fault) => return Err(fault.into()),
        };
        let mut entry = vec![FORM, state];
        entry.extend_from_slice(now.as_ref().map_or(&[], |hash| hash));
        put_blob(&mut entry, row);
        put_long(&mut entry, rows);
        memories.iter().for_each(|memory| memory.write(&mut entry));
        self.pending.put(place, Some(entry));
        Ok(Done::Taken)
    }
}
