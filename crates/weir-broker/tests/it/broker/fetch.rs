use super::*;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(50);

#[tokio::test]
async fn every_version_reads_what_was_written() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let id = client.create("orders", 1, &[]).await;
    client.produce("orders", 0, batch(&["a", "b"])).await;
    client.produce("orders", 0, batch(&["c"])).await;
    for version in 4..=18 {
        let mut request = fetch_request(&[("orders", 0, 2)], Duration::ZERO);
        request.topics[0].topic_id = id;
        let response: FetchResponse = client.call(version, &request).await;
        let part = &response.responses[0].partitions[0];
        assert_eq!((part.error_code, part.high_watermark), (ErrorCode::NONE, 3));
        assert_eq!((response.session_id, part.aborted_transactions.as_ref()), (0, None));
        assert_eq!(values(part.records.as_ref().unwrap()), ["c"], "version {version}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_gets_the_code_of_kafka_at_once() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    client.produce("orders", 0, batch(&["a"])).await;
    let mut check = async |topic: &str, partition, offset, epoch, expect| {
        let mut request = fetch_request(&[(topic, partition, offset)], LONG);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response: FetchResponse = client.call(12, &request).await;
        assert_eq!(response.responses[0].partitions[0].error_code, expect);
    };
    check("none", 0, 0, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check("orders", 1, 0, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check("orders", 0, 2, -1, ErrorCode::OFFSET_OUT_OF_RANGE).await;
    check("orders", 0, -1, -1, ErrorCode::OFFSET_OUT_OF_RANGE).await;
    check("orders", 0, 0, 1, ErrorCode::UNKNOWN_LEADER_EPOCH).await;
    let mut request = fetch_request(&[("", 0, 0)], LONG);
    request.topics[0].topic_id = Uuid([3; 16]);
    let response: FetchResponse = client.call(13, &request).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    request.session_id = 5;
    request.session_epoch = 3;
    let response: FetchResponse = client.call(13, &request).await;
    assert_eq!(response.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_records() {
    let lab = Lab::start().await;
    let (mut reader, mut writer) = (lab.client().await, lab.client().await);
    writer.create("orders", 2, &[]).await;
    let start = Instant::now();
    reader.send(12, &fetch_request(&[("orders", 0, 0), ("orders", 1, 0)], LONG)).await;
    // Two round trips later the reader waits, in all likelihood; if it does not yet, this is a plain read.
    writer.end_offset("orders", 0, 0).await;
    writer.end_offset("orders", 1, 0).await;
    writer.produce("orders", 1, batch(&["x"])).await;
    let response: FetchResponse = reader.receive(12).await;
    assert_eq!(values(response.responses[1].partitions[0].records.as_ref().unwrap()), ["x"]);
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn a_waiting_reader_is_answered_when_its_time_is_over() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let start = Instant::now();
    let part = client.fetch("orders", 0, 0, Duration::from_millis(300)).await;
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!((part.error_code, part.records), (ErrorCode::NONE, Some(Bytes::new())));
}

#[tokio::test]
async fn a_reader_that_wants_much_waits_for_much() {
    let lab = Lab::start().await;
    let (mut reader, mut writer) = (lab.client().await, lab.client().await);
    writer.create("orders", 1, &[]).await;
    let one = batch(&["x"]);
    let mut request = fetch_request(&[("orders", 0, 0)], LONG);
    request.min_bytes = i32::try_from(5 * one.len()).unwrap();
    reader.send(12, &request).await;
    for _ in 0..5 {
        writer.produce("orders", 0, one.clone()).await;
    }
    let response: FetchResponse = reader.receive(12).await;
    assert_eq!(values(response.responses[0].partitions[0].records.as_ref().unwrap()).len(), 5);
}

#[tokio::test]
async fn a_waiting_reader_is_told_when_its_topic_goes() {
    let lab = Lab::start().await;
    let (mut reader, mut writer) = (lab.client().await, lab.client().await);
    writer.create("orders", 1, &[]).await;
    reader.send(12, &fetch_request(&[("orders", 0, 0)], LONG)).await;
    writer.end_offset("orders", 0, 0).await;
    let request = DeleteTopicsRequest { topic_names: vec![Text::from_static("orders")], ..Default::default() };
    let _: DeleteTopicsResponse = writer.call(5, &request).await;
    let response: FetchResponse = reader.receive(12).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn a_waiting_reader_does_not_keep_the_broker_from_stopping() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    client.send(12, &fetch_request(&[("orders", 0, 0)], LONG)).await;
    let start = Instant::now();
    lab.broker.stop().await;
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn limits_hold_and_every_partition_gets_its_turn() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 3, &[]).await;
    let text = "x".repeat(1000);
    for partition in 0..3 {
        for _ in 0..3 {
            client.produce("orders", partition, batch(&[&text])).await;
        }
    }
    let mut request = fetch_request(&[("orders", 0, 0), ("orders", 1, 0), ("orders", 2, 0)], Duration::ZERO);
    // Less than one batch is still one batch, or its reader would never get beyond it.
    request.max_bytes = 10;
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let response: FetchResponse = client.call(12, &request).await;
        let counts: Vec<usize> = response
            .responses
            .iter()
            .map(|topic| values(topic.partitions[0].records.as_ref().unwrap()).len())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 1, "{counts:?}");
        first.insert(counts.iter().position(|count| *count > 0).unwrap());
    }
    assert_eq!(first.len(), 3);
    request.max_bytes = 1 << 20;
    for topic in &mut request.topics {
        topic.partitions[0].partition_max_bytes = 2200;
    }
    let response: FetchResponse = client.call(12, &request).await;
    for topic in &response.responses {
        assert_eq!(values(topic.partitions[0].records.as_ref().unwrap()).len(), 2);
    }
}

#[tokio::test]
async fn positions_are_found_by_time_and_end() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    for time in [100, 300, 200] {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(time, None, Some(b"x"), &[]).unwrap();
        client.produce("orders", 0, builder.finish(0).unwrap()).await;
    }
    let mut check = async |version, timestamp, expect: Result<(i64, i64), ErrorCode>| {
        let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
        let topics = vec![ListOffsetsTopic { name: Text::from_static("orders"), partitions }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let response: ListOffsetsResponse = client.call(version, &request).await;
        let found = &response.topics[0].partitions[0];
        let answer = match found.error_code {
            ErrorCode::NONE => Ok((found.offset, found.timestamp)),
            code => Err(code),
        };
        assert_eq!(answer, expect, "{timestamp}");
    };
    for version in 1..=11 {
        check(version, -2, Ok((0, -1))).await;
        check(version, -1, Ok((3, -1))).await;
        check(version, 0, Ok((0, 100))).await;
        check(version, 101, Ok((1, 300))).await;
        check(version, 301, Ok((-1, -1))).await;
    }
    check(7, -3, Ok((1, 300))).await;
    check(8, -4, Ok((0, -1))).await;
    check(9, -5, Ok((-1, -1))).await;
    check(11, -6, Ok((-1, -1))).await;
    check(10, -6, Err(ErrorCode::UNSUPPORTED_VERSION)).await;
    check(6, -3, Err(ErrorCode::UNSUPPORTED_VERSION)).await;
    check(11, -99, Err(ErrorCode::UNSUPPORTED_VERSION)).await;
}

#[tokio::test]
async fn deleted_records_are_gone_for_good() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    client.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    for _ in 0..3 {
        client.produce("orders", 0, batch(&["x"])).await;
    }
    let mut check = async |topic: &str, offset, expect: (i64, ErrorCode)| {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
        let topics = vec![DeleteRecordsTopic { name: Text::from(topic), partitions }];
        let response: DeleteRecordsResponse =
            client.call(2, &DeleteRecordsRequest { topics, ..Default::default() }).await;
        let done = &response.topics[0].partitions[0];
        assert_eq!((done.low_watermark, done.error_code), expect);
    };
    check("orders", 2, (2, ErrorCode::NONE)).await;
    check("orders", 4, (-1, ErrorCode::OFFSET_OUT_OF_RANGE)).await;
    check("none", 0, (-1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).await;
    check("compacted", 0, (-1, ErrorCode::POLICY_VIOLATION)).await;
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    assert_eq!(client.fetch("orders", 0, 1, Duration::ZERO).await.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("orders", 0, 2, Duration::ZERO).await.log_start_offset, 2);
}
