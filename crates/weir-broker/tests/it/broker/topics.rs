use super::*;

async fn create(client: &mut Client, topic: CreatableTopic, validate_only: bool) -> CreatableTopicResult {
    let request = CreateTopicsRequest { topics: vec![topic], validate_only, ..Default::default() };
    let mut response: CreateTopicsResponse = client.call(7, &request).await;
    response.topics.remove(0)
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_with_the_code_of_kafka() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("taken", 1, &[]).await;
    client.create("with.dot", 1, &[]).await;
    let mut check = async |topic: CreatableTopic, expect: ErrorCode| {
        let made = create(&mut client, topic.clone(), false).await;
        assert_eq!(made.error_code, expect, "{topic:?}: {made:?}");
        assert_eq!(made.error_message.is_some(), expect != ErrorCode::NONE);
    };
    let assigned = |partitions: &[(i32, &[i32])]| CreatableTopic {
        assignments: partitions
            .iter()
            .map(|(index, brokers)| CreatableReplicaAssignment {
                partition_index: *index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..creatable("assigned", -1, &[])
    };
    check(creatable("taken", 1, &[]), ErrorCode::TOPIC_ALREADY_EXISTS).await;
    check(creatable("with_dot", 1, &[]), ErrorCode::INVALID_TOPIC_EXCEPTION).await;
    check(creatable("", 1, &[]), ErrorCode::INVALID_TOPIC_EXCEPTION).await;
    check(creatable("..", 1, &[]), ErrorCode::INVALID_TOPIC_EXCEPTION).await;
    check(creatable("a/b", 1, &[]), ErrorCode::INVALID_TOPIC_EXCEPTION).await;
    check(creatable(&"x".repeat(250), 1, &[]), ErrorCode::INVALID_TOPIC_EXCEPTION).await;
    check(creatable("new", 0, &[]), ErrorCode::INVALID_PARTITIONS).await;
    check(creatable("new", -2, &[]), ErrorCode::INVALID_PARTITIONS).await;
    check(creatable("new", i32::MAX, &[]), ErrorCode::INVALID_PARTITIONS).await;
    check(creatable("new", 1, &[("retention.ms", "soon")]), ErrorCode::INVALID_CONFIG).await;
    check(creatable("new", 1, &[("retention", "1")]), ErrorCode::INVALID_CONFIG).await;
    check(CreatableTopic { replication_factor: 2, ..creatable("new", 1, &[]) }, ErrorCode::INVALID_REPLICATION_FACTOR)
        .await;
    check(CreatableTopic { replication_factor: 0, ..creatable("new", 1, &[]) }, ErrorCode::INVALID_REPLICATION_FACTOR)
        .await;
    check(CreatableTopic { num_partitions: 1, ..assigned(&[(0, &[1])]) }, ErrorCode::INVALID_REQUEST).await;
    check(assigned(&[(0, &[2])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT).await;
    check(assigned(&[(0, &[])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT).await;
    check(assigned(&[(1, &[1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT).await;
    check(assigned(&[(1, &[1]), (0, &[1])]), ErrorCode::NONE).await;
    check(creatable(&"x".repeat(249), -1, &[]), ErrorCode::NONE).await;
}

#[tokio::test]
async fn a_topic_named_twice_is_created_not_once() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let topics = vec![creatable("a", 1, &[]), creatable("b", 1, &[]), creatable("a", 2, &[])];
    let response: CreateTopicsResponse = client.call(7, &CreateTopicsRequest { topics, ..Default::default() }).await;
    let codes: Vec<_> = response.topics.iter().map(|topic| (&*topic.name, topic.error_code)).collect();
    assert_eq!(codes, [("a", ErrorCode::INVALID_REQUEST), ("b", ErrorCode::NONE)]);
}

#[tokio::test]
async fn validating_makes_nothing() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let made = create(&mut client, creatable("new", 3, &[("retention.ms", "7")]), true).await;
    assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (ErrorCode::NONE, 3, 1));
    let retention = made.configs.unwrap().into_iter().find(|config| &*config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("7"), 1));
    let response: MetadataResponse = client.call(12, &MetadataRequest::default()).await;
    assert!(response.topics.is_empty());
}

#[tokio::test]
async fn a_topic_is_deleted_by_name_or_id_and_its_name_is_free_again() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let first = client.create("orders", 1, &[]).await;
    assert_eq!(client.produce("orders", 0, batch(&["old"])).await.error_code, ErrorCode::NONE);
    let mut delete = async |name: Option<&str>, topic_id| {
        let topics = vec![DeleteTopicState { name: name.map(Text::from), topic_id }];
        let response: DeleteTopicsResponse =
            client.call(6, &DeleteTopicsRequest { topics, ..Default::default() }).await;
        response.responses[0].error_code
    };
    assert_eq!(delete(Some("none"), Uuid::ZERO).await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(delete(None, Uuid([9; 16])).await, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(delete(Some("orders"), first).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(delete(None, Uuid::ZERO).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(delete(None, first).await, ErrorCode::NONE);
    assert_eq!(delete(None, first).await, ErrorCode::UNKNOWN_TOPIC_ID);
    let mut client = lab.client().await;
    assert_eq!(client.produce("orders", 0, batch(&["x"])).await.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let second = client.create("orders", 1, &[]).await;
    assert_ne!(first, second);
    assert_eq!(client.produce("orders", 0, batch(&["new"])).await.base_offset, 0);
    let fetched = client.fetch("orders", 0, 0, Duration::ZERO).await;
    assert_eq!(values(fetched.records.as_ref().unwrap()), ["new"]);
}

#[tokio::test]
async fn a_topic_can_only_get_more_partitions() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 2, &[]).await;
    let mut grow = async |name: &str, count, assignments: Option<&[i32]>| {
        let assignment = |broker: &i32| CreatePartitionsAssignment { broker_ids: vec![*broker] };
        let assignments = assignments.map(|brokers| brokers.iter().map(assignment).collect());
        let topics = vec![CreatePartitionsTopic { name: Text::from(name), count, assignments }];
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        let response: CreatePartitionsResponse = client.call(3, &request).await;
        response.results[0].error_code
    };
    assert_eq!(grow("none", 3, None).await, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(grow("orders", 2, None).await, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(grow("orders", 1, None).await, ErrorCode::INVALID_PARTITIONS);
    assert_eq!(grow("orders", 3, Some(&[1, 1])).await, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(grow("orders", 3, Some(&[2])).await, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(grow("orders", 3, Some(&[1])).await, ErrorCode::NONE);
    let lab = lab.restart().await;
    let mut client = lab.client().await;
    assert_eq!(client.produce("orders", 2, batch(&["x"])).await.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn a_restart_keeps_topics_ids_configs_and_records() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let id = client.create("orders", 2, &[("retention.ms", "87654321")]).await;
    assert_eq!(client.produce("orders", 1, batch(&["a", "b"])).await.base_offset, 0);
    let cluster = lab.broker.cluster_id().to_owned();
    let lab = lab.restart().await;
    assert_eq!(lab.broker.cluster_id(), cluster);
    let mut client = lab.client().await;
    let response: MetadataResponse = client.call(12, &MetadataRequest::default()).await;
    assert_eq!((response.topics[0].topic_id, response.topics[0].partitions.len()), (id, 2));
    let fetched = client.fetch("orders", 1, 0, Duration::ZERO).await;
    assert_eq!(values(fetched.records.as_ref().unwrap()), ["a", "b"]);
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: Text::from_static("orders"),
        configuration_keys: Some(vec![Text::from_static("retention.ms")]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let response: DescribeConfigsResponse = client.call(4, &request).await;
    assert_eq!(response.results[0].configs[0].value.as_deref(), Some("87654321"));
    assert_eq!(client.produce("orders", 1, batch(&["c"])).await.base_offset, 2);
}

#[tokio::test]
async fn the_number_of_partitions_is_bounded() {
    let lab = Lab::with(|config| config.limits.partitions = 3).await;
    let mut client = lab.client().await;
    client.create("a", 2, &[]).await;
    assert_eq!(create(&mut client, creatable("b", 2, &[]), false).await.error_code, ErrorCode::INVALID_PARTITIONS);
    client.create("b", 1, &[]).await;
}
