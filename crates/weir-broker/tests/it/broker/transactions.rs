use super::*;

async fn init(client: &mut Client, id: &'static str) -> (i64, i16) {
    let request = InitProducerIdRequest {
        transactional_id: Some(Text::from_static(id)),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let response: InitProducerIdResponse = client.call(5, &request).await;
    assert_eq!(response.error_code, ErrorCode::NONE);
    (response.producer_id, response.producer_epoch)
}

/// Produces in a transaction; in version 12 and later this takes the partition in.
async fn produce(client: &mut Client, version: i16, topic: &str, records: Bytes) -> ErrorCode {
    let mut request = produce_request(topic, 0, records);
    request.transactional_id = Some(Text::from_static("tx"));
    let response: ProduceResponse = client.call(version, &request).await;
    response.responses[0].partition_responses[0].error_code
}

async fn end(
    client: &mut Client,
    version: i16,
    (producer_id, producer_epoch): (i64, i16),
    committed: bool,
) -> EndTxnResponse {
    let request = EndTxnRequest { transactional_id: Text::from_static("tx"), producer_id, producer_epoch, committed };
    client.call(version, &request).await
}

async fn read(client: &mut Client, isolation_level: i8) -> FetchPartitionData {
    let mut request = fetch_request(&[("orders", 0, 0)], Duration::ZERO);
    request.isolation_level = isolation_level;
    let response: FetchResponse = client.call(12, &request).await;
    response.responses[0].partitions[0].clone()
}

#[tokio::test]
async fn version_2_commits_and_aborts_and_readers_see_it() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, epoch) = init(&mut client, "tx").await;
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 0, true, &["a"])).await, ErrorCode::NONE);
    // Nothing of an open transaction is shown to readers of what is committed.
    let open = read(&mut client, 1).await;
    assert_eq!((open.last_stable_offset, open.high_watermark), (0, 1));
    assert!(open.records.unwrap().is_empty());
    assert_eq!(client.end_offset("orders", 0, 1).await, 0);
    let next = end(&mut client, 5, (id, epoch), true).await;
    assert_eq!((next.error_code, next.producer_id, next.producer_epoch), (ErrorCode::NONE, id, epoch + 1));
    let epoch = next.producer_epoch;
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 0, true, &["b"])).await, ErrorCode::NONE);
    let next = end(&mut client, 5, (id, epoch), false).await;
    assert_eq!(next.error_code, ErrorCode::NONE);
    let read = read(&mut client, 1).await;
    let aborted: Vec<_> =
        read.aborted_transactions.unwrap().iter().map(|one| (one.producer_id, one.first_offset)).collect();
    assert_eq!(aborted, [(id, 2)]);
    assert_eq!(values(&read.records.unwrap()), ["a", "b"], "the reader is told which ones to drop");
    // The old epoch is over.
    let late = produce(&mut client, 12, "orders", batch_of(id, epoch, 1, true, &["c"])).await;
    assert_eq!(late, ErrorCode::INVALID_PRODUCER_EPOCH);
}

#[tokio::test]
async fn version_1_must_add_partitions_first() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, epoch) = init(&mut client, "tx").await;
    let early = produce(&mut client, 9, "orders", batch_of(id, epoch, 0, true, &["a"])).await;
    assert_eq!(early, ErrorCode::INVALID_TXN_STATE);
    let mut add = async |topics: &[&str]| {
        let topic = |name: &&str| AddPartitionsToTxnTopic { name: Text::from(*name), partitions: vec![0] };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: Text::from_static("tx"),
            v3_and_below_producer_id: id,
            v3_and_below_producer_epoch: epoch,
            v3_and_below_topics: topics.iter().map(topic).collect(),
            ..Default::default()
        };
        let response: AddPartitionsToTxnResponse = client.call(3, &request).await;
        let code = |topic: &AddPartitionsToTxnTopicResult| topic.results_by_partition[0].partition_error_code;
        response.results_by_topic_v3_and_below.iter().map(code).collect::<Vec<_>>()
    };
    let codes = [ErrorCode::OPERATION_NOT_ATTEMPTED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION];
    assert_eq!(add(&["orders", "none"]).await, codes);
    assert_eq!(add(&["orders"]).await, [ErrorCode::NONE]);
    let mut client = lab.client().await;
    assert_eq!(produce(&mut client, 9, "orders", batch_of(id, epoch, 0, true, &["a"])).await, ErrorCode::NONE);
    let done = end(&mut client, 3, (id, epoch), true).await;
    assert_eq!(done.error_code, ErrorCode::NONE);
    assert_eq!(client.end_offset("orders", 0, 1).await, 2);
}

#[tokio::test]
async fn a_second_producer_fences_the_first_and_ends_what_it_left() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, epoch) = init(&mut client, "tx").await;
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 0, true, &["a"])).await, ErrorCode::NONE);
    let (same, newer) = init(&mut client, "tx").await;
    assert_eq!(same, id);
    assert!(newer > epoch);
    assert_eq!(client.end_offset("orders", 0, 1).await, 2, "the open transaction was aborted");
    let late = produce(&mut client, 12, "orders", batch_of(id, epoch, 1, true, &["b"])).await;
    assert_eq!(late, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(end(&mut client, 5, (id, epoch), true).await.error_code, ErrorCode::PRODUCER_FENCED);
}

#[tokio::test]
async fn an_open_transaction_outlives_the_broker() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, epoch) = init(&mut client, "tx").await;
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 0, true, &["a"])).await, ErrorCode::NONE);
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    assert_eq!(client.end_offset("orders", 0, 1).await, 0);
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 1, true, &["b"])).await, ErrorCode::NONE);
    assert_eq!(end(&mut client, 5, (id, epoch), true).await.error_code, ErrorCode::NONE);
    let read = read(&mut client, 1).await;
    assert_eq!(values(&read.records.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn offsets_of_a_transaction_hold_when_it_is_committed() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, mut epoch) = init(&mut client, "tx").await;
    for (offset, commit, expect) in [(5, true, 5), (9, false, 5)] {
        let request = TxnOffsetCommitRequest {
            transactional_id: Text::from_static("tx"),
            group_id: Text::from_static("group"),
            producer_id: id,
            producer_epoch: epoch,
            topics: ["orders", "none"]
                .map(|name| TxnOffsetCommitRequestTopic {
                    name: Text::from_static(name),
                    partitions: vec![TxnOffsetCommitRequestPartition {
                        committed_offset: offset,
                        ..Default::default()
                    }],
                })
                .to_vec(),
            ..Default::default()
        };
        let response: TxnOffsetCommitResponse = client.call(5, &request).await;
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
        let fetch = async |client: &mut Client| {
            let request = OffsetFetchRequest {
                group_id: Text::from_static("group"),
                topics: Some(vec![OffsetFetchRequestTopic {
                    name: Text::from_static("orders"),
                    partition_indexes: vec![0],
                }]),
                require_stable: true,
                ..Default::default()
            };
            let response: OffsetFetchResponse = client.call(7, &request).await;
            let part = &response.topics[0].partitions[0];
            (part.error_code, part.committed_offset)
        };
        assert_eq!(fetch(&mut client).await.0, ErrorCode::UNSTABLE_OFFSET_COMMIT);
        let next = end(&mut client, 5, (id, epoch), commit).await;
        assert_eq!(next.error_code, ErrorCode::NONE);
        epoch = next.producer_epoch;
        assert_eq!(fetch(&mut client).await, (ErrorCode::NONE, expect));
    }
}

#[tokio::test]
async fn transactions_and_producers_can_be_looked_at_and_ended_by_hand() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, epoch) = init(&mut client, "tx").await;
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 0, true, &["a"])).await, ErrorCode::NONE);
    let response: ListTransactionsResponse = client.call(2, &ListTransactionsRequest::default()).await;
    assert_eq!(&*response.transaction_states[0].transaction_state, "Ongoing");
    let ids = vec![Text::from_static("tx"), Text::from_static("none")];
    let response: DescribeTransactionsResponse =
        client.call(0, &DescribeTransactionsRequest { transactional_ids: ids }).await;
    assert_eq!(response.transaction_states[0].topics[0].partitions, [0]);
    assert_eq!(response.transaction_states[1].error_code, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
    let topics =
        vec![DescribeProducersTopicRequest { name: Text::from_static("orders"), partition_indexes: vec![0, 1] }];
    let response: DescribeProducersResponse = client.call(0, &DescribeProducersRequest { topics }).await;
    let producer = &response.topics[0].partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.current_txn_start_offset), (id, 0));
    assert_eq!(response.topics[0].partitions[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let marker = WritableTxnMarker {
        producer_id: id,
        producer_epoch: epoch,
        topics: vec![WritableTxnMarkerTopic { name: Text::from_static("orders"), partition_indexes: vec![0, 1] }],
        ..Default::default()
    };
    let response: WriteTxnMarkersResponse = client.call(1, &WriteTxnMarkersRequest { markers: vec![marker] }).await;
    let codes: Vec<_> = response.markers[0].topics[0].partitions.iter().map(|part| part.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(client.end_offset("orders", 0, 1).await, 2);
}

#[tokio::test]
async fn transactions_work_with_fsync_as_well() {
    let lab = Lab::with(|config| config.flush = weir_broker::Flush::Fsync).await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let (id, epoch) = init(&mut client, "tx").await;
    assert_eq!(produce(&mut client, 12, "orders", batch_of(id, epoch, 0, true, &["a"])).await, ErrorCode::NONE);
    assert_eq!(end(&mut client, 5, (id, epoch), true).await.error_code, ErrorCode::NONE);
    assert_eq!(client.end_offset("orders", 0, 1).await, 2);
}
