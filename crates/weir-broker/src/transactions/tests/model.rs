//! Random histories of clients, zombies, faults and crashes, against partitions that remember every record and marker.
//!
//! A Produce is three steps of a history, so that anything can happen between them. What is not modelled: power loss (what was
//! written is there after a crash), producers that a partition has forgotten, and an operator's WriteTxnMarkers.

use crate::transactions::*;
use proptest::prelude::*;
use std::collections::HashMap;

const IDS: [&str; 2] = ["one", "two"];
const CLIENTS: usize = 3;
/// The last one is that of the offsets.
const PARTITIONS: usize = 3;
const TIMEOUT_MS: i32 = 1000;

#[derive(Debug, Clone)]
enum Step {
    /// The client begins as one of transaction version 1 or 2; `expected`: with the producer it has (KIP-360).
    Init {
        client: usize,
        version: i16,
        expected: bool,
    },
    /// A producer without transactional id.
    Plain,
    Add {
        client: usize,
        partition: usize,
    },
    /// A Produce as far as its step 2.
    Guard {
        client: usize,
        partition: usize,
    },
    /// The next step of one of the Produces under way: 3, then 4.
    Next {
        which: usize,
    },
    Offsets {
        client: usize,
    },
    End {
        client: usize,
        commit: bool,
    },
    /// Time passes.
    Tick {
        ms: i64,
    },
    Crash,
}

/// What goes wrong in a step.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// At which action, each partition of a marker being one.
    at: usize,
    /// Whether that action is done all the same.
    done: bool,
    /// Whether the broker ends there.
    crash: bool,
    /// At which action the start after that crashes too.
    again: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Record { producer: Producer, sequence: i32, token: u64 },
    Marker { producer: Producer, commit: bool },
}

/// A partition as the module documentation asks for it.
#[derive(Debug, Default)]
struct Partition {
    items: Vec<Item>,
    /// In memory only: the guard of each producer id and its epoch.
    guards: HashMap<i64, (u64, i16)>,
}

impl Partition {
    /// Epoch, last sequence of the epoch, and whether a transaction is open.
    fn known(&self, id: i64) -> Option<(i16, i32, bool)> {
        let mut known = None;
        for item in &self.items {
            match *item {
                Item::Record { producer, sequence, .. } if producer.id == id => {
                    known = Some((producer.epoch, sequence, true));
                }
                Item::Marker { producer, .. } if producer.id == id => {
                    let last = known.filter(|(epoch, ..)| *epoch == producer.epoch).map_or(-1, |(_, last, _)| last);
                    known = Some((producer.epoch, last, false));
                }
                _ => {}
            }
        }
        known
    }

    fn guard(&mut self, producer: Producer, next: u64) -> Option<u64> {
        if self.known(producer.id).is_some_and(|(epoch, ..)| producer.epoch < epoch) {
            return None;
        }
        let guard = self.guards.entry(producer.id).or_insert((next, producer.epoch));
        if guard.1 != producer.epoch {
            *guard = (next, producer.epoch);
        }
        Some(guard.0)
    }

    fn append(&mut self, producer: Producer, token: u64, sequence: i32, guard: u64) -> bool {
        let known = self.known(producer.id);
        let (epoch, last, open) = known.unwrap_or((producer.epoch, -1, false));
        let expected = if epoch == producer.epoch { last + 1 } else { 0 };
        let ongoing = open && epoch == producer.epoch;
        let guarded = self.guards.get(&producer.id).is_some_and(|(held, _)| *held == guard);
        if producer.epoch < epoch || !(ongoing || guarded) || sequence != expected {
            return false;
        }
        self.guards.remove(&producer.id);
        self.items.push(Item::Record { producer, sequence, token });
        true
    }

    fn mark(&mut self, marker: &Marker) {
        let producer = marker.producer;
        if let Some((epoch, _, open)) = self.known(producer.id) {
            assert!(producer.epoch >= epoch, "a marker of a fenced epoch: {marker:?}");
            let next = marker.transaction_version == 2 && producer.epoch == epoch && open;
            assert!(!next, "a marker that ends the next transaction: {marker:?}");
        }
        self.guards.remove(&producer.id);
        self.items.push(Item::Marker { producer, commit: marker.commit });
    }
}

/// What survives a crash, and what goes wrong next.
struct Disk {
    records: Vec<(Bytes, Option<Bytes>)>,
    /// What replaying all records gives.
    replayed: Transactions,
    reserved: i64,
    partitions: [Partition; PARTITIONS],
    fault: Option<Fault>,
    actions: usize,
    crashed: bool,
    /// Keys whose last write was done and reported as failed: memory is behind the disk until they are written again.
    behind: BTreeSet<Bytes>,
}

impl Disk {
    fn new() -> Disk {
        Disk {
            records: Vec::new(),
            replayed: Transactions::new(Config::default(), 0),
            reserved: 0,
            partitions: Default::default(),
            fault: None,
            actions: 0,
            crashed: false,
            behind: BTreeSet::new(),
        }
    }

    /// Whether the next action is done, and whether it is said to be.
    fn next(&mut self) -> (bool, bool) {
        if self.crashed {
            return (false, false);
        }
        self.actions += 1;
        match self.fault {
            Some(fault) if self.actions == fault.at + 1 => {
                self.crashed = fault.crash;
                (fault.done, false)
            }
            _ => (true, true),
        }
    }

    fn perform(&mut self, action: Action) -> Result<(), Failed> {
        let answer = |said: bool| if said { Ok(()) } else { Err(Failed) };
        match action {
            Action::ReserveIds { below } => {
                let (done, said) = self.next();
                assert!(below >= self.reserved, "{below} gives back what is reserved");
                self.reserved = if done { below } else { self.reserved };
                answer(said)
            }
            Action::Write { key, value, .. } => {
                let (done, said) = self.next();
                if done {
                    self.replayed.replay(key.clone(), value.clone()).unwrap();
                    self.records.push((key.clone(), value));
                    if said {
                        self.behind.remove(&key)
                    } else {
                        self.behind.insert(key)
                    };
                }
                answer(said)
            }
            Action::Mark(marker) => {
                let mut all = true;
                for partition in &marker.partitions {
                    let (done, said) = self.next();
                    if done {
                        self.partitions[number(partition)].mark(&marker);
                    }
                    all &= said;
                }
                answer(all)
            }
        }
    }
}

fn partition(number: usize) -> TopicPartition {
    if number == PARTITIONS - 1 { (Arc::from(OFFSETS_TOPIC), 0) } else { (Arc::from("t"), number as i32) }
}

fn number(partition: &TopicPartition) -> usize {
    if &*partition.0 == OFFSETS_TOPIC { PARTITIONS - 1 } else { partition.1 as usize }
}

#[derive(Debug, Clone, Default)]
struct Client {
    version: i16,
    producer: Option<Producer>,
    /// The transaction it is in, or will be in next.
    token: u64,
    /// It has asked to end the transaction and does not know yet whether it has.
    ending: Option<bool>,
    sequences: [i32; PARTITIONS],
    /// What it was told to be part of its transaction.
    added: BTreeSet<usize>,
}

#[derive(Clone)]
struct Produce {
    client: usize,
    caller: Caller<'static>,
    verified: bool,
    token: u64,
    partition: usize,
    sequence: i32,
    guard: u64,
}

struct World {
    transactions: Transactions,
    disk: Disk,
    now: i64,
    clients: Vec<Client>,
    under_way: Vec<Produce>,
    tokens: u64,
    guards: u64,
    /// To whom a producer id and epoch was given.
    granted: HashMap<Producer, usize>,
    /// Who was initialised last, for each transactional id.
    owner: [Option<usize>; 2],
    /// What the client of a transaction was told.
    told: HashMap<u64, bool>,
}

impl World {
    fn new() -> World {
        World {
            transactions: Transactions::new(Config::default(), 0),
            disk: Disk::new(),
            now: 1_000_000,
            clients: vec![Client::default(); CLIENTS],
            under_way: Vec::new(),
            tokens: 0,
            guards: 0,
            granted: HashMap::new(),
            owner: [None; 2],
            told: HashMap::new(),
        }
    }

    fn grant(&mut self, client: usize, producer: Producer) {
        let before = self.granted.insert(producer, client);
        assert!(before.is_none_or(|before| before == client), "{producer:?} was given to {before:?} and {client}");
    }

    /// The client was served: it must be the one that was initialised last.
    fn served(&self, client: usize) {
        assert_eq!(self.owner[client % 2], Some(client), "a fenced producer was served");
    }

    fn begin(&mut self, client: usize, producer: Producer) {
        self.tokens += 1;
        let client = &mut self.clients[client];
        if client.producer != Some(producer) {
            client.sequences = [0; PARTITIONS];
        }
        client.producer = Some(producer);
        client.token = self.tokens;
        client.added.clear();
        client.ending = None;
    }

    fn step(&mut self, step: &Step, fault: Option<Fault>) {
        (self.disk.fault, self.disk.actions) = (fault, 0);
        match *step {
            Step::Init { client, version, expected } => self.init(client, version, expected),
            Step::Plain => {
                let request = InitProducerId { transactional_id: None, ..request("", 0, Producer::NONE) };
                let perform: Perform<'_> = &mut |action| self.disk.perform(action);
                if let Ok(producer) = self.transactions.init_producer_id(&request, self.now, perform) {
                    assert_eq!(producer.epoch, 0);
                    self.grant(usize::MAX, producer);
                    assert!(self.granted.keys().filter(|other| other.id == producer.id).count() == 1);
                }
            }
            Step::Add { client, partition: number } => {
                let Some(caller) = self.caller(client, 3, 3) else { return };
                let perform: Perform<'_> = &mut |action| self.disk.perform(action);
                let partitions = [partition(number)];
                if self.transactions.add_partitions(&caller, &partitions, self.now, perform).is_ok() {
                    self.served(client);
                    self.clients[client].added.insert(number);
                }
            }
            Step::Guard { client, partition } => self.guard(client, partition),
            Step::Next { which } if !self.under_way.is_empty() => {
                let produce = self.under_way.swap_remove(which % self.under_way.len());
                if produce.verified { self.append(produce) } else { self.verify(produce) }
            }
            Step::Next { .. } => {}
            Step::Offsets { client } => {
                let Some(caller) = self.caller(client, 3, 5) else { return };
                let (producer, token) = (caller.producer, self.clients[client].token);
                let perform: Perform<'_> = &mut |action| self.disk.perform(action);
                if self.transactions.verify_offset_commit(&caller, self.now, perform).is_ok() {
                    self.served(client);
                    let items = &mut self.disk.partitions[PARTITIONS - 1].items;
                    items.push(Item::Record { producer, sequence: -1, token });
                }
            }
            Step::End { client, commit } => self.end(client, commit),
            Step::Tick { ms } => {
                self.now += ms;
                self.transactions.tick(self.now, &mut |action| self.disk.perform(action));
            }
            Step::Crash => self.disk.crashed = true,
        }
        if self.disk.crashed {
            let again = fault.and_then(|fault| fault.again);
            self.restart(again);
        } else if self.disk.behind.is_empty() {
            self.compare();
        }
    }

    /// The client's request, unless it has no producer or waits for the end of its transaction.
    fn caller(&self, client: usize, one: i16, two: i16) -> Option<Caller<'static>> {
        let Client { version, producer, ending, .. } = self.clients[client].clone();
        let version = if version == 1 { one } else { two };
        let caller = Caller { version, transactional_id: IDS[client % 2], producer: producer? };
        ending.is_none().then_some(caller)
    }

    fn init(&mut self, client: usize, version: i16, expected: bool) {
        let producer = self.clients[client].producer.filter(|_| expected);
        let request = request(IDS[client % 2], TIMEOUT_MS, producer.unwrap_or(Producer::NONE));
        let perform: Perform<'_> = &mut |action| self.disk.perform(action);
        let answer = self.transactions.init_producer_id(&request, self.now, perform);
        if let Ok(given) = answer {
            if producer.is_some() {
                self.served(client);
            }
            self.grant(client, given);
            self.owner[client % 2] = Some(client);
            self.clients[client].version = version;
            self.begin(client, given);
        }
    }

    fn guard(&mut self, client: usize, partition: usize) {
        let Some(caller) = self.caller(client, 11, 12) else { return };
        let Client { token, sequences, added, version, .. } = &self.clients[client];
        if *version == 1 && !added.contains(&partition) {
            return;
        }
        self.guards += 1;
        if let Some(guard) = self.disk.partitions[partition].guard(caller.producer, self.guards) {
            let (token, sequence) = (*token, sequences[partition]);
            self.under_way.push(Produce { client, caller, verified: false, token, partition, sequence, guard });
        }
    }

    fn verify(&mut self, produce: Produce) {
        let perform: Perform<'_> = &mut |action| self.disk.perform(action);
        let partitions = [partition(produce.partition)];
        if self.transactions.verify_produce(&produce.caller, &partitions, self.now, perform) == [Ok(())] {
            self.served(produce.client);
            self.under_way.push(Produce { verified: true, ..produce });
        }
    }

    fn append(&mut self, produce: Produce) {
        let Produce { client, caller, token, partition, sequence, guard, .. } = produce;
        if self.disk.partitions[partition].append(caller.producer, token, sequence, guard) {
            self.served(client);
            if self.clients[client].producer == Some(caller.producer) {
                self.clients[client].sequences[partition] = sequence + 1;
            }
        }
    }

    fn end(&mut self, client: usize, commit: bool) {
        let Client { version, producer, ending, token, .. } = self.clients[client].clone();
        let Some(producer) = producer else { return };
        let commit = ending.unwrap_or(commit);
        let version = if version == 1 { 4 } else { 5 };
        let caller = Caller { version, transactional_id: IDS[client % 2], producer };
        let perform: Perform<'_> = &mut |action| self.disk.perform(action);
        self.clients[client].ending = Some(commit);
        match self.transactions.end(&caller, commit, self.now, perform) {
            Ok(next) => {
                self.grant(client, next);
                self.served(client);
                if !self.disk.crashed {
                    self.told.insert(token, commit);
                    self.begin(client, next);
                }
            }
            Err(TransactionError::CoordinatorNotAvailable | TransactionError::ConcurrentTransactions) => {}
            Err(_) => self.clients[client].producer = None,
        }
    }

    /// The broker ends at once and comes back; with `again` its first start ends at that action.
    fn restart(&mut self, again: Option<usize>) {
        let crash = again.map(|at| Fault { at, done: true, crash: true, again: None });
        for fault in [crash, None] {
            (self.disk.crashed, self.disk.fault, self.disk.actions) = (false, fault, 0);
            self.disk.behind.clear();
            self.under_way.clear();
            self.disk.partitions.iter_mut().for_each(|partition| partition.guards.clear());
            self.transactions = Transactions::new(Config::default(), self.disk.reserved);
            for (key, value) in self.disk.records.clone() {
                self.transactions.replay(key, value).unwrap();
            }
            let open = self.open();
            for Open { producer, partition } in &open {
                let listing =
                    self.transactions.list(&Filter { producer_ids: &[producer.id], ..Filter::default() }, self.now);
                let id = listing.unwrap().transactions.pop().unwrap_or_else(|| panic!("nobody knows {producer:?}"));
                let described = self.transactions.describe(&id.transactional_id).unwrap();
                assert!(described.partitions.contains(partition), "{producer:?} hangs in {partition:?}: {described:?}");
            }
            self.transactions.recover(&open, self.now, &mut |action| self.disk.perform(action));
        }
        let prepared = Filter { states: &["PrepareCommit", "PrepareAbort"], ..Filter::default() };
        assert_eq!(self.transactions.list(&prepared, self.now), Ok(Listing::default()));
        self.compare();
    }

    fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for (index, log) in self.disk.partitions.iter().enumerate() {
            let ids = log.items.iter().map(|item| match item {
                Item::Record { producer, .. } | Item::Marker { producer, .. } => producer.id,
            });
            for id in ids.collect::<BTreeSet<_>>() {
                if let Some((epoch, _, true)) = log.known(id) {
                    open.push(Open { producer: Producer { id, epoch }, partition: partition(index) });
                }
            }
        }
        open
    }

    /// Memory is what replaying the records gives.
    fn compare(&self) {
        for id in IDS {
            assert_eq!(self.transactions.describe(id), self.disk.replayed.describe(id));
        }
    }

    /// Lets everything come to its end, then looks at the fate of every record.
    fn finish(mut self) {
        self.disk.fault = None;
        self.now += 10 * i64::from(TIMEOUT_MS);
        self.transactions.tick(self.now, &mut |action| self.disk.perform(action));
        assert!(self.open().is_empty(), "transactions hang: {:?}", self.open());
        let mut fates: HashMap<u64, bool> = HashMap::new();
        for log in &self.disk.partitions {
            for (at, item) in log.items.iter().enumerate() {
                let Item::Record { producer, token, .. } = *item else { continue };
                let marker = log.items[at..].iter().find_map(|item| match *item {
                    Item::Marker { producer: ended, commit } if ended.id == producer.id => Some((ended.epoch, commit)),
                    _ => None,
                });
                let (epoch, commit) = marker.unwrap();
                assert!(epoch >= producer.epoch);
                assert_eq!(*fates.entry(token).or_insert(commit), commit, "transaction {token} is half committed");
            }
        }
        for (token, commit) in fates {
            let told = self.told.get(&token);
            assert!(told.is_none_or(|told| *told == commit), "transaction {token}: told {told:?}, is {commit}");
        }
    }
}

fn request(transactional_id: &str, timeout_ms: i32, producer: Producer) -> InitProducerId<'_> {
    let transactional_id = Some(transactional_id);
    InitProducerId { version: 4, transactional_id, timeout_ms, producer, two_phase: false, keep_prepared: false }
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let partition = 0..PARTITIONS - 1;
    prop_oneof![
        4 => (client.clone(), 1..=2i16, any::<bool>())
            .prop_map(|(client, version, expected)| Step::Init { client, version, expected }),
        1 => Just(Step::Plain),
        12 => (client.clone(), partition.clone()).prop_map(|(client, partition)| Step::Add { client, partition }),
        20 => (client.clone(), partition).prop_map(|(client, partition)| Step::Guard { client, partition }),
        40 => (0..8usize).prop_map(|which| Step::Next { which }),
        4 => client.clone().prop_map(|client| Step::Offsets { client }),
        12 => (client, any::<bool>()).prop_map(|(client, commit)| Step::End { client, commit }),
        4 => (0..400i64).prop_map(|ms| Step::Tick { ms }),
        1 => Just(Step::Crash),
    ]
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let again = proptest::option::weighted(0.3, 0..5usize);
    let fault = (0..5usize, any::<bool>(), proptest::bool::weighted(0.3), again);
    proptest::option::weighted(0.1, fault.prop_map(|(at, done, crash, again)| Fault { at, done, crash, again }))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_transaction_ends_once_and_as_its_client_was_told(
        steps in proptest::collection::vec((step(), fault()), 1..120)
    ) {
        let mut world = World::new();
        for (step, fault) in &steps {
            world.step(step, *fault);
        }
        world.finish();
    }
}
