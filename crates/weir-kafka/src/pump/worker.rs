//! One worker: a thread that owns a consumer and a producer, and everything that can happen between them.
//!
//! It works in sessions. A session is one consumer's membership in the group; it ends when the pump stops, or when the
//! consumer is of no use any more, and then the next one begins. Inside a session every round does the same, in this
//! order: take over new routes, seek what has to be read again, resume what was stalled, poll, answer a rebalance,
//! process, commit if it is time.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use weir_pump::{Action, Header, Outcome, Progress, RecordView, Run, Stage, WorkerState};

use super::context::{Event, Member, MemberContext, answer, member_config};
use super::lane::{Lane, Lanes};
use super::output::{perform, write_unreadable};
use super::shared::Shared;
use super::transaction::{Transaction, Trouble, producer_config};
use super::unreadable::Prober;
use crate::Error;
use crate::error::code_of;
use crate::reader::is_unreadable;
use crate::record::{timestamp, visit_headers};

/// How long to wait for records when there is nothing else to do.
const IDLE: Duration = Duration::from_millis(100);
/// Records polled before they are processed.
const BATCH_RECORDS: usize = 500;
/// Bytes of values polled before they are processed: polled records are held in memory.
const BATCH_BYTES: usize = 4 << 20;
/// How long a call into the client that should be local may take.
const LOCAL: Duration = Duration::from_secs(10);

/// Runs a worker to its end.
///
/// # Errors
/// Why it ended although nobody asked it to.
pub(super) fn run(shared: &Shared, index: usize, mut stage: Box<dyn Stage + Send>) -> Result<(), String> {
    let mut transaction = Transaction::new(shared, index);
    while !shared.is_stopping() {
        match session(shared, index, &mut transaction, &mut *stage) {
            Ok(()) => break,
            Err(Trouble::Fatal(reason)) => return Err(reason),
            Err(trouble) => {
                tracing::warn!(worker = index, %trouble, "consumer is given up, starting anew");
                shared.set_state(index, WorkerState::Waiting(format!("starting anew: {trouble}")));
                transaction.forget();
                pause(shared, Duration::from_secs(1));
            }
        }
    }
    transaction.forget();
    Ok(())
}

/// Makes a client of each kind for nothing, to see that its configuration is accepted.
pub(super) fn check_config(shared: &Shared) -> Result<(), Error> {
    for config in [member_config(shared, 0), producer_config(shared, 0, 1)] {
        config.create_native_config().map_err(|e| Error::of("configure a client", &e))?;
    }
    Ok(())
}

fn session<'s>(
    shared: &'s Shared,
    index: usize,
    transaction: &mut Transaction<'s>,
    stage: &mut dyn Stage,
) -> Result<(), Trouble> {
    // The producer first: becoming the owner of the transactional id undoes what a predecessor left open, which would
    // otherwise hold up reading the group's positions until it times out.
    transaction.connect()?;
    let member = member_config(shared, index)
        .create_with_context(MemberContext::default())
        .map(Member)
        .map_err(|error| Trouble::Restart(error.to_string()))?;
    let mut session = Session {
        shared,
        index,
        consumer: &member.0,
        transaction,
        stage,
        lanes: Lanes::default(),
        routes_version: 0,
        damaged: None,
        failures: 0,
        published: None,
        actions: Vec::new(),
    };
    let ended = session.work().and_then(|()| session.leave());
    drop(session);
    // Leaving the group can hang in the client.
    shared.watched(index, || drop(member));
    ended
}

struct Session<'c, 's, 'w> {
    shared: &'s Shared,
    index: usize,
    consumer: &'c BaseConsumer<MemberContext>,
    transaction: &'w mut Transaction<'s>,
    stage: &'w mut dyn Stage,
    lanes: Lanes,
    routes_version: u64,
    /// What the client said of a batch it could not read, until that has been looked into.
    damaged: Option<String>,
    /// Transactions that failed since one was committed.
    failures: u32,
    /// When the status was last published; `None` to do it at once.
    published: Option<Instant>,
    actions: Vec<Action>,
}

type Batch<'c> = Vec<BorrowedMessage<'c>>;

impl<'c> Session<'c, '_, '_> {
    fn work(&mut self) -> Result<(), Trouble> {
        let mut batch = Batch::new();
        while !self.shared.is_stopping() {
            self.take_routes()?;
            self.seek()?;
            self.resume()?;
            self.poll(&mut batch)?;
            while let Some(event) = self.consumer.context().next_event() {
                self.rebalance(event, &mut batch)?;
            }
            self.process(&mut batch)?;
            if self.transaction.due_in() == Some(Duration::ZERO) {
                self.finish(&mut batch)?;
            }
            if let Some(why) = self.damaged.take() {
                self.examine(&why)?;
            }
            self.publish();
        }
        Ok(())
    }

    /// Stops in order: nothing is polled any more, what is open is committed, the group is left. Dropping a consumer
    /// that still has partitions can hang, so it is polled until they are gone.
    fn leave(&mut self) -> Result<(), Trouble> {
        let mut batch = Batch::new();
        self.finish(&mut batch)?;
        self.consumer.unsubscribe();
        while !self.lanes.is_empty() && self.shared.stop_by().is_some_and(|by| Instant::now() < by) {
            // Records that still come are not taken: whoever gets the partition reads them.
            drop(self.consumer.poll(Duration::from_millis(20)));
            while let Some(event) = self.consumer.context().next_event() {
                self.rebalance(event, &mut batch)?;
            }
        }
        Ok(())
    }

    fn take_routes(&mut self) -> Result<(), Trouble> {
        if self.routes_version == self.shared.routes_version() {
            return Ok(());
        }
        // A transaction belongs to one set of routes.
        self.finish(&mut Batch::new())?;
        let (version, routes) = self.shared.routes();
        for route in routes.iter() {
            self.lanes.set_route(route);
        }
        let topics: Vec<&str> = routes.iter().map(|route| route.source.as_str()).collect();
        if topics.is_empty() {
            self.consumer.unsubscribe();
        } else {
            self.consumer.subscribe(&topics).map_err(|error| Trouble::Restart(error.to_string()))?;
        }
        self.routes_version = version;
        self.shared.set_state(self.index, WorkerState::Running);
        Ok(())
    }

    /// Goes back to what has to be read again. The client drops what it has already fetched of these partitions.
    fn seek(&mut self) -> Result<(), Trouble> {
        let mut list = TopicPartitionList::new();
        for (partition, lane) in self.lanes.iter_mut() {
            if let Some(offset) = lane.rewind.take() {
                add(&mut list, &lane.route.source, partition, offset)?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let restart = |error: KafkaError| Trouble::Restart(format!("cannot seek: {error}"));
        let sought = self.shared.watched(self.index, || self.consumer.seek_partitions(list, LOCAL)).map_err(restart)?;
        sought.elements().iter().try_for_each(|element| element.error()).map_err(restart)
    }

    fn resume(&mut self) -> Result<(), Trouble> {
        let mut list = TopicPartitionList::new();
        let now = Instant::now();
        for (partition, lane) in self.lanes.iter_mut() {
            if lane.stall.as_ref().is_some_and(|stall| stall.until <= now) {
                lane.stall = None;
                list.add_partition(&lane.route.source, partition);
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.resume(&list).map_err(|error| Trouble::Restart(format!("cannot resume: {error}")))
    }

    /// Fills the batch with what there is, waiting for the first record no longer than until something else is due.
    fn poll(&mut self, batch: &mut Batch<'c>) -> Result<(), Trouble> {
        let resume = self.lanes.next_resume().map(|at| at.saturating_duration_since(Instant::now()));
        let due = self.transaction.due_in();
        let mut wait = IDLE.min(resume.unwrap_or(IDLE)).min(due.unwrap_or(IDLE));
        let mut bytes = 0;
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    bytes += message.payload_len();
                    batch.push(message);
                }
                Some(Err(error)) => {
                    self.note(&error)?;
                    if self.damaged.is_some() {
                        // What was polled so far lies before the damage; what comes next may lie behind it.
                        break;
                    }
                }
                None => break,
            }
            // A rebalance is answered before anything else is polled: records polled before it are told apart from
            // those of the next assignment by nothing but this.
            if self.consumer.context().has_event() {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn note(&mut self, error: &KafkaError) -> Result<(), Trouble> {
        let code = code_of(error);
        match error {
            KafkaError::MessageConsumptionFatal(_) => return Err(Trouble::Restart(error.to_string())),
            _ if code.is_some_and(is_unreadable) => self.damaged = Some(self.consumer.context().last_error()),
            // A topic that is not there yet, a broker that is away: librdkafka tries again by itself.
            _ => tracing::debug!(worker = self.index, %error, "consumer reports an error"),
        }
        Ok(())
    }

    /// Answers a change of the assignment. Both calls are ours to make, and their errors ours to see.
    fn rebalance(&mut self, event: Event, batch: &mut Batch<'c>) -> Result<(), Trouble> {
        let restart = |error: KafkaError| Trouble::Restart(format!("cannot take over an assignment: {error}"));
        let cooperative = matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        match &event {
            Event::Assign(list) => {
                let (_, routes) = self.shared.routes();
                for element in list.elements() {
                    // Its route has just gone, and may come back: never assigned is simpler than assigned and unread.
                    let Some(route) = routes.iter().find(|route| route.source == element.topic()) else {
                        return Err(Trouble::Restart(format!("topic {} has no route any more", element.topic())));
                    };
                    let progress = Progress::new(route.source.as_str().into(), Arc::clone(&self.shared.ledger));
                    self.lanes.insert(element.partition(), Lane::new(route, progress));
                }
                tracing::info!(worker = self.index, partitions = list.count(), "partitions assigned");
            }
            Event::Revoke(list) => {
                // The last chance to commit what was done: after the answer the partitions belong to another member.
                // If they were lost they already do, and the transaction must be undone.
                if self.consumer.assignment_lost() {
                    self.recover(Trouble::Abort("the partitions were lost to another member".to_owned()), batch)?;
                } else {
                    self.finish(batch)?;
                }
                if cooperative {
                    for element in list.elements() {
                        self.lanes.remove(element.topic(), element.partition());
                    }
                    // Polled and not processed: the next owner reads them, so they must not be processed here.
                    batch.retain(|message| self.lanes.get(message.topic(), message.partition()).is_some());
                } else {
                    self.lanes = Lanes::default();
                    batch.clear();
                }
                tracing::info!(worker = self.index, partitions = list.count(), "partitions revoked");
            }
        }
        answer(self.consumer, &event).map_err(restart)?;
        self.published = None;
        Ok(())
    }

    /// Shows the batch to the stage, run by run, and performs what it says.
    fn process(&mut self, batch: &mut Batch<'c>) -> Result<(), Trouble> {
        let mut start = 0;
        while let Some(first) = batch.get(start) {
            let same = |message: &BorrowedMessage<'_>| {
                message.topic_ptr() == first.topic_ptr() && message.partition() == first.partition()
            };
            let end = start + batch[start..].iter().take_while(|message| same(message)).count();
            let done = self.process_run(&batch[start..end]).and_then(|()| self.transaction.poll());
            if let Err(trouble) = done {
                batch.drain(..start);
                return self.recover(trouble, batch);
            }
            start = end;
            if start < batch.len() && self.transaction.due_in() == Some(Duration::ZERO) {
                batch.drain(..start);
                start = 0;
                self.finish(batch)?;
            }
        }
        batch.clear();
        Ok(())
    }

    fn process_run(&mut self, messages: &[BorrowedMessage<'c>]) -> Result<(), Trouble> {
        let Some(first) = messages.first() else { return Ok(()) };
        // Dropped: records of a partition that is no longer ours, or that stalled and will be read again.
        let Some(lane) = self.lanes.get_mut(first.topic(), first.partition()) else { return Ok(()) };
        if lane.stall.is_some() {
            return Ok(());
        }
        let messages = &messages[messages.partition_point(|message| !lane.progress.is_due(message.offset()))..];
        let Some(first) = messages.first() else { return Ok(()) };
        let partition = first.partition();
        let route = Arc::clone(&lane.route);
        let limits = (self.shared.writable(&route.accepted, partition))
            .and_then(|accepted| Ok((accepted, self.shared.writable(&route.quarantine, partition)?)));
        let (accepted, quarantine) = match limits {
            Ok(limits) => limits,
            Err(reason) => return self.stall(&route.source, partition, first.offset(), reason),
        };
        let mut headers: Vec<Header<'_>> = Vec::new();
        let mut ends = Vec::with_capacity(messages.len());
        for message in messages {
            visit_headers(message.headers(), |header| headers.push(header));
            ends.push(headers.len());
        }
        let mut start = 0;
        let mut records = Vec::with_capacity(messages.len());
        for (message, end) in messages.iter().zip(ends) {
            records.push(RecordView {
                offset: message.offset(),
                timestamp: timestamp(message.timestamp()),
                key: message.key(),
                value: message.payload(),
                headers: &headers[start..end],
            });
            start = end;
        }
        let run = Run {
            route: &route,
            partition,
            records: &records,
            forward_limit: accepted.bytes,
            quarantine_limit: quarantine.bytes,
        };
        lane.progress.receive(&records);
        self.actions.clear();
        let mut stalled = self.stage.process(&run, &mut self.actions).err().map(|stall| stall.reason);
        if self.actions.len() > records.len() || (stalled.is_none() && self.actions.len() < records.len()) {
            // A stage that loses count may have mixed up its answers: none of them is performed.
            stalled = Some(format!("the stage gave {} answers for {} records", self.actions.len(), records.len()));
            self.actions.clear();
        }
        let judged = self.actions.len();
        for (index, action) in self.actions.drain(..).enumerate() {
            let outcome: Outcome = perform(self.transaction, self.stage, &run, index, &messages[index], action)?;
            lane.progress.act(records[index].offset, outcome);
        }
        match (stalled, records.get(judged)) {
            (Some(reason), Some(next)) => self.stall(&route.source, partition, next.offset, reason),
            _ => {
                lane.stalling.end();
                Ok(())
            }
        }
    }

    /// Pauses a partition that cannot be judged or written now; the others go on.
    fn stall(&mut self, topic: &str, partition: i32, offset: i64, reason: String) -> Result<(), Trouble> {
        let Some(lane) = self.lanes.get_mut(topic, partition) else { return Ok(()) };
        // Warned of once, if it lasts; the reason stands in the status from the first moment.
        match lane.set_stall(reason.clone(), self.shared.config.stall_backoff) {
            true => tracing::warn!(worker = self.index, topic, partition, offset, reason, "partition stalls"),
            false => tracing::debug!(worker = self.index, topic, partition, offset, reason, "partition stalls"),
        }
        lane.rewind = Some(offset);
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        self.published = None;
        self.consumer.pause(&list).map_err(|error| Trouble::Restart(format!("cannot pause: {error}")))
    }

    /// Commits the open transaction, if there is one, or sees to it that its records are read again.
    fn finish(&mut self, batch: &mut Batch<'c>) -> Result<(), Trouble> {
        if !self.transaction.is_open() {
            return Ok(());
        }
        let mut positions = TopicPartitionList::new();
        for (partition, lane) in self.lanes.iter_mut() {
            if let Some(position) = lane.progress.position() {
                add(&mut positions, &lane.route.source, partition, position)?;
            }
        }
        match self.transaction.commit(self.consumer, &positions) {
            Ok(()) => {
                self.lanes.iter_mut().filter(|(_, lane)| lane.progress.position().is_some()).for_each(|(_, lane)| {
                    lane.progress.commit();
                });
                if std::mem::take(&mut self.failures) > 0 {
                    self.shared.set_state(self.index, WorkerState::Running);
                }
                Ok(())
            }
            Err(trouble) => self.recover(trouble, batch),
        }
    }

    /// Undoes the open transaction, by abort or by a new producer, and has all its records, and those polled but not
    /// processed, read again.
    fn recover(&mut self, trouble: Trouble, batch: &mut Batch<'c>) -> Result<(), Trouble> {
        self.failures += 1;
        tracing::warn!(worker = self.index, %trouble, failures = self.failures, "transaction is undone");
        self.shared.set_state(self.index, WorkerState::Waiting(format!("transaction undone: {trouble}")));
        let timed_out = self.transaction.may_have_timed_out();
        let refused = match &trouble {
            Trouble::Refused { topic, partition, reason } => Some((topic.clone(), *partition, reason.clone())),
            _ => None,
        };
        let ended = match trouble {
            Trouble::Abort(_) | Trouble::Refused { .. } => self.transaction.abort(),
            other => Err(other),
        };
        let may_be_committed = self.transaction.may_be_committed();
        match ended {
            Ok(()) => {}
            // The coordinator ends an epoch for two reasons: a newer owner, or a transaction that took too long. One
            // that was shorter than the timeout leaves only the first, and two that fence each other for ever would
            // be the worst: this one ends.
            Err(Trouble::Fenced(_)) if !timed_out => {
                return Err(Trouble::Fatal(self.shared.fenced(self.index)));
            }
            Err(Trouble::Doubt(_) | Trouble::Fenced(_)) => {
                self.transaction.connect()?;
                if may_be_committed {
                    self.settle()?;
                }
            }
            Err(other) => return Err(other),
        }
        for (_, lane) in self.lanes.iter_mut() {
            lane.rewind = lane.progress.abort().or(lane.rewind);
        }
        for message in batch.drain(..) {
            if let Some(lane) = self.lanes.get_mut(message.topic(), message.partition()) {
                let offset = message.offset();
                lane.rewind = Some(lane.rewind.map_or(offset, |earlier| earlier.min(offset)));
            }
        }
        if let Some((topic, partition, reason)) = refused {
            self.stall_route(&topic, partition, &reason)?;
        }
        // A cluster in trouble is not helped by being asked faster. The first time costs next to nothing.
        let backoff = Duration::from_millis(10) * 2u32.saturating_pow(self.failures.min(8));
        pause(self.shared, backoff.min(Duration::from_secs(2)));
        self.shared.set_state(self.index, WorkerState::Running);
        Ok(())
    }

    /// After a doubtful end: the new producer has fenced the old one, so the group's positions tell what became of the
    /// transaction.
    fn settle(&mut self) -> Result<(), Trouble> {
        let mut open = TopicPartitionList::new();
        for (partition, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.progress.position().is_some()) {
            open.add_partition(&lane.route.source, partition);
        }
        let mut committed = None;
        while committed.is_none() && open.count() > 0 {
            let answer = self.consumer.committed_offsets(open.clone(), LOCAL);
            match answer.and_then(|list| list.elements().iter().try_for_each(|e| e.error()).map(|()| list)) {
                Ok(list) => committed = Some(list),
                Err(error) if self.shared.is_stopping() => return Err(Trouble::Restart(error.to_string())),
                Err(error) => {
                    tracing::warn!(worker = self.index, %error, "cannot read the group's positions, trying again");
                    pause(self.shared, Duration::from_millis(500));
                }
            }
        }
        for element in committed.iter().flat_map(TopicPartitionList::elements) {
            let position = match element.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            };
            if let Some(lane) = self.lanes.get_mut(element.topic(), element.partition()) {
                lane.rewind = lane.progress.settle(position).or(lane.rewind);
            }
        }
        Ok(())
    }

    /// Stalls the partition whose record an output topic refused.
    fn stall_route(&mut self, output: &str, partition: i32, reason: &str) -> Result<(), Trouble> {
        let mut found = None;
        for (at, lane) in self.lanes.iter_mut() {
            let writes = lane.route.accepted == output || lane.route.quarantine == output;
            if at == partition && writes && lane.stall.is_none() {
                found = lane.rewind.map(|offset| (lane.route.source.clone(), offset));
            }
        }
        let Some((source, offset)) = found else { return Ok(()) };
        self.stall(&source, partition, offset, format!("a record is refused: {reason}"))
    }

    /// Looks for the damaged batch the client complained of. Everything polled before the complaint is processed.
    fn examine(&mut self, why: &str) -> Result<(), Trouble> {
        tracing::error!(worker = self.index, why, "a batch cannot be read");
        self.finish(&mut Batch::new())?;
        self.seek()?;
        let restart = |error: Error| Trouble::Restart(error.to_string());
        let prober = Prober::new(&self.shared.cluster).map_err(restart)?;
        for (topic, partition) in self.lanes.keys() {
            let Some(lane) = self.lanes.get_mut(&topic, partition) else { continue };
            let from = match lane.progress.next() {
                Some(next) => next,
                None => prober.start(self.consumer, &topic, partition).map_err(restart)?,
            };
            // Sought in any case: after a wrong checksum the client goes on behind the batch, and if it is not found
            // to be damaged now, then the damage was on the way and its records must be read again.
            lane.rewind = Some(from);
            let Some(damage) = prober.damage(&topic, partition, from).map_err(restart)? else { continue };
            let route = Arc::clone(&lane.route);
            if let Err(reason) = self.shared.writable(&route.quarantine, partition) {
                self.stall(&topic, partition, from, reason)?;
                continue;
            }
            tracing::error!(
                worker = self.index,
                topic,
                partition,
                first = damage.first,
                last = damage.last,
                why = damage.why,
                "offsets cannot be read and go to quarantine as one entry"
            );
            let headers = self.stage.unreadable(&route, partition, damage.first, damage.last, &damage.why);
            if let Err(trouble) = write_unreadable(self.transaction, &route, partition, &headers) {
                return self.recover(trouble, &mut Batch::new());
            }
            if let Some(lane) = self.lanes.get_mut(&topic, partition) {
                lane.progress.act_unreadable(damage.first, damage.last);
                lane.rewind = Some(damage.last + 1);
            }
        }
        self.finish(&mut Batch::new())
    }

    fn publish(&mut self) {
        for ahead in self.consumer.context().take_ahead() {
            if let Some(lane) = self.lanes.get_mut(&ahead.topic, ahead.partition) {
                lane.ahead = Some(ahead);
            }
        }
        if self.published.is_none_or(|at| at.elapsed() >= Duration::from_millis(500)) {
            self.published = Some(Instant::now());
            self.shared.set_partitions(self.index, self.lanes.status(self.index));
        }
    }
}

fn add(list: &mut TopicPartitionList, topic: &str, partition: i32, offset: i64) -> Result<(), Trouble> {
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .map_err(|error| Trouble::Restart(error.to_string()))
}

/// Waits, less if the pump stops.
fn pause(shared: &Shared, length: Duration) {
    let until = Instant::now() + length;
    while Instant::now() < until && !shared.is_stopping() {
        thread::sleep(Duration::from_millis(10).min(length));
    }
}
