//! From what a task puts out to records of the open transaction: the output with the id of its schema in front, held
//! against the view's own contract, or to the view's quarantine.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;
use weir_avro::{Slot, recycle};
use weir_contract::{Action, Binding, Code, CompiledObject, Event, Outcome, SchemaRef, Source, attempts, decide, plan};
use weir_kafka::{Outgoing, TransactionError, TransactionalWriter};
use weir_pump::Header;
use weir_view::{Emit, Of, Output, StageInput, Undefined};

use crate::views::View;

/// The most bytes of a reason in a header.
const MAX_REASON: usize = 512;

/// The contract of a view, ready to check what it writes.
pub struct Checker {
    object: Arc<CompiledObject>,
    binding: Binding,
    slots: Vec<Slot<'static>>,
}

impl Checker {
    /// Binds the contract to the schema of the output.
    ///
    /// # Errors
    /// Why the schema does not go with the contract.
    pub fn new(object: &Arc<CompiledObject>, view: &View) -> Result<Checker, String> {
        let binding = object
            .bind(Arc::clone(&view.plan.output.schema))
            .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        Ok(Checker { object: Arc::clone(object), binding, slots: Vec::new() })
    }

    /// The headers of a quarantine entry, or of a warning, for an output that breaks the contract.
    fn check(&mut self, output: &Output<'_>, headers: &[Header<'_>], at: &Input<'_>, schema_id: u32) -> Option<Action> {
        let event = Event {
            key: output.key,
            body: output.value.unwrap_or_default(),
            headers,
            timestamp_ms: Some(output.time),
            now_ms: output.time,
        };
        let mut slots = recycle(std::mem::take(&mut self.slots));
        let outcome = match output.value {
            Some(_) => self.binding.check(&event, &mut slots),
            None => self.object.check_tombstone(&event),
        };
        self.slots = recycle(slots);
        let verdict = decide(&self.object, outcome);
        if verdict.outcome() == Outcome::Accepted {
            return None;
        }
        let source = Source {
            topic: at.topic,
            partition: at.partition,
            offset: at.offset,
            schema_id: Some(SchemaRef::Id(schema_id)),
            attempt: attempts(headers) + 1,
        };
        Some(plan(&self.object, &verdict, &source))
    }
}

/// The record of an input that is being processed.
#[derive(Clone, Copy)]
pub struct Input<'r> {
    /// Its topic.
    pub topic: &'r str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key as it came.
    pub key: Option<&'r [u8]>,
    /// Its value as it came.
    pub value: Option<&'r [u8]>,
    /// Its time, in milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// Its headers.
    pub headers: &'r [Header<'r>],
}

/// What a view has written since the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Records of the output.
    pub emitted: u64,
    /// Tombstones among them.
    pub deleted: u64,
    /// Entries of its quarantine.
    pub quarantined: u64,
}

/// Writes what one record brings about.
pub struct Emitter<'e> {
    /// The open transaction.
    pub writer: &'e mut TransactionalWriter,
    /// The view.
    pub view: &'e View,
    /// The topic that is written: that of the view, or one between two of its stages.
    pub topic: &'e str,
    /// The id of the schema of what is written, which goes in front of each value; none between stages.
    pub schema_id: Option<u32>,
    /// The topic of the quarantine.
    pub quarantine: &'e str,
    /// The partition of the task; what it puts out lies in the same one, unless it has a new key.
    pub partition: i32,
    /// Whether the key of the output chooses its partition.
    pub rekeyed: bool,
    /// The record that is being processed.
    pub input: Input<'e>,
    /// The contract of the output.
    pub checker: Option<&'e mut Checker>,
    /// Room for a value with its frame.
    pub value: &'e mut Vec<u8>,
    /// What was written so far.
    pub written: &'e mut Written,
    /// The first record that could not be queued: the transaction is to be undone.
    pub failed: Option<TransactionError>,
}

impl Emit for Emitter<'_> {
    fn emit(&mut self, output: Output<'_>) {
        let headers = if output.headers { self.input.headers } else { &[] };
        let checked = match &mut self.checker {
            Some(checker) => checker.check(&output, headers, &self.input, self.view.schema_id),
            None => None,
        };
        self.value.clear();
        if let Some(value) = output.value {
            if let Some(id) = self.schema_id {
                self.value.push(0);
                self.value.extend(id.to_be_bytes());
            }
            self.value.extend_from_slice(value);
        }
        let partition = (!self.rekeyed).then_some(self.partition);
        let mut out = Outgoing {
            topic: self.topic,
            partition,
            key: output.key,
            value: output.value.map(|_| self.value.as_slice()),
            headers,
            timestamp: Some(output.time),
        };
        let added = match &checked {
            None | Some(Action::Forward) => None,
            Some(Action::ForwardWith(added)) => Some(added),
            Some(Action::Quarantine(added)) => {
                out.topic = self.quarantine;
                out.partition = Some(self.partition);
                Some(added)
            }
        };
        if out.topic == self.quarantine {
            self.written.quarantined += 1;
        } else if self.schema_id.is_some() {
            self.written.emitted += 1;
            self.written.deleted += u64::from(output.value.is_none());
        }
        let all: Vec<Header<'_>> = match added {
            Some(added) => {
                let ours = added.iter().map(|(name, value)| (&**name, Some(value.as_slice())));
                headers.iter().copied().chain(ours).collect()
            }
            None => Vec::new(),
        };
        if added.is_some() {
            out.headers = &all;
        }
        if let Err(error) = self.writer.send(&out) {
            self.failed.get_or_insert(error);
        }
    }
}

impl Emitter<'_> {
    /// Puts the input record aside as it came, with the reason behind its own headers.
    pub fn put_aside(&mut self, reason: &str) {
        let record = self.input;
        self.quarantine(&record, reason);
    }

    /// Puts aside what a row is made of that has no value: the input record, or one that was held, as the state has it, or
    /// the row itself, which the input record has made due.
    pub fn put_undefined(&mut self, row: &Undefined, inputs: &[StageInput]) {
        let bare = Input { headers: &[], ..self.input };
        let made = match &row.of {
            Of::Group => self.input,
            Of::Held { input, offset, key, value, time } => Input {
                topic: inputs.get(*input).map_or(bare.topic, |input| &input.relation.topic),
                offset: *offset,
                key: Some(key),
                value: Some(value),
                timestamp: Some(*time),
                ..bare
            },
            Of::Row { key, row, time } => {
                Input { key: Some(key), value: row.as_deref().map(str::as_bytes), timestamp: Some(*time), ..bare }
            }
        };
        self.quarantine(&made, &row.reason);
    }

    fn quarantine(&mut self, record: &Input<'_>, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        let violations = json!({
            "violations": [{"code": Code::ViewFailed.name(), "rule": "view", "path": "this", "mode": "enforce", "message": reason}],
            "omitted": 0,
        });
        self.written.quarantined += 1;
        self.pass_on(
            self.quarantine,
            record,
            &[
                ("weir.violations", violations.to_string().into()),
                ("weir.attempt", (attempts(record.headers) + 1).to_string().into()),
                ("__connect.errors.topic", record.topic.into()),
                ("__connect.errors.partition", record.partition.to_string().into()),
                ("__connect.errors.offset", record.offset.to_string().into()),
                ("__connect.errors.exception.message", format!("{}: {reason}", Code::ViewFailed).into()),
            ],
        );
    }

    /// Writes the input record as it came to the topic of those that came too late.
    pub fn put_late(&mut self, topic: &str) {
        let record = self.input;
        self.pass_on(topic, &record, &[]);
    }

    /// Writes a record, its bytes as they came, with where it comes from and more behind its headers.
    fn pass_on(&mut self, topic: &str, from: &Input<'_>, more: &[(&str, Cow<'_, str>)]) {
        let ours: [(&str, Cow<'_, str>); 4] = [
            ("weir.contract", format!("{}@{}", self.view.id, self.view.version).into()),
            ("weir.source.topic", from.topic.into()),
            ("weir.source.partition", from.partition.to_string().into()),
            ("weir.source.offset", from.offset.to_string().into()),
        ];
        let ours = ours.iter().chain(more).map(|(name, value)| (*name, Some(value.as_bytes())));
        let headers: Vec<Header<'_>> = from.headers.iter().copied().chain(ours).collect();
        let Input { key, value, timestamp, .. } = *from;
        let out = Outgoing { topic, partition: Some(self.partition), key, value, headers: &headers, timestamp };
        if let Err(error) = self.writer.send(&out) {
            self.failed.get_or_insert(error);
        }
    }
}
