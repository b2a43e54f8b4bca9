//! The answers of Apache Kafka 4.3.1, recorded in `kafka.txt`, against those of the coordinator.

use crate::transactions::*;
use std::fmt::Write as _;

/// Where this broker answers something else: a line up to the request, and the answer.
const DIFFERENT: [(&str, &str); 5] = [
    // Kafka asks the partition before the coordinator, and the partition knows the epoch of the marker. So does this broker.
    (
        "exhaust=A32766 produce.12:A32766:0=ok end.5:A32766:commit=B0 describe=CompleteCommit,B0, end.5:A32766:commit=B0 \
         end.5:A32766:abort=INVALID_TXN_STATE produce.12:A32766:0",
        "INVALID_PRODUCER_ID_MAPPING",
    ),
    // Kafka takes a zombie of version 2 for the producer of version 1 that has fenced it, and hands it that one's epoch.
    ("init.4:=A0 init.4:A0=A1 add.3:A1:0=ok end.4:A1:commit=ok end.5:A0:commit", "PRODUCER_FENCED"),
    ("init.4:=A0 init.4:A0=A1 add.3:A1:0=ok end.4:A1:commit=ok end.5:A0:abort", "PRODUCER_FENCED"),
    ("init.4:=A0 init.4:A0=A1 add.3:A1:0=ok end.4:A1:abort=ok end.5:A0:commit", "PRODUCER_FENCED"),
    ("init.4:=A0 init.4:A0=A1 add.3:A1:0=ok end.4:A1:abort=ok end.5:A0:abort", "PRODUCER_FENCED"),
];

struct Line {
    transactions: Transactions,
    ids: Vec<i64>,
    now: i64,
}

impl Line {
    fn producer(&self, text: &str) -> Producer {
        let Some(letter) = text.chars().next() else { return Producer::NONE };
        let index = (letter as usize) - ('A' as usize);
        Producer { id: self.ids.get(index).copied().unwrap_or(900_000), epoch: text[1..].parse().unwrap() }
    }

    fn name(&mut self, producer: Producer) -> String {
        let index = self.ids.iter().position(|id| *id == producer.id).unwrap_or_else(|| {
            self.ids.push(producer.id);
            self.ids.len() - 1
        });
        format!("{}{}", char::from(b'A' + index as u8), producer.epoch)
    }

    fn run(&mut self, request: &str) -> String {
        let parts: Vec<&str> = request.split(':').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        let mut words = parts[0].split('.');
        let word = words.next().unwrap();
        let version: i16 = words.next().map_or(0, |version| version.parse().unwrap());
        let producer = self.producer(part(1));
        let caller = Caller { version, transactional_id: "id", producer };
        let partitions: Vec<TopicPartition> =
            part(2).split(',').filter_map(|index| Some((Arc::from("t"), index.parse().ok()?))).collect();
        let now = self.now;
        let perform: Perform<'_> = &mut |_| Ok(());
        let plain = |answer: Result<(), TransactionError>| {
            answer.map_or_else(|error| error.code().to_string(), |()| "ok".into())
        };
        let all =
            |answers: Vec<Result<(), TransactionError>>| answers.into_iter().map(plain).collect::<Vec<_>>().join("+");
        let named = |line: &mut Line, answer: Result<Producer, TransactionError>| {
            answer.map_or_else(|error| error.code().to_string(), |producer| line.name(producer))
        };
        match word {
            "init" => {
                let request = InitProducerId {
                    version,
                    transactional_id: Some("id"),
                    timeout_ms: part(2).parse().unwrap_or(60_000),
                    producer,
                    two_phase: false,
                    keep_prepared: false,
                };
                let answer = self.transactions.init_producer_id(&request, now, perform);
                named(self, answer)
            }
            "exhaust" => (0..i16::MAX).map(|_| self.run("init.4:")).find(|answer| answer.ends_with("32766")).unwrap(),
            "add" => plain(self.transactions.add_partitions(&caller, &partitions, now, perform)),
            "verify" if request.contains("add") => {
                plain(self.transactions.add_partitions(&caller, &partitions, now, perform))
            }
            "verify" => all(self.transactions.verify_only(&caller, &partitions)),
            "offsets" => plain(self.transactions.add_offsets(&caller, now, perform)),
            "produce" => all(self.transactions.verify_produce(&caller, &partitions, now, perform)),
            "commit" => plain(self.transactions.verify_offset_commit(&caller, now, perform)),
            "end" => match self.transactions.end(&caller, part(2) == "commit", now, perform) {
                Ok(_) if version < 5 => "ok".into(),
                answer => named(self, answer),
            },
            "timeout" => {
                self.now = self.transactions.next_deadline().unwrap();
                self.transactions.tick(self.now, perform);
                "ok".into()
            }
            "describe" => match self.transactions.describe("id") {
                Err(error) => error.code().to_string(),
                Ok(described) => {
                    let mut partitions: Vec<String> = Vec::new();
                    for (topic, index) in &described.partitions {
                        partitions.push(if **topic == *OFFSETS_TOPIC { "offsets".into() } else { index.to_string() });
                    }
                    partitions.sort();
                    let producer = self.name(described.producer);
                    format!("{},{producer},{}", described.state.name(), partitions.join("+"))
                }
            },
            other => panic!("{other}"),
        }
    }
}

#[test]
fn answers_are_those_of_kafka() {
    let mut wrong = String::new();
    let (mut asked, mut different) = (0, 0);
    for text in include_str!("kafka.txt").lines().filter(|line| !line.starts_with('#')) {
        let transactions = Transactions::new(Config::default(), 0);
        let mut line = Line { transactions, ids: Vec::new(), now: 1_000_000 };
        for token in text.split_whitespace() {
            let (request, expected) = token.split_once('=').unwrap();
            let answer = line.run(request);
            asked += 1;
            let excused = |(start, other): &(&str, &str)| {
                let end = text.strip_prefix(start);
                *other == answer && start.ends_with(request) && end.is_some_and(|end| end.starts_with('='))
            };
            if answer != expected && DIFFERENT.iter().any(excused) {
                different += 1;
            } else if answer != expected {
                writeln!(wrong, "{text}\n    {request}: {answer}, in Kafka {expected}").unwrap();
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(different, DIFFERENT.len());
    assert!(asked > 2000, "only {asked} requests");
}
