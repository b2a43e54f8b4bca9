use super::*;

async fn alter(
    client: &mut Client,
    resource: (i8, &str),
    steps: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> ErrorCode {
    let config = |(name, config_operation, value): &(&str, i8, Option<&str>)| IncrementalAlterableConfig {
        name: Text::from(*name),
        config_operation: *config_operation,
        value: value.map(Text::from),
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: resource.0,
        resource_name: Text::from(resource.1),
        configs: steps.iter().map(config).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let response: IncrementalAlterConfigsResponse = client.call(1, &request).await;
    response.responses[0].error_code
}

async fn describe(client: &mut Client, resource: (i8, &str), key: &str) -> (Option<String>, i8) {
    let resource = DescribeConfigsResource {
        resource_type: resource.0,
        resource_name: Text::from(resource.1),
        configuration_keys: Some(vec![Text::from(key)]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let response: DescribeConfigsResponse = client.call(4, &request).await;
    assert_eq!(response.results[0].error_code, ErrorCode::NONE);
    response.results[0]
        .configs
        .first()
        .map_or((None, 0), |config| (config.value.as_ref().map(|value| value.to_string()), config.config_source))
}

#[tokio::test]
async fn configs_of_topics_change_step_by_step() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[("retention.ms", "7")]).await;
    let topic = (2, "orders");
    let mut check = async |steps: &[(&str, i8, Option<&str>)], expect| {
        assert_eq!(alter(&mut client, topic, steps, false).await, expect, "{steps:?}");
    };
    check(&[("cleanup.policy", 2, Some("compact"))], ErrorCode::NONE).await;
    check(&[("cleanup.policy", 3, Some("delete"))], ErrorCode::NONE).await;
    check(&[("retention.ms", 1, None)], ErrorCode::NONE).await;
    check(&[("retention.ms", 0, Some("-5"))], ErrorCode::INVALID_CONFIG).await;
    check(&[("retention.ms", 2, Some("5"))], ErrorCode::INVALID_CONFIG).await;
    check(&[("retention", 0, Some("5"))], ErrorCode::INVALID_CONFIG).await;
    check(&[("retention.ms", 0, None)], ErrorCode::INVALID_REQUEST).await;
    check(&[("retention.ms", 9, Some("5"))], ErrorCode::INVALID_REQUEST).await;
    check(&[("retention.ms", 0, Some("5")), ("retention.ms", 0, Some("6"))], ErrorCode::INVALID_REQUEST).await;
    assert_eq!(describe(&mut client, topic, "cleanup.policy").await, (Some("compact".into()), 1));
    assert_eq!(describe(&mut client, topic, "retention.ms").await, (Some("604800000".into()), 5));
    assert_eq!(alter(&mut client, topic, &[("retention.ms", 0, Some("9"))], true).await, ErrorCode::NONE);
    assert_eq!(describe(&mut client, topic, "retention.ms").await.1, 5, "validating changes nothing");
    let missing = alter(&mut client, (2, "none"), &[("retention.ms", 0, Some("9"))], false).await;
    assert_eq!(missing, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    // What holds for appends changes at once.
    assert_eq!(client.produce("orders", 0, batch(&["no key"])).await.error_code, ErrorCode::INVALID_RECORD);
    let steps = [("cleanup.policy", 1, None), ("max.message.bytes", 0, Some("50"))];
    assert_eq!(alter(&mut client, topic, &steps, false).await, ErrorCode::NONE);
    assert_eq!(client.produce("orders", 0, batch(&["x"])).await.error_code, ErrorCode::MESSAGE_TOO_LARGE);
}

#[tokio::test]
async fn the_old_way_to_alter_sets_everything() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[("retention.ms", "7"), ("segment.ms", "8")]).await;
    let config = AlterableConfig { name: Text::from_static("segment.ms"), value: Some(Text::from_static("9")) };
    let resource =
        AlterConfigsResource { resource_type: 2, resource_name: Text::from_static("orders"), configs: vec![config] };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response: AlterConfigsResponse = client.call(2, &request).await;
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    assert_eq!(describe(&mut client, (2, "orders"), "segment.ms").await, (Some("9".into()), 1));
    assert_eq!(describe(&mut client, (2, "orders"), "retention.ms").await.1, 5);
}

#[tokio::test]
async fn what_the_broker_is_told_holds_for_topics_without_their_own_also_after_a_restart() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    client.create("own", 1, &[("max.message.bytes", "1000")]).await;
    assert_eq!(
        alter(&mut client, (4, "2"), &[("message.max.bytes", 0, Some("9"))], false).await,
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(alter(&mut client, (4, ""), &[("node.id", 0, Some("9"))], false).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(alter(&mut client, (4, ""), &[("message.max.bytes", 0, Some("60"))], false).await, ErrorCode::NONE);
    assert_eq!(alter(&mut client, (4, "1"), &[("message.max.bytes", 0, Some("50"))], false).await, ErrorCode::NONE);
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    assert_eq!(describe(&mut client, (4, "1"), "message.max.bytes").await, (Some("50".into()), 2));
    assert_eq!(describe(&mut client, (4, ""), "message.max.bytes").await, (Some("60".into()), 3));
    assert_eq!(describe(&mut client, (2, "orders"), "max.message.bytes").await, (Some("50".into()), 2));
    assert_eq!(client.produce("orders", 0, batch(&["x"])).await.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(client.produce("own", 0, batch(&["x"])).await.error_code, ErrorCode::NONE);
    assert_eq!(describe(&mut client, (4, "1"), "node.id").await, (Some("1".into()), 4));
}

#[tokio::test]
async fn quotas_are_kept_and_found() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let entity = |kind: &'static str, name: Option<&'static str>| QuotaEntity {
        entity_type: Text::from_static(kind),
        entity_name: name.map(Text::from_static),
    };
    let mut set = async |entity: Vec<QuotaEntity>, key: &'static str, value, remove| {
        let ops = vec![AlterQuotaOp { key: Text::from_static(key), value, remove }];
        let entries = vec![AlterQuotaEntry { entity, ops }];
        let response: AlterClientQuotasResponse =
            client.call(1, &AlterClientQuotasRequest { entries, validate_only: false }).await;
        response.entries[0].error_code
    };
    let rate = "consumer_byte_rate";
    assert_eq!(set(vec![entity("client-id", Some("a"))], rate, 5.0, false).await, ErrorCode::NONE);
    assert_eq!(set(vec![entity("client-id", None), entity("user", None)], rate, 6.0, false).await, ErrorCode::NONE);
    assert_eq!(set(vec![entity("client-id", Some("b"))], rate, 7.0, false).await, ErrorCode::NONE);
    assert_eq!(set(vec![entity("client-id", Some("b"))], rate, 0.0, true).await, ErrorCode::NONE);
    assert_eq!(set(vec![], rate, 5.0, false).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(set(vec![entity("planet", None)], rate, 5.0, false).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(set(vec![entity("ip", None), entity("user", None)], rate, 5.0, false).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(set(vec![entity("user", None)], "coffee", 5.0, false).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(set(vec![entity("user", None)], rate, -1.0, false).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(set(vec![entity("user", None)], rate, f64::NAN, false).await, ErrorCode::INVALID_REQUEST);
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    let mut find = async |match_type, name: Option<&'static str>, strict| {
        let component = QuotaFilterComponent {
            entity_type: Text::from_static("client-id"),
            match_type,
            r#match: name.map(Text::from_static),
        };
        let request = DescribeClientQuotasRequest { components: vec![component], strict };
        let response: DescribeClientQuotasResponse = client.call(1, &request).await;
        let mut found: Vec<f64> = response.entries.unwrap().iter().map(|entry| entry.values[0].value).collect();
        found.sort_by(f64::total_cmp);
        found
    };
    assert_eq!(find(0, Some("a"), false).await, [5.0]);
    assert_eq!(find(0, Some("b"), false).await, [0.0; 0]);
    assert_eq!(find(1, None, false).await, [6.0]);
    assert_eq!(find(1, None, true).await, [0.0; 0]);
    assert_eq!(find(2, None, false).await, [5.0, 6.0]);
}

#[tokio::test]
async fn acls_are_kept_found_and_deleted() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let creation = |name: &'static str, principal: &'static str| AclCreation {
        resource_type: 2,
        resource_name: Text::from_static(name),
        resource_pattern_type: 3,
        principal: Text::from_static(principal),
        host: Text::from_static("*"),
        operation: 3,
        permission_type: 3,
    };
    let creations = vec![creation("a", "User:x"), creation("b", "User:y"), creation("", "User:y"), creation("c", "y")];
    let response: CreateAclsResponse = client.call(3, &CreateAclsRequest { creations }).await;
    let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
    let wrong = [ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_PRINCIPAL_TYPE];
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, wrong[0], wrong[1]]);
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    let filter = DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    let response: DescribeAclsResponse = client.call(3, &filter).await;
    assert_eq!(response.resources.len(), 2);
    let filter = DeleteAclsFilter {
        resource_type_filter: 2,
        resource_name_filter: Some(Text::from_static("a")),
        pattern_type_filter: 3,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    let response: DeleteAclsResponse = client.call(3, &DeleteAclsRequest { filters: vec![filter] }).await;
    assert_eq!(&*response.filter_results[0].matching_acls[0].principal, "User:x");
    let filter = DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    let response: DescribeAclsResponse = client.call(3, &filter).await;
    assert_eq!(response.resources.len(), 1);
}

#[tokio::test]
async fn the_cluster_is_one_node_that_holds_everything() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 3, &[]).await;
    client.produce("orders", 1, batch(&["x"])).await;
    let response: DescribeClusterResponse = client.call(2, &DescribeClusterRequest::default()).await;
    assert_eq!((&*response.cluster_id, response.brokers.len()), (lab.broker.cluster_id(), 1));
    let request = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let response: DescribeClusterResponse = client.call(2, &request).await;
    assert_eq!(response.error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);
    let topics = vec![QuorumTopicRequest {
        topic_name: Text::from_static("__cluster_metadata"),
        partitions: vec![QuorumPartitionRequest { partition_index: 0 }],
    }];
    let response: DescribeQuorumResponse = client.call(2, &DescribeQuorumRequest { topics }).await;
    assert_eq!(response.topics[0].partitions[0].current_voters.len(), 1);
    let response: DescribeLogDirsResponse = client.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let sizes: Vec<i64> = response.results[0].topics[0].partitions.iter().map(|part| part.partition_size).collect();
    assert!(sizes[1] > 0 && sizes[0] == 0, "{sizes:?}");
    let asked = vec![ElectLeadersTopicPartitions { topic: Text::from_static("orders"), partitions: vec![0, 7] }];
    let request = ElectLeadersRequest { topic_partitions: Some(asked), ..Default::default() };
    let response: ElectLeadersResponse = client.call(2, &request).await;
    let codes: Vec<_> =
        response.replica_election_results[0].partition_result.iter().map(|part| part.error_code).collect();
    assert_eq!(codes, [ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    let partitions = [Some(vec![2]), None, Some(vec![1])]
        .map(|replicas| ReassignablePartition { partition_index: 0, replicas })
        .to_vec();
    let topics = vec![ReassignableTopic { name: Text::from_static("orders"), partitions }];
    let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
    let response: AlterPartitionReassignmentsResponse = client.call(0, &request).await;
    let codes: Vec<_> = response.responses[0].partitions.iter().map(|part| part.error_code).collect();
    let expect = [ErrorCode::INVALID_REPLICA_ASSIGNMENT, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, ErrorCode::NONE];
    assert_eq!(codes, expect);
}

#[tokio::test]
async fn many_partitions_are_described_page_by_page() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("a", 3, &[]).await;
    client.create("b", 3, &[]).await;
    let mut request = DescribeTopicPartitionsRequest { response_partition_limit: 2, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let response: DescribeTopicPartitionsResponse = client.call(0, &request).await;
        for topic in &response.topics {
            let name = topic.name.clone().unwrap();
            seen.extend(topic.partitions.iter().map(|part| (name.to_string(), part.partition_index)));
        }
        assert!(seen.len() <= 6);
        request.cursor = response.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let expect: Vec<_> = ["a", "b"].iter().flat_map(|name| (0..3).map(|part| ((*name).to_owned(), part))).collect();
    assert_eq!(seen, expect);
    let topics = vec![DescribeTopicPartitionsTopicRequest { name: Text::from_static("none") }];
    let request = DescribeTopicPartitionsRequest { topics, ..Default::default() };
    let response: DescribeTopicPartitionsResponse = client.call(0, &request).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

/// The values of all records of a topic's first partition.
async fn read_all(client: &mut Client, topic: &str) -> Vec<String> {
    let (mut all, mut next) = (Vec::new(), 0);
    loop {
        let part = client.fetch(topic, 0, next, Duration::ZERO).await;
        assert_eq!(part.error_code, ErrorCode::NONE);
        let mut records = part.records.unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(values(&records));
        while let Some(batch) = weir_wire::batch::Batch::split(&mut records).unwrap() {
            next = batch.last_offset() + 1;
        }
    }
}

#[tokio::test]
async fn a_compacted_topic_keeps_the_last_record_of_each_key() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let quick = [("log.cleaner.backoff.ms", 0, Some("50"))];
    assert_eq!(alter(&mut client, (4, ""), &quick, false).await, ErrorCode::NONE);
    let configs =
        [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.0"), ("internal.segment.bytes", "200")];
    client.create("latest", 1, &configs).await;
    for count in 0..20 {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(now(), Some(b"key"), Some(format!("{count}").as_bytes()), &[]).unwrap();
        assert_eq!(client.produce("latest", 0, builder.finish(0).unwrap()).await.error_code, ErrorCode::NONE);
    }
    // What lies in the newest segment is not compacted; of all before it one record stays.
    let compacted = async {
        loop {
            let left = read_all(&mut client, "latest").await;
            assert_eq!(left.last().map(String::as_str), Some("19"));
            if left.len() <= 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, compacted).await.expect("a compaction");
}

#[tokio::test]
async fn records_past_their_retention_go() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("short", 1, &[("retention.ms", "1"), ("internal.segment.bytes", "200")]).await;
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, None, Some(b"old"), &[]).unwrap();
    assert_eq!(client.produce("short", 0, builder.finish(0).unwrap()).await.error_code, ErrorCode::NONE);
    let gone = async {
        loop {
            let part = client.fetch("short", 0, 0, Duration::ZERO).await;
            if part.error_code == ErrorCode::OFFSET_OUT_OF_RANGE {
                break;
            }
            assert_eq!(values(part.records.as_ref().unwrap()), ["old"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the end of the record");
    assert_eq!(client.end_offset("short", 0, 0).await, 1);
}
