//! Two streams whose records meet where their times lie no further apart than a distance.
//!
//! A record is kept until its window has closed: until the stream time is beyond its time, the distance and the grace
//! together. What has met nothing by then is said once where the join is an outer one on its side, and dropped.

use weir_avro::put_long;

use super::{ALONE, BROKEN, CLOSES, Done, FORM, Fault, Of, Operator, ROWS, Record, Task, Undefined, keyed};
use crate::bytes::{sorted, unsorted};
use crate::sql::How;
use crate::state::State;

/// The other side of a pair: the key of its entry, its time and its value.
type Met = (Vec<u8>, i64, Vec<u8>);

impl Task {
    pub(super) fn within(
        &mut self,
        input: usize,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let Operator::Within { how, within } = self.operator else { return Ok(Done::Taken) };
        let outer = |side: usize| how == How::Full || (how == How::Left && side == 0);
        let stream_time = self.stream_time(record.time, state)?;
        for (index, place) in self.due(stream_time, state)? {
            let (key, side, time, offset) = split_place(&place).ok_or(BROKEN)?;
            let mut entry = Vec::new();
            if outer(side) && self.pending.get(state, &place, &mut entry)? && entry.get(1) == Some(&0) {
                let old = Record { key: Some(key), value: None, time, partition: 0, offset: 0, headers: &[] };
                let value = entry.get(2..).unwrap_or_default();
                match self.pair(side, value, None, &old, row) {
                    Ok(_) => {}
                    // Its fault is not that of the record that has closed the window.
                    Err(Fault::Record(fault)) => {
                        let (key, value) = (key.to_vec(), value.to_vec());
                        let of = Of::Held { input: side, offset, key, value, time };
                        self.pending.undefined.push(Undefined { of, reason: format!("{ALONE}: {fault}") });
                    }
                    Err(fault) => return Err(fault),
                }
            }
            self.pending.put(place, None);
            self.pending.put(index, None);
        }
        self.pending.held = self.pending.outputs();
        let close = record.time.saturating_add(within.distance).saturating_add(within.grace).saturating_add(1);
        if close <= stream_time {
            return Ok(Done::Late);
        }
        let value = record.value.unwrap_or_default();
        let Some(key) = record.key else {
            if !outer(input) {
                return Ok(Done::NoKey);
            }
            self.pair(input, value, None, &Record { headers: &[], ..*record }, row)?;
            return Ok(Done::Taken);
        };
        let other = 1 - input.min(1);
        let prefix = keyed(self.space | ROWS, key, &[other as u8]);
        let (from, to) = (record.time.saturating_sub(within.distance), record.time.saturating_add(within.distance));
        let mut met: Vec<Met> = Vec::new();
        state.scan(&prefix, &mut |place, entry| {
            let time = place.get(prefix.len()..).and_then(|rest| rest.first_chunk::<8>());
            let Some(time) = time.map(|time| unsorted(*time)) else { return true };
            if time >= from && time <= to {
                met.push((place.to_vec(), time, entry.to_vec()));
            }
            time <= to
        })?;
        for (place, time, entry) in &mut met {
            let both = Record { time: record.time.max(*time), headers: &[], ..*record };
            let old = entry.get(2..).ok_or(BROKEN)?;
            self.pair(input, value, Some(old), &both, row)?;
            if outer(other) && entry.get(1) == Some(&0) {
                entry[1] = 1;
                self.pending.put(std::mem::take(place), Some(std::mem::take(entry)));
            }
        }
        let place =
            [&prefix[..prefix.len() - 1], &[input as u8], &sorted(record.time), &sorted(record.offset)].concat();
        let index = [&[self.space | CLOSES][..], &sorted(close), &place].concat();
        self.pending.put(place, Some([&[FORM, u8::from(!met.is_empty())][..], value].concat()));
        self.pending.put(index, Some(vec![FORM]));
        self.clock.next_close = self.clock.next_close.map(|next| next.min(close));
        Ok(Done::Taken)
    }

    /// Puts out a pair, or one side alone.
    fn pair(
        &mut self,
        side: usize,
        value: &[u8],
        other: Option<&[u8]>,
        record: &Record<'_>,
        row: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let Operator::Within { how, .. } = self.operator else { return Ok(Done::Taken) };
        row.clear();
        let sides = if side == 0 { [Some(value), other] } else { [other, Some(value)] };
        for (value, nullable) in sides.into_iter().zip([how == How::Full, how != How::Inner]) {
            if nullable {
                put_long(row, i64::from(value.is_some()));
            }
            row.extend_from_slice(value.unwrap_or_default());
        }
        self.joined(row, record, false)
    }
}

/// The key, the side, the time and the offset in the key of an entry.
fn split_place(place: &[u8]) -> Option<(&[u8], usize, i64, i64)> {
    let (length, rest) = place.get(1..)?.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (side, rest) = rest.split_first()?;
    let (time, offset) = rest.split_first_chunk::<8>()?;
    Some((key, usize::from(*side), unsorted(*time), unsorted(*offset.first_chunk::<8>()?)))
}
