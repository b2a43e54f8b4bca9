//! What the recorded answers of Kafka do not show: actions that fail, what is done in which order, limits, lists and expiry.

use crate::transactions::*;

/// Remembers what was done, as text, and fails where it is told to.
#[derive(Default)]
struct Shell {
    done: Vec<String>,
    records: Vec<(Bytes, Option<Bytes>)>,
    /// Actions that fail, by the start of their text.
    broken: Vec<&'static str>,
}

impl Shell {
    fn perform(&mut self, action: Action) -> Result<(), Failed> {
        let text = match &action {
            Action::ReserveIds { below } => format!("reserve {below}"),
            Action::Write { key, value, durable } => {
                let mut read = Transactions::new(Config::default(), 0);
                read.replay(key.clone(), value.clone()).unwrap();
                let ids = read.list(&Filter::default(), 0).unwrap().transactions;
                match ids.first().map(|id| read.describe(&id.transactional_id).unwrap()) {
                    Some(Described { state, producer: Producer { id, epoch }, .. }) => {
                        format!("write {} {id}/{epoch}{}", state.name(), if *durable { "" } else { " lazily" })
                    }
                    None => "forget".into(),
                }
            }
            Action::Mark(Marker { producer: Producer { id, epoch }, commit, transaction_version, partitions }) => {
                let verdict = if *commit { "commit" } else { "abort" };
                let partitions: Vec<String> =
                    partitions.iter().map(|(topic, index)| format!("{topic}-{index}")).collect();
                format!("mark {verdict} {id}/{epoch} v{transaction_version} {}", partitions.join(" "))
            }
        };
        if self.broken.iter().any(|broken| text.starts_with(broken)) {
            return Err(Failed);
        }
        if let Action::Write { key, value, .. } = action {
            self.records.push((key, value));
        }
        self.done.push(text);
        Ok(())
    }
}

struct Broker {
    shell: Shell,
    transactions: Transactions,
    now: i64,
}

fn broker() -> Broker {
    Broker { shell: Shell::default(), transactions: Transactions::new(Config::default(), 0), now: 1000 }
}

impl Broker {
    fn init(&mut self, request: InitProducerId<'_>) -> Result<Producer, TransactionError> {
        self.transactions.init_producer_id(&request, self.now, &mut |action| self.shell.perform(action))
    }

    fn add(&mut self, producer: Producer, index: i32) -> Result<(), TransactionError> {
        let partitions = [(Arc::from("t"), index)];
        self.transactions
            .add_partitions(&id(3, producer), &partitions, self.now, &mut |action| self.shell.perform(action))
    }

    fn produce(&mut self, version: i16, producer: Producer) -> Result<(), TransactionError> {
        let partitions = [(Arc::from("t"), 0)];
        let perform: Perform<'_> = &mut |action| self.shell.perform(action);
        self.transactions.verify_produce(&id(version, producer), &partitions, self.now, perform).remove(0)
    }

    fn offsets(&mut self, version: i16, producer: Producer) -> Result<(), TransactionError> {
        let perform: Perform<'_> = &mut |action| self.shell.perform(action);
        self.transactions.verify_offset_commit(&id(version, producer), self.now, perform)
    }

    fn end(&mut self, version: i16, producer: Producer, commit: bool) -> Result<Producer, TransactionError> {
        self.transactions.end(&id(version, producer), commit, self.now, &mut |action| self.shell.perform(action))
    }

    fn tick(&mut self, now: i64) {
        self.now = now;
        self.transactions.tick(now, &mut |action| self.shell.perform(action));
    }

    fn restart(&mut self, open: &[Open]) {
        self.transactions = Transactions::new(Config::default(), 1000);
        for (key, value) in self.shell.records.clone() {
            self.transactions.replay(key, value).unwrap();
        }
        self.transactions.recover(open, self.now, &mut |action| self.shell.perform(action));
    }

    fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shell.done)
    }

    fn state(&self) -> State {
        self.transactions.describe("id").unwrap().state
    }
}

fn id(version: i16, producer: Producer) -> Caller<'static> {
    Caller { version, transactional_id: "id", producer }
}

fn init() -> InitProducerId<'static> {
    InitProducerId {
        version: 4,
        transactional_id: Some("id"),
        timeout_ms: 60_000,
        producer: Producer::NONE,
        two_phase: false,
        keep_prepared: false,
    }
}

const FIRST: Producer = Producer { id: 0, epoch: 0 };

#[test]
fn actions_come_in_order() {
    let mut broker = broker();
    assert_eq!(broker.init(init()), Ok(FIRST));
    assert_eq!(broker.done(), ["reserve 1000", "write Empty 0/0"]);
    assert_eq!((broker.add(FIRST, 1), broker.add(FIRST, 1), broker.offsets(5, FIRST)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(broker.done(), ["write Ongoing 0/0", "write Ongoing 0/0"]);
    assert_eq!(broker.end(4, FIRST, true), Ok(FIRST));
    let prepared = "write PrepareCommit 0/0";
    assert_eq!(
        broker.done(),
        [prepared, "mark commit 0/0 v0 __consumer_offsets-0 t-1", "write CompleteCommit 0/0 lazily"]
    );
    assert_eq!(broker.produce(12, FIRST), Ok(()));
    let second = Producer { id: 0, epoch: 1 };
    assert_eq!(broker.end(5, FIRST, false), Ok(second));
    broker.done();
    assert_eq!(broker.end(5, second, false), Ok(Producer { id: 0, epoch: 2 }));
    assert_eq!(broker.done(), ["write PrepareAbort 0/2", "write CompleteAbort 0/2 lazily"], "nothing to mark");
    let plain = InitProducerId { transactional_id: None, ..init() };
    assert_eq!(broker.init(plain), Ok(Producer { id: 1, epoch: 0 }));
    assert_eq!(broker.done(), [""; 0]);
}

#[test]
fn a_newer_producer_aborts_what_the_older_one_began() {
    let mut broker = broker();
    broker.init(init()).unwrap();
    broker.add(FIRST, 0).unwrap();
    broker.done();
    assert_eq!(broker.init(init()), Ok(Producer { id: 0, epoch: 2 }));
    let abort =
        ["write PrepareAbort 0/1", "mark abort 0/1 v2 t-0", "write CompleteAbort 0/1 lazily", "write Empty 0/2"];
    assert_eq!(broker.done(), abort);
}

#[test]
fn a_zombie_that_initialises_itself_leaves_the_transaction_alone() {
    let mut broker = broker();
    broker.init(init()).unwrap();
    let newer = broker.init(init()).unwrap();
    broker.add(newer, 0).unwrap();
    let zombie = InitProducerId { producer: FIRST, ..init() };
    assert_eq!(broker.init(zombie), Err(TransactionError::ProducerFenced));
    assert_eq!(broker.init(InitProducerId { version: 3, ..zombie }), Err(TransactionError::InvalidProducerEpoch));
    assert_eq!(broker.state(), State::Ongoing);
    assert_eq!(broker.end(4, newer, true), Ok(newer));
}

#[test]
fn a_request_is_refused_for_what_is_wrong_with_it() {
    let check =
        |request: InitProducerId<'_>, expected| assert_eq!(broker().init(request), Err(expected), "{request:?}");
    check(InitProducerId { transactional_id: Some(""), ..init() }, TransactionError::InvalidRequest);
    check(InitProducerId { producer: Producer { id: 3, epoch: -1 }, ..init() }, TransactionError::InvalidRequest);
    check(InitProducerId { producer: Producer { id: -1, epoch: 3 }, ..init() }, TransactionError::InvalidRequest);
    check(InitProducerId { timeout_ms: 0, ..init() }, TransactionError::InvalidTransactionTimeout);
    check(InitProducerId { timeout_ms: -1, ..init() }, TransactionError::InvalidTransactionTimeout);
    check(InitProducerId { timeout_ms: 900_001, ..init() }, TransactionError::InvalidTransactionTimeout);
    check(InitProducerId { two_phase: true, ..init() }, TransactionError::TransactionalIdAuthorizationFailed);
    check(InitProducerId { keep_prepared: true, ..init() }, TransactionError::UnsupportedVersion);
    let nobody = Caller { version: 5, transactional_id: "", producer: FIRST };
    let mut broker = broker();
    let perform: Perform<'_> = &mut |action| panic!("{action:?}");
    assert_eq!(broker.transactions.end(&nobody, true, 0, perform), Err(TransactionError::InvalidRequest));
    assert_eq!(broker.transactions.add_offsets(&nobody, 0, perform), Err(TransactionError::InvalidRequest));
    assert_eq!(broker.transactions.describe(""), Err(TransactionError::InvalidRequest));
}

#[test]
fn a_produce_of_which_nothing_is_left_begins_no_transaction() {
    let mut broker = broker();
    broker.init(init()).unwrap();
    let perform: Perform<'_> = &mut |action| panic!("{action:?}");
    assert_eq!(broker.transactions.verify_produce(&id(12, FIRST), &[], broker.now, perform), []);
    assert_eq!(broker.state(), State::Empty);
}

#[test]
fn nothing_happened_where_the_decision_could_not_be_written() {
    for (broken, version) in
        [("reserve", 0), ("write Empty", 0), ("write Ongoing", 4), ("write Prepare", 4), ("write Prepare", 5)]
    {
        let mut broker = broker();
        broker.shell.broken = vec![broken];
        let unavailable = TransactionError::CoordinatorNotAvailable;
        let begun = broker.init(init()).and_then(|producer| broker.add(producer, 0));
        if version == 0 || broken == "write Ongoing" {
            assert_eq!(begun, Err(unavailable), "{broken}");
        } else {
            assert_eq!(broker.end(version, FIRST, true), Err(unavailable), "{broken}");
            assert_eq!(broker.state(), State::Ongoing);
        }
        broker.shell.broken.clear();
        if version == 0 {
            // A producer id that may have been handed out is not handed out again.
            broker.init(init()).unwrap();
        } else {
            broker.add(FIRST, 0).unwrap();
            assert!(broker.end(version, FIRST, false).is_ok(), "the client is free to abort");
            assert_eq!(broker.state(), State::CompleteAbort);
        }
    }
    let mut broker = broker();
    broker.init(init()).unwrap();
    broker.shell.broken = vec!["write"];
    assert_eq!(broker.produce(12, FIRST), Err(TransactionError::NotEnoughReplicas));
    assert_eq!(broker.offsets(5, FIRST), Err(TransactionError::CoordinatorNotAvailable));
}

#[test]
fn what_is_decided_is_finished_later() {
    for (version, broken) in [(4, "mark"), (5, "mark"), (4, "write Complete"), (5, "write Complete")] {
        for crash in [false, true] {
            let mut broker = broker();
            broker.init(init()).unwrap();
            broker.add(FIRST, 0).unwrap();
            broker.shell.broken = vec![broken];
            let next = broker.end(version, FIRST, true).unwrap();
            assert_eq!(next, Producer { id: 0, epoch: i16::from(version == 5) }, "the client is told");
            assert_eq!(broker.state(), State::PrepareCommit);
            // Until then, nobody gets any further.
            let concurrent = TransactionError::ConcurrentTransactions;
            assert_eq!(broker.end(version, FIRST, true), Err(concurrent));
            assert_eq!(broker.end(version, FIRST, false), Err(TransactionError::InvalidTxnState));
            assert_eq!(broker.add(next, 0), Err(concurrent));
            assert_eq!(broker.produce(11, next), Err(TransactionError::NotEnoughReplicas));
            assert_eq!(broker.produce(12, next), Err(concurrent));
            assert_eq!(broker.offsets(3, next), Err(concurrent));
            assert_eq!(broker.init(init()), Err(concurrent));
            broker.tick(1001);
            assert_eq!(broker.transactions.next_deadline(), Some(2000), "not at once again");
            broker.tick(2000);
            assert_eq!(broker.transactions.next_deadline(), Some(3000));
            broker.shell.broken.clear();
            broker.done();
            if crash {
                broker.restart(&[])
            } else {
                broker.tick(3000)
            }
            let (epoch, mark) = if version == 5 { (1, 2) } else { (0, 0) };
            let expected =
                [format!("mark commit 0/{epoch} v{mark} t-0"), format!("write CompleteCommit 0/{epoch} lazily")];
            assert_eq!(broker.done(), expected);
            assert_eq!(broker.end(version, FIRST, true), Ok(next), "the same answer as before");
        }
    }
}

#[test]
fn a_transaction_past_its_timeout_is_aborted() {
    let mut broker = broker();
    broker.init(init()).unwrap();
    broker.add(FIRST, 0).unwrap();
    assert_eq!(broker.transactions.next_deadline(), Some(61_001));
    broker.now = 50_000;
    broker.add(FIRST, 1).unwrap();
    broker.done();
    broker.tick(61_000);
    assert_eq!(broker.done(), [""; 0]);
    broker.shell.broken = vec!["write"];
    broker.tick(61_001);
    assert_eq!((broker.state(), broker.transactions.next_deadline()), (State::Ongoing, Some(62_001)));
    broker.shell.broken.clear();
    broker.tick(62_001);
    assert_eq!(
        broker.done(),
        ["write PrepareAbort 0/1", "mark abort 0/1 v2 t-0 t-1", "write CompleteAbort 0/1 lazily"]
    );
    assert_eq!(broker.produce(11, FIRST), Err(TransactionError::InvalidProducerEpoch));
}

#[test]
fn ids_that_nobody_uses_are_forgotten() {
    let week = Config::default().expiration_ms;
    let mut broker = broker();
    broker.init(init()).unwrap();
    broker.done();
    assert_eq!(broker.transactions.next_deadline(), Some(1000 + week));
    broker.shell.broken = vec!["forget"];
    broker.tick(1000 + week);
    assert_eq!(broker.state(), State::Empty);
    broker.shell.broken.clear();
    broker.tick(2000 + week);
    assert_eq!(broker.done(), ["forget"]);
    assert_eq!(broker.transactions.describe("id"), Err(TransactionError::TransactionalIdNotFound));
    assert_eq!(broker.transactions.next_deadline(), None);
    assert_eq!(broker.add(FIRST, 0), Err(TransactionError::InvalidProducerIdMapping));
    assert_eq!(broker.init(InitProducerId { producer: FIRST, ..init() }), Ok(Producer { id: 1, epoch: 0 }));
    broker.restart(&[]);
    assert_eq!(broker.state(), State::Empty, "the tombstone is in front of what came later");
}

#[test]
fn producer_ids_are_never_handed_out_again() {
    let mut broker = broker();
    let plain = || InitProducerId { transactional_id: None, ..init() };
    for id in 0..1001 {
        assert_eq!(broker.init(plain()), Ok(Producer { id, epoch: 0 }));
    }
    assert_eq!(broker.done(), ["reserve 1000", "reserve 2000"]);
    broker.restart(&[]);
    assert_eq!(broker.init(plain()), Ok(Producer { id: 1000, epoch: 0 }), "restart() begins with 1000 reserved");
    // Where the reservation is lost, the ids in the log still count.
    let mut broker = self::broker();
    broker.transactions = Transactions::new(Config::default(), 5000);
    broker.init(init()).unwrap();
    broker.done();
    broker.restart(&[]);
    assert_eq!(broker.init(plain()), Ok(Producer { id: 5001, epoch: 0 }));
    assert_eq!(broker.done(), ["reserve 6001"]);
}

#[test]
fn transactions_that_nobody_knows_of_are_aborted_at_the_start() {
    let mut broker = broker();
    broker.init(init()).unwrap();
    broker.add(FIRST, 0).unwrap();
    broker.done();
    let open = |id, epoch, index| Open { producer: Producer { id, epoch }, partition: (Arc::from("t"), index) };
    broker.restart(&[open(0, 0, 0), open(0, 0, 1), open(7, 3, 0)]);
    assert_eq!(broker.done(), ["mark abort 0/0 v0 t-1", "mark abort 7/3 v0 t-0"]);
    assert_eq!(broker.state(), State::Ongoing, "its own goes on");
}

#[test]
fn lists_are_filtered() {
    let mut broker = broker();
    for (at, name) in ["pump-1", "pump-2", "other"].into_iter().enumerate() {
        let producer = broker.init(InitProducerId { transactional_id: Some(name), ..init() }).unwrap();
        let caller = Caller { version: 3, transactional_id: name, producer };
        broker.now += 1000;
        if at > 0 {
            let perform: Perform<'_> = &mut |action| broker.shell.perform(action);
            broker.transactions.add_offsets(&caller, broker.now, perform).unwrap();
        }
    }
    let list = |filter: Filter<'_>| {
        let listing = broker.transactions.list(&filter, 5000).unwrap();
        let names = listing.transactions.iter().map(|listed| listed.transactional_id.to_string()).collect::<Vec<_>>();
        (names.join(" "), listing.unknown_states)
    };
    let check =
        |filter: Filter<'_>, expected: &str| assert_eq!(list(filter), (expected.into(), Vec::new()), "{filter:?}");
    let all = Filter::default();
    check(all, "other pump-1 pump-2");
    check(Filter { states: &["Ongoing"], ..all }, "other pump-2");
    check(Filter { states: &["Empty", "Ongoing"], producer_ids: &[0, 1], ..all }, "pump-1 pump-2");
    // An id without a transaction counts as running for ever, as in Kafka.
    check(Filter { duration_ms: 1500, ..all }, "pump-1 pump-2");
    check(Filter { duration_ms: 0, states: &["Ongoing"], ..all }, "other pump-2");
    check(Filter { pattern: "pump", ..all }, "");
    check(Filter { pattern: "pump-.|o.*", ..all }, "other pump-1 pump-2");
    assert_eq!(list(Filter { states: &["Ended"], ..all }), (String::new(), vec!["Ended".into()]));
    for pattern in ["(", "a)|(b", r"\w{9999}"] {
        let listing = broker.transactions.list(&Filter { pattern, ..all }, 0);
        assert_eq!(listing, Err(TransactionError::InvalidRegularExpression), "{pattern}");
    }
}
