use super::*;

#[tokio::test]
async fn what_is_refused_gets_the_code_of_kafka_and_harms_nothing() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[("max.message.bytes", "200")]).await;
    client.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let good = batch(&["x"]);
    let mut torn = good.to_vec();
    torn.truncate(good.len() - 1);
    let mut wrong = good.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    let mut old = good.to_vec();
    old[16] = 1;
    let mut check = async |topic: &str, partition, records: &[u8], expect: ErrorCode| {
        let done = client.produce(topic, partition, Bytes::copy_from_slice(records)).await;
        assert_eq!(done.error_code, expect, "{done:?}");
        assert_eq!(done.base_offset, -1);
    };
    check("none", 0, &good, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check("orders", 1, &good, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check("orders", -1, &good, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check("orders", 0, &wrong, ErrorCode::CORRUPT_MESSAGE).await;
    check("orders", 0, &torn, ErrorCode::INVALID_RECORD).await;
    check("orders", 0, &old, ErrorCode::INVALID_RECORD).await;
    check("orders", 0, &batch(&[&"x".repeat(200)]), ErrorCode::MESSAGE_TOO_LARGE).await;
    check("compacted", 0, &good, ErrorCode::INVALID_RECORD).await;
    check("orders", 0, &batch_of(1, 0, 5, true, &["x"]), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED).await;
    assert_eq!(client.end_offset("orders", 0, 0).await, 0);
    assert_eq!(client.produce("orders", 0, good).await.base_offset, 0);
}

#[tokio::test]
async fn a_refused_record_is_named() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, Some(b"key"), Some(b"x"), &[]).unwrap();
    builder.push(1, None, Some(b"x"), &[]).unwrap();
    let done = client.produce("compacted", 0, builder.finish(0).unwrap()).await;
    assert_eq!(done.error_code, ErrorCode::INVALID_RECORD);
    assert!(done.error_message.is_some());
    assert_eq!(done.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn topics_are_named_by_id_from_version_13_on() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let id = client.create("orders", 1, &[]).await;
    let mut produce = async |topic_id| {
        let mut request = produce_request("", 0, batch(&["x"]));
        request.topic_data[0].topic_id = topic_id;
        let response: ProduceResponse = client.call(13, &request).await;
        assert_eq!(response.responses[0].topic_id, topic_id);
        response.responses[0].partition_responses[0].error_code
    };
    assert_eq!(produce(id).await, ErrorCode::NONE);
    assert_eq!(produce(Uuid([1; 16])).await, ErrorCode::UNKNOWN_TOPIC_ID);
}

#[tokio::test]
async fn every_version_appends_and_each_partition_has_its_own_fate() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 2, &[]).await;
    for (count, version) in (3..=12).enumerate() {
        let mut request = produce_request("orders", 1, batch(&["x"]));
        request.topic_data[0].partition_data.push(PartitionProduceData { index: 9, records: Some(batch(&["x"])) });
        let response: ProduceResponse = client.call(version, &request).await;
        let parts = &response.responses[0].partition_responses;
        assert_eq!((parts[0].error_code, parts[0].base_offset), (ErrorCode::NONE, count as i64));
        assert_eq!(parts[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[tokio::test]
async fn without_acks_there_is_no_answer_and_an_error_ends_the_connection() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let mut request = produce_request("orders", 0, batch(&["x"]));
    request.acks = 0;
    client.send(9, &request).await;
    // The next answer is the one to the next request.
    assert_eq!(client.produce("orders", 0, batch(&["y"])).await.base_offset, 1);
    request.topic_data[0].name = Text::from_static("none");
    client.send(9, &request).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn records_sent_without_acks_are_kept_when_their_client_leaves_at_once() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    client.send(12, &fetch_request(&[("orders", 0, 0)], PATIENCE)).await;
    for _ in 0..10 {
        let mut request = produce_request("orders", 0, batch(&["x"]));
        request.acks = 0;
        client.send(9, &request).await;
    }
    client.stream.shutdown().await.unwrap();
    let mut other = lab.client().await;
    let arrived = async {
        while other.end_offset("orders", 0, 0).await < 10 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, arrived).await.expect("all records");
}

#[tokio::test]
async fn other_acks_than_kafkas_are_refused() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    for acks in [-2, 2, 7] {
        let mut request = produce_request("orders", 0, batch(&["x"]));
        request.acks = acks;
        let response: ProduceResponse = client.call(9, &request).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::INVALID_REQUIRED_ACKS);
    }
}

#[tokio::test]
async fn a_producer_that_says_it_twice_is_heard_once_also_after_a_restart() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let init: InitProducerIdResponse =
        client.call(4, &InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() }).await;
    assert_eq!((init.error_code, init.producer_epoch), (ErrorCode::NONE, 0));
    let one = batch_of(init.producer_id, 0, 0, false, &["a", "b"]);
    assert_eq!(client.produce("orders", 0, one.clone()).await.base_offset, 0);
    assert_eq!(client.produce("orders", 0, one.clone()).await.base_offset, 0);
    let gap = batch_of(init.producer_id, 0, 5, false, &["x"]);
    assert_eq!(client.produce("orders", 0, gap).await.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    assert_eq!(client.produce("orders", 0, one).await.base_offset, 0);
    let next = batch_of(init.producer_id, 0, 2, false, &["c"]);
    assert_eq!(client.produce("orders", 0, next).await.base_offset, 2);
    let again: InitProducerIdResponse =
        client.call(4, &InitProducerIdRequest { transaction_timeout_ms: 1000, ..Default::default() }).await;
    assert!(again.producer_id > init.producer_id, "an id is never given twice");
}

#[tokio::test]
async fn what_is_acknowledged_with_fsync_is_there() {
    let lab = Lab::with(|config| config.flush = weir_broker::Flush::Fsync).await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    for count in 0..5 {
        assert_eq!(client.produce("orders", 0, batch(&["x"])).await.base_offset, count);
    }
}

#[tokio::test]
async fn a_client_over_its_rate_is_told_to_wait_and_loses_nothing() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let entity = vec![QuotaEntity { entity_type: Text::from_static("client-id"), entity_name: None }];
    let ops = vec![AlterQuotaOp { key: Text::from_static("producer_byte_rate"), value: 1000.0, remove: false }];
    let request = AlterClientQuotasRequest { entries: vec![AlterQuotaEntry { entity, ops }], validate_only: false };
    let response: AlterClientQuotasResponse = client.call(1, &request).await;
    assert_eq!(response.entries[0].error_code, ErrorCode::NONE);
    let mut other = lab.client().await.named("other");
    let large = batch(&[&"x".repeat(1500)]);
    let response: ProduceResponse = client.call(9, &produce_request("orders", 0, large)).await;
    assert!(response.throttle_time_ms > 0);
    assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    let response: ProduceResponse = other.call(9, &produce_request("orders", 0, batch(&["x"]))).await;
    assert_eq!(response.throttle_time_ms, 0);
}
