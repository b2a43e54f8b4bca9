use super::*;

fn join_request(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: Text::from(group),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: Text::from(member),
        protocol_type: Text::from_static("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: Text::from_static("range"),
            metadata: Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"),
        }],
        ..Default::default()
    }
}

/// Joins as a member of its own and gives the id that the group made up.
async fn promised(client: &mut Client, group: &str) -> Text {
    let response: JoinGroupResponse = client.call(9, &join_request(group, "")).await;
    assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    response.member_id
}

async fn sync(client: &mut Client, joined: &JoinGroupResponse, assignments: &[(&str, &'static [u8])]) {
    let request = SyncGroupRequest {
        group_id: Text::from_static("group"),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some(Text::from_static("consumer")),
        protocol_name: Some(Text::from_static("range")),
        assignments: assignments
            .iter()
            .map(|(member, assignment)| SyncGroupRequestAssignment {
                member_id: Text::from(*member),
                assignment: Bytes::from_static(assignment),
            })
            .collect(),
        ..Default::default()
    };
    client.send(5, &request).await;
}

fn commit_request(topic: &str, partition: i32, offset: i64, joined: Option<&JoinGroupResponse>) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: Text::from_static("group"),
        generation_id_or_member_epoch: joined.map_or(-1, |joined| joined.generation_id),
        member_id: joined.map(|joined| joined.member_id.clone()).unwrap_or_default(),
        topics: vec![OffsetCommitRequestTopic {
            name: Text::from(topic),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_metadata: Some(Text::from_static("note")),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn committed(client: &mut Client, topic: &str, partition: i32) -> (i64, ErrorCode) {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: Text::from_static("group"),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: Text::from(topic),
                partition_indexes: vec![partition],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        require_stable: true,
        ..Default::default()
    };
    let response: OffsetFetchResponse = client.call(8, &request).await;
    let part = &response.groups[0].topics[0].partitions[0];
    (part.committed_offset, part.error_code)
}

#[tokio::test]
async fn every_version_finds_the_coordinator_here() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let port = i32::from(lab.broker.address().port());
    for version in FindCoordinatorRequest::VERSIONS {
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec![Text::from_static("a"), Text::from_static("b")];
        } else {
            request.key = Text::from_static("a");
        }
        let response: FindCoordinatorResponse = client.call(version, &request).await;
        if version >= 4 {
            assert_eq!(response.coordinators.len(), 2);
            assert_eq!((response.coordinators[1].node_id, response.coordinators[1].port), (1, port));
        } else {
            assert_eq!((response.node_id, response.port), (1, port));
        }
    }
    let request = FindCoordinatorRequest { key: Text::from_static("a"), key_type: 7, ..Default::default() };
    let response: FindCoordinatorResponse = client.call(3, &request).await;
    assert_eq!((response.error_code, response.node_id), (ErrorCode::INVALID_REQUEST, -1));
}

#[tokio::test]
async fn two_members_share_a_generation_and_offsets_outlive_the_broker() {
    let lab = Lab::start().await;
    let (mut one, mut two) = (lab.client().await, lab.client().await);
    one.create("orders", 2, &[]).await;
    let (first, second) = (promised(&mut one, "group").await, promised(&mut two, "group").await);
    let joined: JoinGroupResponse = one.call(9, &join_request("group", &first)).await;
    assert_eq!((joined.error_code, joined.members.len()), (ErrorCode::NONE, 1));
    // The second member waits until the first has come again.
    two.send(9, &join_request("group", &second)).await;
    let heartbeat = HeartbeatRequest {
        group_id: Text::from_static("group"),
        generation_id: joined.generation_id,
        member_id: first.clone(),
        ..Default::default()
    };
    loop {
        let response: HeartbeatResponse = one.call(4, &heartbeat).await;
        if response.error_code == ErrorCode::REBALANCE_IN_PROGRESS {
            break;
        }
        assert_eq!(response.error_code, ErrorCode::NONE);
    }
    let joined_one: JoinGroupResponse = one.call(9, &join_request("group", &first)).await;
    let joined_two: JoinGroupResponse = two.receive(9).await;
    assert_eq!(joined_one.generation_id, joined_two.generation_id);
    assert_eq!((joined_one.members.len(), joined_two.members.len()), (2, 0), "only the leader learns of the members");
    sync(&mut two, &joined_two, &[]).await;
    sync(&mut one, &joined_one, &[(&first, b"one"), (&second, b"two")]).await;
    let response: SyncGroupResponse = one.receive(5).await;
    assert_eq!(&response.assignment[..], b"one");
    let response: SyncGroupResponse = two.receive(5).await;
    assert_eq!(&response.assignment[..], b"two");

    let response: OffsetCommitResponse = one.call(8, &commit_request("orders", 1, 7, Some(&joined_one))).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
    let stale = JoinGroupResponse { generation_id: joined_one.generation_id - 1, ..joined_one.clone() };
    let response: OffsetCommitResponse = one.call(8, &commit_request("orders", 1, 9, Some(&stale))).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::ILLEGAL_GENERATION);
    for (topic, partition) in [("orders", 2), ("none", 0)] {
        let response: OffsetCommitResponse = one.call(8, &commit_request(topic, partition, 7, Some(&joined_one))).await;
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let lab = lab.restart().await;
    let mut one = lab.client().await;
    assert_eq!(committed(&mut one, "orders", 1).await, (7, ErrorCode::NONE));
    assert_eq!(committed(&mut one, "orders", 0).await, (-1, ErrorCode::NONE));
    // The generation goes on as well.
    let response: HeartbeatResponse =
        one.call(4, &HeartbeatRequest { generation_id: joined_one.generation_id, ..heartbeat }).await;
    assert_eq!(response.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn a_member_whose_connection_is_gone_does_not_keep_the_others_waiting_for_its_answer() {
    let lab = Lab::start().await;
    let (mut one, mut two) = (lab.client().await, lab.client().await);
    let (first, second) = (promised(&mut one, "group").await, promised(&mut two, "group").await);
    let joined: JoinGroupResponse = one.call(9, &join_request("group", &first)).await;
    two.send(9, &join_request("group", &second)).await;
    drop(two);
    let leave = LeaveGroupRequest {
        group_id: Text::from_static("group"),
        members: vec![
            MemberIdentity { member_id: first, ..Default::default() },
            MemberIdentity { member_id: second, ..Default::default() },
        ],
        ..Default::default()
    };
    let response: LeaveGroupResponse = one.call(5, &leave).await;
    assert_eq!((response.error_code, response.members[0].error_code), (ErrorCode::NONE, ErrorCode::NONE));
    let mut three = lab.client().await;
    let third = promised(&mut three, "group").await;
    let again: JoinGroupResponse = three.call(9, &join_request("group", &third)).await;
    assert!(again.generation_id > joined.generation_id);
    assert_eq!(again.members.len(), 1);
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    let response: OffsetCommitResponse = client.call(8, &commit_request("orders", 0, 3, None)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
    let response: ListGroupsResponse = client.call(5, &ListGroupsRequest::default()).await;
    assert_eq!((&*response.groups[0].group_id, &*response.groups[0].group_state), ("group", "Empty"));
    let request =
        DescribeGroupsRequest { groups: vec![Text::from_static("none")], include_authorized_operations: true };
    for (version, state, code) in [(5, "Dead", ErrorCode::NONE), (6, "Dead", ErrorCode::GROUP_ID_NOT_FOUND)] {
        let response: DescribeGroupsResponse = client.call(version, &request).await;
        assert_eq!((&*response.groups[0].group_state, response.groups[0].error_code), (state, code));
    }
    let topics = vec![OffsetDeleteRequestTopic {
        name: Text::from_static("orders"),
        partitions: [0, 5].map(|partition_index| OffsetDeleteRequestPartition { partition_index }).to_vec(),
    }];
    let request = OffsetDeleteRequest { group_id: Text::from_static("group"), topics };
    let response: OffsetDeleteResponse = client.call(0, &request).await;
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|part| part.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(committed(&mut client, "orders", 0).await.0, -1);
    client.call::<_, OffsetCommitResponse>(8, &commit_request("orders", 0, 3, None)).await;
    let names = vec![Text::from_static("group"), Text::from_static("none")];
    let response: DeleteGroupsResponse = client.call(2, &DeleteGroupsRequest { groups_names: names }).await;
    let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::GROUP_ID_NOT_FOUND]);
}

#[tokio::test]
async fn the_offsets_of_a_deleted_topic_are_gone() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.create("orders", 1, &[]).await;
    client.call::<_, OffsetCommitResponse>(8, &commit_request("orders", 0, 3, None)).await;
    let request = DeleteTopicsRequest { topic_names: vec![Text::from_static("orders")], ..Default::default() };
    let _: DeleteTopicsResponse = client.call(5, &request).await;
    client.create("orders", 1, &[]).await;
    assert_eq!(committed(&mut client, "orders", 0).await.0, -1);
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_by_topic_id() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let id = client.create("orders", 1, &[]).await;
    let mut commit = async |topic_id| {
        let mut request = commit_request("", 0, 5, None);
        request.topics[0].topic_id = topic_id;
        let response: OffsetCommitResponse = client.call(10, &request).await;
        response.topics[0].partitions[0].error_code
    };
    assert_eq!(commit(id).await, ErrorCode::NONE);
    assert_eq!(commit(Uuid([5; 16])).await, ErrorCode::UNKNOWN_TOPIC_ID);
    let topic = |topic_id| OffsetFetchRequestTopics { topic_id, partition_indexes: vec![0], ..Default::default() };
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: Text::from_static("group"),
            topics: Some(vec![topic(id), topic(Uuid([5; 16]))]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response: OffsetFetchResponse = client.call(10, &request).await;
    let found: Vec<_> = response.groups[0]
        .topics
        .iter()
        .map(|topic| (topic.partitions[0].committed_offset, topic.partitions[0].error_code))
        .collect();
    assert_eq!(found, [(5, ErrorCode::NONE), (-1, ErrorCode::UNKNOWN_TOPIC_ID)]);
}
