//! Transactions that nobody ends: how they are told from those that go on, and ended as they were decided.
//!
//! One is made as a broker makes it that forgets a marker: its coordinator never hears of one of the partitions. Apache Kafka allows that where
//! it does not verify transactions (KIP-890), as those of before 3.6 did not.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bytes::Bytes;
use weir_kafka::{Ended, Read, ReadOptions, Reader, Until};
use weir_testkit::kafka::{Cluster, Kind};
use weir_testkit::{skipped, wait_for_some};
use weir_wire::build::{BatchBuilder, Producer};
use weir_wire::codec::Codec;
use weir_wire::header::read_response_header;
use weir_wire::messages::*;
use weir_wire::{Message, Text, request_frame};

use crate::lab::{LONG, Lab};

/// One connection that asks one thing after the other.
struct Wire(TcpStream);

impl Wire {
    fn call<M: Message, R: Message>(&mut self, version: i16, request: &M) -> R {
        for piece in request_frame(request, version, 1, Some(&Text::from_static("test"))).unwrap() {
            self.0.write_all(&piece).unwrap();
        }
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        let mut reader = weir_wire::Reader::new(Bytes::from(frame));
        read_response_header(&mut reader, R::KEY, version).unwrap();
        R::read(&mut reader, version).unwrap()
    }

    /// Becomes the owner of a transactional id: its producer and epoch.
    fn init(&mut self, id: &Text) -> (i64, i16) {
        wait_for_some(LONG, "a producer id", || {
            let find = FindCoordinatorRequest { key: id.clone(), key_type: 1, ..Default::default() };
            let found: FindCoordinatorResponse = self.call(3, &find);
            found.error_code.ok().ok()?;
            let init = InitProducerIdRequest {
                transactional_id: Some(id.clone()),
                transaction_timeout_ms: 60_000,
                producer_id: -1,
                producer_epoch: -1,
            };
            let made: InitProducerIdResponse = self.call(4, &init);
            made.error_code.ok().ok()?;
            Some((made.producer_id, made.producer_epoch))
        })
    }

    /// Begins a transaction of which the coordinator knows one of two partitions.
    fn begin(&mut self, id: &Text, producer: (i64, i16), told: &str, untold: &str) {
        let topic = |name: &str| AddPartitionsToTxnTopic { name: Text::from(name), partitions: vec![0] };
        let add = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.clone(),
            v3_and_below_producer_id: producer.0,
            v3_and_below_producer_epoch: producer.1,
            v3_and_below_topics: vec![topic(told)],
            ..Default::default()
        };
        let added: AddPartitionsToTxnResponse = self.call(3, &add);
        assert!(added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code.is_none());
        for topic in [told, untold] {
            let batch = Producer { id: producer.0, epoch: producer.1, base_sequence: 0 };
            let mut batch = BatchBuilder::new(Codec::None).producer(batch).transactional();
            batch.push(1_700_000_000_000, None, Some(b"hangs"), &[]).unwrap();
            let data = vec![PartitionProduceData { index: 0, records: Some(batch.finish(0).unwrap()) }];
            let request = ProduceRequest {
                transactional_id: Some(id.clone()),
                acks: -1,
                timeout_ms: 10_000,
                topic_data: vec![TopicProduceData {
                    name: Text::from(topic),
                    partition_data: data,
                    ..Default::default()
                }],
            };
            let produced: ProduceResponse = self.call(9, &request);
            assert!(produced.responses[0].partition_responses[0].error_code.is_none(), "{produced:?}");
        }
    }

    fn end(&mut self, id: &Text, producer: (i64, i16), committed: bool) {
        let end = EndTxnRequest {
            transactional_id: id.clone(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed,
        };
        let ended: EndTxnResponse = self.call(3, &end);
        assert!(ended.error_code.is_none(), "{ended:?}");
    }
}

fn seen(lab: &Lab, topic: &str) -> usize {
    let options = ReadOptions { until: Until::End, ..ReadOptions::default() };
    let mut reader = Reader::open(&lab.cluster, topic, options).unwrap();
    let mut seen = 0;
    while reader.next(LONG).map(|read| matches!(read, Read::Record(_))).unwrap() {
        seen += 1;
    }
    seen
}

#[test]
fn what_hangs_is_found_and_ended_as_it_was_decided() {
    if Kind::chosen() != Kind::Apache {
        return skipped("the embedded broker verifies every transaction, so that none can hang");
    }
    let Some(cluster) = Cluster::start_with(&[("transaction.partition.verification.enable", "false")]) else { return };
    let lab = Lab::new(cluster.bootstrap());
    let mut wire = Wire(TcpStream::connect(("127.0.0.1", cluster.port())).unwrap());
    for committed in [true, false] {
        let (told, untold) = (format!("told.{committed}"), format!("untold.{committed}"));
        for topic in [&told, &untold] {
            lab.create_topic(topic, 1, &[]);
        }
        let id = format!("hangs.{committed}");
        let mut transactions = lab.admin.transactions().unwrap();
        assert_eq!(transactions.ended(&id).unwrap(), None, "nobody has had this id");
        let name = Text::from(id.as_str());
        let producer = wire.init(&name);
        wire.begin(&name, producer, &told, &untold);

        // While it goes on, only what its coordinator does not know of is found.
        let places: BTreeSet<_> = [(told.clone(), 0), (untold.clone(), 0)].into();
        let found = transactions.hanging(&places).unwrap();
        let found: Vec<_> = found.iter().map(|h| (h.topic.as_str(), h.first, h.committed)).collect();
        assert_eq!(found, [(untold.as_str(), 0, None)]);
        let ended = |committed, open: &[(String, i32)]| Ended {
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed,
            open: open.iter().cloned().collect(),
        };
        let aborted = ended(false, &[(told.clone(), 0)]);
        assert_eq!(transactions.ended(&id).unwrap(), Some(aborted), "the next owner aborts it");

        wire.end(&name, producer, committed);
        let decided = wait_for_some(LONG, "the coordinator to be done", || {
            let found = transactions.hanging(&places).unwrap();
            (found.len() == 1 && found[0].committed.is_some()).then(|| found[0].clone())
        });
        assert_eq!((decided.topic.as_str(), decided.committed), (untold.as_str(), Some(committed)));
        assert_eq!(transactions.ended(&id).unwrap(), Some(ended(committed, &[])));
        assert_eq!(lab.admin.stable_end(&untold, 0).unwrap(), (0, 1), "nobody gets past it");

        // The next owner makes the coordinator forget how it ended.
        wire.init(&name);
        assert_eq!(transactions.hanging(&places).unwrap()[0].committed, None);
        transactions.end(&decided, committed).unwrap();
        assert_eq!(transactions.hanging(&places).unwrap(), []);
        assert_eq!(lab.admin.stable_end(&untold, 0).unwrap(), (2, 2));
        assert_eq!([seen(&lab, &told), seen(&lab, &untold)], [usize::from(committed); 2]);
    }
}
