//! Configuration, admin, reader and writers.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_kafka::{
    Admin, ClusterConfig, Error, Failure, NewTopic, Outgoing, Read, ReadOptions, Reader, Record, Start,
    TransactionalWriter, Until, Writer,
};
use weir_testkit::wait_for;

use crate::lab::{self, LONG, Lab};

#[test]
fn an_option_that_is_not_the_users_is_refused_with_the_reason() {
    let check = |option: &str, value: &str, expect: Option<&str>| {
        let result = ClusterConfig::new("localhost:9092", [(option, value)]);
        match (result, expect) {
            (Ok(_), None) => {}
            (Err(error @ Error::Config { .. }), Some(expect)) => {
                let text = error.to_string();
                assert!(text.contains(expect) && text.contains(option) && !text.contains("secret"), "{text}");
            }
            (result, _) => panic!("{option}={value}: {result:?}"),
        }
    };
    check("acks", "1", Some("survive"));
    check("enable.auto.commit", "true", Some("in the transaction"));
    check("isolation.level", "read_uncommitted", Some("read_committed"));
    check("transactional.id", "x", Some("instance"));
    check("auto.offset.reset", "latest", Some("passes over"));
    check("test.mock.num.brokers", "3", Some("tests"));
    check("group.protocol", "consumer", Some("group protocol"));
    check("no.such.option", "secret", Some("unknown"));
    check("linger.ms", "secret", Some("does not take"));
    check("linger.ms", "1", None);
    check("security.protocol", "sasl_ssl", None);
    check("sasl.password", "secret", None);
    check("client.id", "mine", None);
    assert!(ClusterConfig::new(" ", [("linger.ms", "1")]).is_err());
    let config = ClusterConfig::new("b:1", [("sasl.password", "secret")]).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn a_cluster_that_is_not_there_is_unavailable() {
    let config = ClusterConfig::new("127.0.0.1:1", [] as [(&str, &str); 0]).unwrap();
    let admin = Admin::new(&config).unwrap().with_timeout(Duration::from_millis(500));
    assert!(admin.ping().unwrap_err().is_unavailable());
    assert!(admin.topics().unwrap_err().is_unavailable());
    assert!(admin.create_topic(&NewTopic::new("t", 1)).unwrap_err().is_unavailable());
    let failed = TransactionalWriter::open(&config, "t", Duration::from_secs(1)).err().unwrap();
    assert_eq!(failed.failure, Failure::Retriable, "{failed}");
}

#[test]
fn topics_are_created_changed_and_deleted() {
    let Some(lab) = lab::shared() else { return };
    let (admin, topic) = (&lab.admin, format!("{}.topic", lab.name));
    admin.ping().unwrap();
    let new = NewTopic::new(&topic, 2).set("max.message.bytes", "12345").set("cleanup.policy", "compact");
    assert!(admin.create_topic(&new).unwrap());
    assert!(!admin.create_topic(&new).unwrap());
    assert_eq!(admin.partitions(&topic).unwrap(), Some(2));
    assert_eq!(admin.topics().unwrap().get(&topic), Some(&2));
    admin.set_partitions(&topic, 3).unwrap();
    wait_for(LONG, "the third partition", || admin.partitions(&topic).unwrap() == Some(3));
    let change = BTreeMap::from([("max.message.bytes".to_owned(), "54321".to_owned())]);
    admin.alter_configs(&topic, &change).unwrap();
    wait_for(LONG, "the change to be seen", || {
        let configs = admin.configs(&[&topic, "no.such.topic"]).unwrap();
        assert!(!configs.contains_key("no.such.topic"));
        let get = |name: &str| configs[&topic][name].clone();
        assert_eq!((get("cleanup.policy").value.as_str(), get("cleanup.policy").own), ("compact", true));
        assert!(!get("retention.ms").own);
        get("max.message.bytes").value == "54321"
    });
    assert_eq!(admin.offsets(&topic).unwrap().len(), 3);
    assert!(admin.delete_topic(&topic).unwrap());
    assert!(!admin.delete_topic(&topic).unwrap());
    assert_eq!(admin.offsets("no.such.topic"), Err(Error::NoSuchTopic { topic: "no.such.topic".to_owned() }));
    let change = admin.alter_configs("no.such.topic", &change);
    assert_eq!(change, Err(Error::NoSuchTopic { topic: "no.such.topic".to_owned() }));
}

/// Everything up to the end.
fn read(lab: &Lab, topic: &str, options: ReadOptions) -> Vec<Record> {
    let mut reader = Reader::open(&lab.cluster, topic, options).unwrap();
    let mut records = Vec::new();
    wait_for(LONG, "the reader to reach the end", || match reader.next(Duration::from_secs(1)).unwrap() {
        Read::Record(record) => {
            records.push(record);
            false
        }
        Read::CaughtUp => true,
        Read::Idle => false,
    });
    records
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap()).collect()
}

#[test]
fn a_reader_starts_where_it_is_told_and_stops_at_the_end() {
    let Some(lab) = lab::shared() else { return };
    let topic = format!("{}.topic", lab.name);
    lab.create_topic(&topic, 2, &[]);
    let mut writer = Writer::open(&lab.cluster, 100).unwrap();
    for n in 0..10 {
        let value = n.to_string();
        let record = Outgoing {
            topic: &topic,
            partition: Some(n % 2),
            value: Some(value.as_bytes()),
            headers: &[("n", Some(value.as_bytes())), ("null", None)],
            timestamp: Some(lab::today() + i64::from(n)),
            ..Outgoing::default()
        };
        assert_eq!(writer.write(&record).unwrap(), (n % 2, i64::from(n / 2)));
    }
    let check = |options: ReadOptions, expect: &[&str]| {
        let mut found = values(&read(&lab, &topic, options));
        found.sort();
        assert_eq!(found, expect);
    };
    check(ReadOptions::default(), &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    check(ReadOptions { start: Start::End, ..ReadOptions::default() }, &[]);
    check(ReadOptions { partitions: Some(vec![1]), ..ReadOptions::default() }, &["1", "3", "5", "7", "9"]);
    let offsets = Start::Offsets(BTreeMap::from([(0, 3), (1, 99)]));
    check(ReadOptions { start: offsets, ..ReadOptions::default() }, &["6", "8"]);
    check(ReadOptions { start: Start::Time(lab::today() + 7), ..ReadOptions::default() }, &["7", "8", "9"]);
    let first = &read(&lab, &topic, ReadOptions { partitions: Some(vec![0]), ..ReadOptions::default() })[0];
    assert_eq!(first.headers, [("n".to_owned(), Some(b"0".to_vec())), ("null".to_owned(), None)]);
    assert_eq!(first.timestamp, weir_pump::Timestamp::Create(lab::today()));
    let missing = Reader::open(&lab.cluster, "no.such.topic", ReadOptions::default()).err();
    assert_eq!(missing, Some(Error::NoSuchTopic { topic: "no.such.topic".to_owned() }));
}

#[test]
fn the_end_is_found_behind_aborted_records_and_markers() {
    let Some(lab) = lab::shared() else { return };
    let topic = format!("{}.topic", lab.name);
    lab.create_topic(&topic, 1, &[]);
    let mut writer = TransactionalWriter::open(&lab.cluster, &lab.name, Duration::from_secs(20)).unwrap();
    let mut write = |values: &[&str], commit: bool| {
        writer.begin().unwrap();
        for value in values {
            let record = Outgoing { topic: &topic, value: Some(value.as_bytes()), ..Outgoing::default() };
            writer.send_told(&record).unwrap();
        }
        if commit { writer.commit().unwrap() } else { writer.abort().map(|()| Vec::new()).unwrap() }
    };
    assert_eq!(write(&["a", "b"], true), [(0, 0), (0, 1)]);
    write(&["lost"], false);
    assert_eq!(values(&read(&lab, &topic, ReadOptions::default())), ["a", "b"]);

    let live = ReadOptions { until: Until::Live, ..ReadOptions::default() };
    let mut reader = Reader::open(&lab.cluster, &topic, live).unwrap();
    let mut next = || loop {
        match reader.next(LONG).unwrap() {
            Read::Record(record) => return values(&[record]).remove(0),
            Read::CaughtUp => return "caught up".to_owned(),
            Read::Idle => {}
        }
    };
    assert_eq!([next(), next(), next()], ["a", "b", "caught up"]);
    write(&["c"], true);
    assert_eq!(next(), "c");
    write(&["lost too"], false);
    write(&["d"], true);
    reader.extend().unwrap();
    let mut next = || loop {
        match reader.next(LONG).unwrap() {
            Read::Record(record) => return values(&[record]).remove(0),
            Read::CaughtUp => return "caught up".to_owned(),
            Read::Idle => {}
        }
    };
    assert_eq!([next(), next()], ["d", "caught up"]);
    write(&["e"], true);
    reader.extend().unwrap();
    reader.extend().unwrap();
    assert_eq!(reader.next(LONG).map(|read| matches!(read, Read::Record(_))), Ok(true));
    assert_eq!(reader.next(LONG), Ok(Read::CaughtUp));
    assert_eq!(reader.next(Duration::from_millis(20)), Ok(Read::Idle));
}

#[test]
fn a_newer_owner_fences_the_older_and_undoes_what_it_left_open() {
    let Some(lab) = lab::shared() else { return };
    let topic = format!("{}.topic", lab.name);
    lab.create_topic(&topic, 1, &[]);
    let open = || TransactionalWriter::open(&lab.cluster, &lab.name, Duration::from_secs(20)).unwrap();
    let record = |value: &'static str| (value.as_bytes(), topic.clone());
    let send = |writer: &mut TransactionalWriter, value: &'static str| {
        let (value, topic) = record(value);
        writer.send(&Outgoing { topic: &topic, value: Some(value), ..Outgoing::default() })
    };
    let mut old = open();
    old.begin().unwrap();
    send(&mut old, "old").unwrap();
    let mut new = open();
    let failed = old.commit().err().unwrap();
    assert_eq!(failed.failure, Failure::Fenced, "{failed}");
    new.begin().unwrap();
    send(&mut new, "new").unwrap();
    new.send_offsets(&format!("{}.replay", lab.name), &[(&topic, 0, 7)]).unwrap();
    new.commit().unwrap();
    assert_eq!(values(&read(&lab, &topic, ReadOptions::default())), ["new"]);
    let committed = lab.admin.committed(&format!("{}.replay", lab.name), &topic).unwrap();
    assert_eq!(committed, BTreeMap::from([(0, 7)]));
}

#[test]
fn every_record_of_a_writer_is_answered_for() {
    let Some(lab) = lab::shared() else { return };
    let topic = format!("{}.topic", lab.name);
    lab.create_topic(&topic, 3, &[("max.message.bytes", "2000")]);
    let mut writer = Writer::open(&lab.cluster, 50).unwrap();
    let keys: Vec<String> = (0..500).map(|n| format!("key-{n}")).collect();
    let mut deliveries = Vec::new();
    for (token, key) in keys.iter().enumerate() {
        let record = Outgoing { topic: &topic, key: Some(key.as_bytes()), value: Some(b"v"), ..Outgoing::default() };
        writer.send(&record, token).unwrap();
        deliveries.extend(writer.deliveries());
    }
    deliveries.extend(writer.flush());
    deliveries.sort_by_key(|delivery| delivery.token);
    assert_eq!(deliveries.len(), keys.len());
    // The partition the Java client chooses: toPositive(murmur2(key)) % partitions, org.apache.kafka.common.utils.Utils.
    for delivery in &deliveries {
        let expect = i32::try_from((murmur2(keys[delivery.token].as_bytes()) & 0x7fff_ffff) % 3).unwrap();
        assert_eq!(delivery.result.as_ref().unwrap().0, expect, "{}", keys[delivery.token]);
    }
    let large = Outgoing { topic: &topic, value: Some(&[0; 5_000]), ..Outgoing::default() };
    assert_eq!(writer.write(&large), Err(Error::TooLarge { topic: topic.clone() }));
    let nowhere = Outgoing { topic: "no.such.topic", value: Some(b"v"), ..Outgoing::default() };
    assert!(writer.write(&nowhere).is_err());
    assert_eq!(read(&lab, &topic, ReadOptions::default()).len(), 500);
}

/// MurmurHash 2 with the seed and constants of the Java client.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}
