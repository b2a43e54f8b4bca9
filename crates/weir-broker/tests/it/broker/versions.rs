use super::*;
use weir_wire::ApiKey;
use weir_wire::api::PRODUCE_ADVERTISED_MIN;

#[tokio::test]
async fn every_version_of_api_versions_says_what_is_served() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    for version in ApiVersionsRequest::VERSIONS {
        let request = ApiVersionsRequest {
            client_software_name: Text::from_static("weir-test"),
            client_software_version: Text::from_static("1.0"),
        };
        let response: ApiVersionsResponse = client.call(version, &request).await;
        assert_eq!(response.error_code, ErrorCode::NONE);
        let find = |key: ApiKey| response.api_keys.iter().find(|found| found.api_key == key.number());
        let produce = find(ApiKey::Produce).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (PRODUCE_ADVERTISED_MIN, 13));
        assert!(find(ApiKey::ConsumerGroupHeartbeat).is_none(), "KIP-848 is not served and must not be advertised");
        if version >= 3 {
            let level = |name: &str| {
                let mut features = response.finalized_features.iter();
                features.find(|feature| &*feature.name == name).map(|feature| feature.max_version_level)
            };
            assert_eq!((level("transaction.version"), level("group.version")), (Some(2), None));
            let zero = response.supported_features.iter().any(|feature| feature.min_version == 0);
            assert_eq!(zero, version >= 4, "a level of 0 is for version 4 on");
        }
    }
}

#[tokio::test]
async fn a_version_from_the_future_is_told_which_ones_there_are() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    // The header of the newest known version: key 18, version 99, correlation 7, no client id, no tags.
    client.stream.write_all(&[0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0]).await.unwrap();
    let response: ApiVersionsResponse = client.receive_of(0, 7).await;
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(response.api_keys[0].api_key, 18);
    // The connection goes on.
    let response: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default()).await;
    assert_eq!(response.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn a_client_that_calls_itself_nonsense_is_refused() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let request = ApiVersionsRequest { client_software_name: Text::from_static("-x"), ..Default::default() };
    let response: ApiVersionsResponse = client.call(3, &request).await;
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn unknown_apis_and_versions_close_the_connection() {
    let lab = Lab::start().await;
    for (key, version) in [(999, 0), (-1, 0), (3, 99), (3, -1), (0, 2), (1, 3), (68, 0), (4, 0)] {
        let mut client = lab.client().await;
        let mut frame = vec![0, 0, 0, 10];
        frame.extend_from_slice(&i16::to_be_bytes(key));
        frame.extend_from_slice(&i16::to_be_bytes(version));
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        client.stream.write_all(&frame).await.unwrap();
        assert_eq!(client.frame().await, None, "API {key} version {version}");
    }
    lab.client().await.call::<_, ApiVersionsResponse>(0, &ApiVersionsRequest::default()).await;
}

#[tokio::test]
async fn every_version_of_metadata_names_this_node() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let id = client.create("orders", 2, &[]).await;
    for version in MetadataRequest::VERSIONS {
        let topic = MetadataRequestTopic { name: Some(Text::from_static("orders")), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let response: MetadataResponse = client.call(version, &request).await;
        let broker = &response.brokers[0];
        assert_eq!((broker.node_id, broker.port), (1, i32::from(lab.broker.address().port())));
        assert_eq!(response.topics[0].partitions.len(), 2);
        if version >= 2 {
            assert_eq!(response.cluster_id.as_deref(), Some(lab.broker.cluster_id()));
        }
        if version >= 10 {
            assert_eq!(response.topics[0].topic_id, id);
        }
        if version >= 12 {
            // Java's client sends an empty name beside the id.
            for name in [None, Some(Text::EMPTY)] {
                let topic = MetadataRequestTopic { name, topic_id: id };
                let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
                let response: MetadataResponse = client.call(version, &request).await;
                assert_eq!(response.topics[0].name.as_deref(), Some("orders"));
            }
        }
    }
}

#[tokio::test]
async fn metadata_of_what_is_not_there_says_so() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let mut check = async |version, name: Option<&str>, topic_id, expect| {
        let topic = MetadataRequestTopic { name: name.map(Text::from), topic_id };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let response: MetadataResponse = client.call(version, &request).await;
        assert_eq!(response.topics[0].error_code, expect, "{name:?}");
    };
    check(12, Some("none"), Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check(0, Some("none"), Uuid::ZERO, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await;
    check(12, Some("no topic"), Uuid::ZERO, ErrorCode::INVALID_TOPIC_EXCEPTION).await;
    check(12, None, Uuid([7; 16]), ErrorCode::UNKNOWN_TOPIC_ID).await;
}

#[tokio::test]
async fn topics_are_made_by_asking_only_where_that_is_set() {
    let lab = Lab::with(|config| config.auto_create_topics = true).await;
    let mut client = lab.client().await;
    let topic = MetadataRequestTopic { name: Some(Text::from_static("asked")), ..Default::default() };
    let mut request =
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() };
    let response: MetadataResponse = client.call(9, &request).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    request.allow_auto_topic_creation = true;
    let response: MetadataResponse = client.call(9, &request).await;
    assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (ErrorCode::NONE, 1));
}

#[tokio::test]
async fn every_version_of_every_api_is_answered_as_it_says() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    macro_rules! answered {
        ($($request:ident $response:ident)*) => {$(
            for version in $request::VERSIONS {
                let _: $response = client.call(version, &$request::default()).await;
            }
        )*};
    }
    answered! {
        FetchRequest FetchResponse
        ListOffsetsRequest ListOffsetsResponse
        OffsetCommitRequest OffsetCommitResponse
        OffsetFetchRequest OffsetFetchResponse
        FindCoordinatorRequest FindCoordinatorResponse
        JoinGroupRequest JoinGroupResponse
        HeartbeatRequest HeartbeatResponse
        LeaveGroupRequest LeaveGroupResponse
        SyncGroupRequest SyncGroupResponse
        DescribeGroupsRequest DescribeGroupsResponse
        ListGroupsRequest ListGroupsResponse
        ApiVersionsRequest ApiVersionsResponse
        CreateTopicsRequest CreateTopicsResponse
        DeleteTopicsRequest DeleteTopicsResponse
        DeleteRecordsRequest DeleteRecordsResponse
        InitProducerIdRequest InitProducerIdResponse
        OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
        AddPartitionsToTxnRequest AddPartitionsToTxnResponse
        AddOffsetsToTxnRequest AddOffsetsToTxnResponse
        EndTxnRequest EndTxnResponse
        WriteTxnMarkersRequest WriteTxnMarkersResponse
        TxnOffsetCommitRequest TxnOffsetCommitResponse
        DescribeAclsRequest DescribeAclsResponse
        CreateAclsRequest CreateAclsResponse
        DeleteAclsRequest DeleteAclsResponse
        DescribeConfigsRequest DescribeConfigsResponse
        AlterConfigsRequest AlterConfigsResponse
        DescribeLogDirsRequest DescribeLogDirsResponse
        CreatePartitionsRequest CreatePartitionsResponse
        DeleteGroupsRequest DeleteGroupsResponse
        ElectLeadersRequest ElectLeadersResponse
        IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
        AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
        ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
        OffsetDeleteRequest OffsetDeleteResponse
        DescribeClientQuotasRequest DescribeClientQuotasResponse
        AlterClientQuotasRequest AlterClientQuotasResponse
        DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse
        DescribeQuorumRequest DescribeQuorumResponse
        DescribeClusterRequest DescribeClusterResponse
        DescribeProducersRequest DescribeProducersResponse
        DescribeTransactionsRequest DescribeTransactionsResponse
        ListTransactionsRequest ListTransactionsResponse
        ListConfigResourcesRequest ListConfigResourcesResponse
        DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
    }
}
