//! What many tasks ask of one record, found out in one walk: its event time, and which of them it concerns at all.

use std::sync::Arc;

use weir_avro::{Limits, Logical, Schema, Slot, Utf8, Walker, recycle};
use weir_expr::sql::{self, Expr};
use weir_expr::{Input, Program, Wanted};

use crate::clock::millis;
use crate::relation::Relation;
use crate::task::Record;

/// The condition of a task on which a record that does not meet it leaves no trace.
#[derive(Clone, Debug)]
pub struct Condition {
    pub(crate) schema: Arc<Schema>,
    pub(crate) expr: Expr,
    pub(crate) salt: String,
}

/// One walk over the values of a relation for all who read it.
#[derive(Debug)]
pub struct Sieve {
    walker: Walker,
    clock: Option<Option<Logical>>,
    tests: Vec<(u64, Program)>,
    /// The bits of all tasks without a condition.
    always: u64,
    slots: Vec<Slot<'static>>,
}

/// What a look at a record has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The event time in its value, if it has one.
    pub time: Option<i64>,
    /// The bits of the tasks that it concerns.
    pub concerns: u64,
}

impl Sieve {
    /// How many tasks one of it serves.
    pub const MOST: usize = 64;

    /// For tasks that read the relation, the n-th of which has the n-th bit; the first [`Sieve::MOST`]. `None` where there
    /// is nothing to look for in a value.
    pub fn new(relation: &Relation, tasks: &[Option<&Condition>]) -> Option<Sieve> {
        let schema = &relation.schema;
        let mut wanted = Wanted::new();
        let clock = relation.event_time.as_ref().and_then(|path| {
            let node = schema.non_null(schema.find(path)?).0;
            wanted.intern(path.clone());
            Some(schema.node(node).logical)
        });
        let (mut tests, mut always) = (Vec::new(), u64::MAX);
        for (i, condition) in tasks.iter().enumerate().take(Self::MOST) {
            let Some(Condition { schema: of, expr, salt }) = condition else { continue };
            if Arc::ptr_eq(of, schema) || of.canonical_form() == schema.canonical_form() {
                // The task itself was compiled from the same expression: what fails here it says itself.
                if let Ok((program, _)) = sql::compile(expr, schema, salt, &mut wanted) {
                    tests.push((1 << i, program));
                    always &= !(1 << i);
                }
            }
        }
        if wanted.paths().is_empty() && tests.is_empty() {
            return None;
        }
        let walker = Walker::new(Arc::clone(schema), wanted.paths(), Limits::default()).ok()?;
        Some(Sieve { walker, clock, tests, always, slots: Vec::new() })
    }

    /// Looks at a record whose time is that of the record itself as yet. One that has no value, or one that is no datum
    /// of the schema, concerns all: each task says what it thinks of it.
    pub fn look(&mut self, record: &Record<'_>) -> Looked {
        let Some(value) = record.value else { return Looked { time: None, concerns: u64::MAX } };
        let mut slots = recycle(std::mem::take(&mut self.slots));
        let looked = match self.walker.walk(value, &mut slots) {
            Err(_) => Looked { time: None, concerns: u64::MAX },
            Ok(()) => {
                let time = self.clock.and_then(|logical| millis(slots.first()?, logical));
                let input = Input {
                    key: record.key.and_then(Utf8::new).map_or(Slot::Null, Slot::Str),
                    headers: record.headers,
                    now_ms: time.unwrap_or(record.time),
                    partition: record.partition,
                    offset: record.offset,
                    ..Input::new(self.walker.schema(), &slots)
                };
                let met = self.tests.iter().filter(|(_, program)| !matches!(program.test(&input), Ok(false)));
                Looked { time, concerns: met.fold(self.always, |all, (bit, _)| all | bit) }
            }
        };
        self.slots = recycle(slots);
        looked
    }
}
