//! Transactions that nobody ends any more, and how they are ended (KIP-664).
//!
//! A coordinator that finds no leader for a partition takes it for deleted, writes no marker there and calls the transaction complete
//! (`TransactionMarkerChannelManager.addTxnMarkersToBrokerQueue` of Apache Kafka 4.3). A partition whose only replica just restarts has none for
//! a moment. What was written there is then open for ever: nobody who reads what is committed gets past it, and the next transaction of
//! that producer would end it either way, whatever it had been. The coordinator still knows how it had ended, until it hears of the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weir_wire::messages::*;
use weir_wire::{ErrorCode, Message, Text};

use super::asking::text;
use super::metadata::question;
use super::net::{Net, Role};
use super::security::Cluster;

/// How long to wait for sockets before looking at the clock again.
const BEAT: Duration = Duration::from_millis(100);
/// How long a coordinator that is not ready is left alone.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a question about transactions has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It may have one later.
    #[error("{0}; try again later")]
    Away(String),
    /// The cluster does not know the question, or does not let us ask it.
    #[error("{0}")]
    Refused(String),
}

impl Unanswered {
    /// `Ok` for no error; `what` was asked.
    fn of(what: &str, code: ErrorCode) -> Result<(), Unanswered> {
        let passes = matches!(
            code,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::NOT_COORDINATOR
                | ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::LEADER_NOT_AVAILABLE
                | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::REQUEST_TIMED_OUT
        );
        let reason = format!("{what}: {code}");
        match code.ok() {
            Ok(()) => Ok(()),
            Err(_) if passes => Err(Unanswered::Away(reason)),
            Err(_) => Err(Unanswered::Refused(reason)),
        }
    }
}

/// What a coordinator says of a producer whose last transaction is over, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch. That of a transaction which the coordinator itself has aborted, because it took too long for instance, was one less.
    pub producer_epoch: i16,
    /// Whether it ended with a commit.
    pub committed: bool,
    /// The partitions of one that is still open, which the next owner of the transactional id aborts.
    pub open: BTreeSet<(String, i32)>,
}

/// A transaction that is open in a partition, while its coordinator has none there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hanging {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset it begins at.
    pub first: i64,
    /// Who wrote it.
    pub producer_id: i64,
    /// The epoch in which it was written.
    pub producer_epoch: i16,
    /// Whether the coordinator says that the last transaction of this epoch ended with a commit; `None` where it does not know any more.
    pub committed: Option<bool>,
    coordinator_epoch: i32,
}

/// A partition, and who has a transaction open in it.
type Open = ((String, i32), ProducerState);

/// Questions to a cluster about its transactions, one after the other.
pub struct Transactions {
    net: Net<u64>,
    /// How many questions were asked: an answer to one that was given up is none to the next.
    asked: u64,
    /// Who leads what, of what was asked about.
    leaders: BTreeMap<(String, i32), i32>,
    brokers: Vec<i32>,
    patience: Duration,
    deadline: Instant,
}

/// The state of a transaction that is open.
const ONGOING: &str = "Ongoing";

/// The partitions that a coordinator names of a transaction.
fn partitions(state: &DescribedTransactionState) -> impl Iterator<Item = (String, i32)> + '_ {
    let of = |topic: &'_ TransactionTopicData| {
        let name = topic.topic.as_str().to_owned();
        topic.partitions.iter().map(move |partition| (name.clone(), *partition)).collect::<Vec<_>>()
    };
    state.topics.iter().flat_map(of)
}

/// Transactions that the coordinator is at, or will be once their time is over.
fn is_going(state: &str) -> bool {
    !matches!(state, "Empty" | "CompleteCommit" | "CompleteAbort" | "Dead")
}

fn decision(state: &str) -> Option<bool> {
    match state {
        "CompleteCommit" | "PrepareCommit" => Some(true),
        "CompleteAbort" | "PrepareAbort" | "PrepareEpochFence" => Some(false),
        _ => None,
    }
}

/// Whether what a coordinator says of a producer in one epoch is said of what was written in another.
fn is_of(epoch: i16, committed: bool, written: i16) -> bool {
    epoch == written || (!committed && epoch.checked_sub(1) == Some(written))
}

impl Ended {
    /// Whether this is said of what was written in an epoch.
    pub fn is_of(&self, written: i16) -> bool {
        is_of(self.producer_epoch, self.committed, written)
    }
}

fn leaderless(topic: &str) -> Unanswered {
    Unanswered::Away(format!("a partition of topic {topic} has no leader"))
}

impl Transactions {
    /// No connection yet. Each call may take as long as `patience`.
    ///
    /// # Errors
    /// Where the system gives no way to wait for sockets.
    pub fn new(cluster: &Cluster, patience: Duration) -> Result<Transactions, String> {
        let net = Net::new(cluster, 1).map_err(|error| format!("cannot wait for sockets: {error}"))?;
        Ok(Transactions {
            net,
            asked: 0,
            leaders: BTreeMap::new(),
            brokers: Vec::new(),
            patience,
            deadline: Instant::now(),
        })
    }

    /// How the last transaction of a transactional id has ended. One that is open counts as aborted: who asks is about to become its owner,
    /// and no writer may be left that could still end it. `None` where there was none since somebody became that.
    ///
    /// # Errors
    /// Why there is no answer, although it was asked for as long as patience lasted.
    pub fn ended(&mut self, transactional_id: &str) -> Result<Option<Ended>, Unanswered> {
        self.patiently(|asking| asking.describe(transactional_id))
    }

    /// Asks again what passes, for as long as patience lasts.
    fn patiently<T>(&mut self, mut ask: impl FnMut(&mut Self) -> Result<T, Unanswered>) -> Result<T, Unanswered> {
        self.deadline = Instant::now() + self.patience;
        loop {
            match ask(self) {
                Err(Unanswered::Away(_)) if Instant::now() + PAUSE < self.deadline => {
                    self.net.wait(PAUSE, &mut Vec::new());
                }
                answer => return answer,
            }
        }
    }

    fn describe(&mut self, transactional_id: &str) -> Result<Option<Ended>, Unanswered> {
        let find = FindCoordinatorRequest { key: text(transactional_id), key_type: 1, ..Default::default() };
        let found: FindCoordinatorResponse = self.ask(None, &find, 3)?;
        Unanswered::of("coordinator", found.error_code)?;
        self.net.add_node(found.node_id, found.host.as_str(), found.port);
        let describe = DescribeTransactionsRequest { transactional_ids: vec![text(transactional_id)] };
        let described: DescribeTransactionsResponse = self.ask(Some(found.node_id), &describe, 0)?;
        let Some(state) = described.transaction_states.into_iter().next() else { return Ok(None) };
        if state.error_code == ErrorCode::TRANSACTIONAL_ID_NOT_FOUND {
            return Ok(None);
        }
        Unanswered::of("state of the transactional id", state.error_code)?;
        let is_open = state.transaction_state.as_str() == ONGOING;
        let committed = if is_open { Some(false) } else { decision(state.transaction_state.as_str()) };
        Ok(committed.map(|committed| Ended {
            producer_id: state.producer_id,
            producer_epoch: state.producer_epoch,
            committed,
            open: if is_open { partitions(&state).collect() } else { BTreeSet::new() },
        }))
    }

    /// The transactions that hang in these partitions, by topic and partition.
    ///
    /// # Errors
    /// Why it cannot be told; what is not known is never said to hang.
    pub fn hanging(&mut self, places: &BTreeSet<(String, i32)>) -> Result<Vec<Hanging>, Unanswered> {
        self.patiently(|asking| asking.look(places))
    }

    fn look(&mut self, places: &BTreeSet<(String, i32)>) -> Result<Vec<Hanging>, Unanswered> {
        self.learn(places)?;
        let open = self.open(places)?;
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let ids: BTreeSet<i64> = open.iter().map(|(_, state)| state.producer_id).collect();
        let mut going: BTreeSet<(i64, (String, i32))> = BTreeSet::new();
        // What nobody tells of may be open all the same: its coordinator may be away, or not be allowed to tell us.
        let mut told: BTreeMap<i64, (i16, Option<bool>)> = BTreeMap::new();
        for broker in self.brokers.clone() {
            let list =
                ListTransactionsRequest { producer_id_filters: ids.iter().copied().collect(), ..Default::default() };
            let listed: ListTransactionsResponse = self.ask(Some(broker), &list, 0)?;
            Unanswered::of("list of the transactions", listed.error_code)?;
            let transactional_ids: Vec<Text> =
                listed.transaction_states.into_iter().map(|state| state.transactional_id).collect();
            if transactional_ids.is_empty() {
                continue;
            }
            let describe = DescribeTransactionsRequest { transactional_ids };
            let described: DescribeTransactionsResponse = self.ask(Some(broker), &describe, 0)?;
            for state in described.transaction_states {
                Unanswered::of("state of a transaction", state.error_code)?;
                let name = state.transaction_state.as_str();
                told.insert(state.producer_id, (state.producer_epoch, decision(name)));
                going.extend(partitions(&state).map(|place| (state.producer_id, place)));
                // While markers are written, those that are done are not named any more.
                if is_going(name) && name != ONGOING {
                    let of = |(_, open): &&Open| open.producer_id == state.producer_id;
                    going.extend(open.iter().filter(of).map(|(place, _)| (state.producer_id, place.clone())));
                }
            }
        }
        // What had just begun when it was first looked at, or goes on, is not the same any more.
        let still = self.open(places)?;
        let hangs = open.into_iter().filter(|one| still.contains(one));
        Ok(hangs
            .filter_map(|(place, state)| {
                let (epoch, committed) = *told.get(&state.producer_id)?;
                if going.contains(&(state.producer_id, place.clone())) {
                    return None;
                }
                let producer_epoch = i16::try_from(state.producer_epoch).ok()?;
                Some(Hanging {
                    topic: place.0,
                    partition: place.1,
                    first: state.current_txn_start_offset,
                    producer_id: state.producer_id,
                    producer_epoch,
                    committed: committed.filter(|committed| is_of(epoch, *committed, producer_epoch)),
                    coordinator_epoch: state.coordinator_epoch.max(0),
                })
            })
            .collect())
    }

    /// Writes the marker that a transaction lacks.
    ///
    /// # Errors
    /// Why it is not written, as far as is known.
    pub fn end(&mut self, hanging: &Hanging, commit: bool) -> Result<(), Unanswered> {
        self.deadline = Instant::now() + self.patience;
        let Hanging { topic, partition, producer_id, producer_epoch, coordinator_epoch, .. } = hanging;
        let leader = self.leaders.get(&(topic.clone(), *partition)).copied().ok_or_else(|| leaderless(topic))?;
        let marker = WritableTxnMarker {
            producer_id: *producer_id,
            producer_epoch: *producer_epoch,
            transaction_result: commit,
            topics: vec![WritableTxnMarkerTopic { name: text(topic), partition_indexes: vec![*partition] }],
            coordinator_epoch: *coordinator_epoch,
            transaction_version: 0,
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker] };
        let response: WriteTxnMarkersResponse = self.ask(Some(leader), &request, 2)?;
        let results = response.markers.iter().flat_map(|marker| &marker.topics).flat_map(|topic| &topic.partitions);
        results.map(|result| result.error_code).try_for_each(|code| Unanswered::of("marker", code))
    }

    /// Asks who leads the partitions.
    fn learn(&mut self, places: &BTreeSet<(String, i32)>) -> Result<(), Unanswered> {
        let topics: BTreeSet<&str> = places.iter().map(|(topic, _)| topic.as_str()).collect();
        let metadata: MetadataResponse = self.ask(None, &question(topics.into_iter()), 9)?;
        self.net.set_nodes(&metadata.brokers);
        self.brokers = metadata.brokers.iter().map(|broker| broker.node_id).collect();
        self.leaders.clear();
        for topic in &metadata.topics {
            let Some(name) = &topic.name else { continue };
            let leads = topic.partitions.iter().filter(|partition| partition.leader_id >= 0);
            self.leaders.extend(leads.map(|p| ((name.as_str().to_owned(), p.partition_index), p.leader_id)));
        }
        Ok(())
    }

    /// The transactions that are open in partitions, whoever is at them.
    fn open(&mut self, places: &BTreeSet<(String, i32)>) -> Result<Vec<Open>, Unanswered> {
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        for place in places {
            let leader = self.leaders.get(place).ok_or_else(|| leaderless(&place.0))?;
            by_leader.entry(*leader).or_default().entry(&place.0).or_default().push(place.1);
        }
        let mut open = Vec::new();
        for (leader, topics) in by_leader {
            let topics = topics
                .into_iter()
                .map(|(name, partition_indexes)| DescribeProducersTopicRequest { name: text(name), partition_indexes });
            let request = DescribeProducersRequest { topics: topics.collect() };
            let response: DescribeProducersResponse = self.ask(Some(leader), &request, 0)?;
            for topic in response.topics {
                for partition in topic.partitions {
                    Unanswered::of("producers of a partition", partition.error_code)?;
                    let at = (topic.name.as_str().to_owned(), partition.partition_index);
                    let in_one = partition.active_producers.into_iter().filter(|p| p.current_txn_start_offset >= 0);
                    open.extend(in_one.map(|state| (at.clone(), state)));
                }
            }
        }
        Ok(open)
    }

    /// Asks one question of a broker, or of any, and waits for the answer.
    fn ask<Q: Message, R: Message>(&mut self, node: Option<i32>, question: &Q, most: i16) -> Result<R, Unanswered> {
        let mut answers = Vec::new();
        let mut sent = false;
        self.asked += 1;
        loop {
            let now = Instant::now();
            if let Some(refusal) = self.net.refusal() {
                return Err(Unanswered::Refused(refusal.to_owned()));
            }
            let Some(left) = self.deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                let why = self.net.take_error().unwrap_or_else(|| "no answer in time".to_owned());
                return Err(Unanswered::Away(format!("{}: {why}", Q::KEY)));
            };
            if !sent {
                let slot = match node {
                    Some(node) => self.net.ready(node, Role::Control, now),
                    None => self.net.any(now),
                };
                if let Some(slot) = slot {
                    if self.net.version(slot, Q::KEY, most).is_none() {
                        return Err(Unanswered::Refused(format!("the broker does not know {}", Q::KEY)));
                    }
                    self.net.send(slot, question, most, self.asked, left, now);
                    sent = true;
                }
            }
            self.net.wait(left.min(BEAT), &mut answers);
            if let Some(answer) = answers.drain(..).find(|answer| answer.ask == self.asked) {
                let (mut reader, version) = answer.outcome.map_err(|gone| Unanswered::Away(gone.to_string()))?;
                let unreadable = |error| Unanswered::Refused(format!("{}: {error}", Q::KEY));
                return R::read(&mut reader, version).map_err(unreadable);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_of;

    /// Rows were written twice: a transaction that took too long is aborted in the epoch after its own.
    #[test]
    fn an_abort_by_the_coordinator_is_of_the_epoch_before() {
        let check = |told: i16, committed: bool, written: i16, expect: bool| {
            assert_eq!(is_of(told, committed, written), expect, "{told} {committed} {written}");
        };
        check(5, false, 4, true);
        check(5, false, 5, true);
        check(5, true, 5, true);
        check(5, true, 4, false);
        check(5, false, 3, false);
        check(5, false, 6, false);
    }
}
