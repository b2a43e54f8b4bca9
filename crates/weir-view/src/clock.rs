//! The event time of records, read again and again from one field.

use std::sync::Arc;

use weir_avro::{Limits, Logical, Slot, Walker, recycle};

use crate::relation::Relation;

/// Reads the event time of a relation's values.
#[derive(Debug)]
pub struct Clock {
    walker: Walker,
    logical: Option<Logical>,
    slots: Vec<Slot<'static>>,
}

impl Clock {
    /// The clock of a relation; `None` where the record's own timestamp counts.
    pub fn of(relation: &Relation) -> Option<Clock> {
        let path = relation.event_time.clone()?;
        let node = relation.schema.non_null(relation.schema.find(&path)?).0;
        let logical = relation.schema.node(node).logical;
        let walker = Walker::new(Arc::clone(&relation.schema), &[path], Limits::default()).ok()?;
        Some(Clock { walker, logical, slots: Vec::new() })
    }

    /// The time in a value, in milliseconds since the epoch; `None` where it has none, or is no datum of the schema.
    pub fn time_of(&mut self, value: &[u8]) -> Option<i64> {
        let mut slots = recycle(std::mem::take(&mut self.slots));
        let walked = self.walker.walk(value, &mut slots);
        let time = walked.ok().and_then(|()| millis(slots.first()?, self.logical));
        self.slots = recycle(slots);
        time
    }
}

/// A time of that logical type in milliseconds since the epoch.
pub(crate) fn millis(slot: &Slot<'_>, logical: Option<Logical>) -> Option<i64> {
    let Slot::Long(ticks) = slot else { return None };
    Some(match logical {
        Some(Logical::TimestampMicros | Logical::LocalTimestampMicros) => ticks.div_euclid(1_000),
        Some(Logical::TimestampNanos | Logical::LocalTimestampNanos) => ticks.div_euclid(1_000_000),
        _ => *ticks,
    })
}
