//! Odd input: the same bytes were given to Apache Kafka 4.3.1, and what it does is what is expected here, but for the two
//! cases that say so.

use crate::golden::unhex;
use bytes::{Bytes, BytesMut};
use weir_wire::api::{PRODUCE_ADVERTISED_MIN, Request, UnknownApi};
use weir_wire::messages::*;
use weir_wire::versioned::{ConsumerProtocolSubscription, OffsetCommitKey, Versioned};
use weir_wire::*;

/// Reads a request; `expect` is part of what it looks like, or the error.
#[track_caller]
fn check(key: ApiKey, version: i16, hex: &str, expect: Result<&str, &str>) {
    let mut reader = Reader::new(unhex(hex).into());
    match (Request::read(key, &mut reader, version), expect) {
        (Ok(request), Ok(expect)) => assert!(format!("{request:?}").contains(expect), "{request:?}"),
        (Err(error), Err(expect)) => assert_eq!(error.to_string(), expect),
        (found, expect) => panic!("{found:?}, expected {expect:?}"),
    }
}

#[test]
fn every_negative_length_is_null() {
    use ApiKey::{Heartbeat, Metadata};
    check(Heartbeat, 0, "fffe 00000001 0001 62", Err("group_id: null where version 0 allows none (byte 0)"));
    check(Metadata, 1, "fffffffe", Ok("topics: None"));
    check(Metadata, 0, "ffffffff", Err("topics: null where version 0 allows none (byte 0)"));
    check(Metadata, 9, "00 01 00 00 00", Ok("topics: None"));
    check(Metadata, 9, "ffffffff0f 01 00 00 00", Ok("topics: None"));
    check(Metadata, 9, "808080807f 01 00 00 00", Ok("topics: None"));
    check(Metadata, 9, "8080808010 01 00 00 00", Ok("topics: None"));
    let varint = "topics: a variable-length number is longer than 5 bytes (byte 0)";
    check(Metadata, 9, "808080808000 01 00 00 00", Err(varint));
}

#[test]
fn a_count_is_not_believed() {
    use ApiKey::Metadata;
    let least = "topics: an array of 2147483647 elements cannot lie in 4 bytes (byte 5)";
    check(Metadata, 9, "8080808008 01 00 00 00", Err(least));
    let most = "topics: an array of 2147483646 elements cannot lie in 4 bytes (byte 5)";
    check(Metadata, 9, "ffffffff07 01 00 00 00", Err(most));
    check(Metadata, 1, "00000002 0000 00", Err("topics: an array of 2 elements cannot lie in 3 bytes (byte 4)"));
    let outer = "topics: an array of 4 elements cannot lie in 18 bytes (byte 6)";
    check(ApiKey::OffsetDelete, 0, &format!("0000 00000004 {}", "00".repeat(18)), Err(outer));
    // The first of three topics cannot claim, for its partitions, the bytes that the other two need.
    let inner = "topics[0].partitions: an array of 3 elements cannot lie in 0 bytes (byte 12)";
    check(ApiKey::OffsetDelete, 0, &format!("0000 00000003 0000 00000003 {}", "00".repeat(12)), Err(inner));
}

#[test]
fn strings_are_short_and_utf8() {
    use ApiKey::Heartbeat;
    let long = |length: usize| "61".repeat(length);
    check(Heartbeat, 4, &format!("808002 {} 00000001 02 62 00 00", long(32_767)), Ok("member_id: \"b\""));
    let error = "group_id: a string of 32768 bytes is longer than 32767 (byte 0)";
    check(Heartbeat, 4, &format!("818002 {} 00000001 02 62 00 00", long(32_768)), Err(error));
    // Kafka reads a replacement character here. A name that is not what was sent is of no use to anybody.
    check(Heartbeat, 0, "0001 ff 00000001 0001 62", Err("group_id: a string is not UTF-8 (byte 0)"));
    check(Heartbeat, 0, "0005 61", Err("group_id: 5 bytes are needed, 1 are left (byte 2)"));
}

#[test]
fn bytes_after_a_request_are_left_alone() {
    let mut reader = Reader::new(unhex("0001 61 00000001 0001 62 abcd").into());
    let request = HeartbeatRequest::read(&mut reader, 0).unwrap();
    assert_eq!((request.group_id.as_str(), request.member_id.as_str()), ("a", "b"));
    assert_eq!(reader.rest()[..], [0xab, 0xcd]);
}

#[test]
fn tagged_fields_come_in_any_order_and_unknown_ones_are_passed_over() {
    let check = |version: i16, tags: &str, expect: Result<&str, &str>| {
        let fields = "ffffffff 00000000 00000000 00000000 00 00000000 00000000 01 01 01";
        check(ApiKey::Fetch, version, &format!("{fields} {tags}"), expect);
    };
    check(12, "00", Ok("cluster_id: None"));
    check(12, "01 00 02 02 61", Ok("cluster_id: Some(\"a\")"));
    check(12, "01 00 01 00", Ok("cluster_id: None"));
    check(12, "02 00 02 02 61 00 02 02 62", Ok("cluster_id: Some(\"b\")"));
    check(12, "02 07 01 ff 00 02 02 61", Ok("cluster_id: Some(\"a\")"));
    // Kafka refuses a tag before its version; to us it is one more that we do not know.
    check(12, "01 01 0d 00000001 0000000000000001 00", Ok("ReplicaState { replica_id: -1, replica_epoch: -1 }"));
    // Kafka does not look at the size of a field that it knows. Where it is wrong, two readers would read two messages.
    check(12, "01 00 01 03 61", Err("cluster_id: 2 bytes are needed, 0 are left (byte 32)"));
    check(12, "01 00 03 02 61 00", Err("a tagged field does not fill its 3 bytes: 1 are left over (byte 33)"));
    check(12, "01 00 05 02 61", Err("5 bytes are needed, 2 are left (byte 31)"));
    check(12, "ffffffff0f 09 00", Err("1 bytes are needed, 0 are left (byte 35)"));
}

#[test]
fn a_field_that_a_version_lacks_must_be_at_its_default() {
    let write = |request: &FindCoordinatorRequest, version| request.write(&mut Writer::new(), version);
    let several = FindCoordinatorRequest { coordinator_keys: vec![Text::from("a")], ..Default::default() };
    assert_eq!(write(&several, 4), Ok(()));
    let error = write(&several, 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "coordinator_keys: version 3 has no such field, and it is not at its default (byte 2)"
    );
    assert_eq!(error.field(), "coordinator_keys");
    // A reason is nice to have, and dropped where there is no place for it.
    let member = MemberIdentity { reason: Some(Text::from("bored")), ..Default::default() };
    let leave = LeaveGroupRequest { members: vec![member], ..Default::default() };
    assert_eq!(leave.write(&mut Writer::new(), 4), Ok(()));
    assert_eq!(leave.write(&mut Writer::new(), 6).unwrap_err().fault(), &Fault::Version(6));
    let broken = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(broken.write(&mut Writer::new(), 0).unwrap_err().fault(), &Fault::Null(0));
}

#[test]
fn headers_follow_api_and_version() {
    let check = |hex: &str, expect: (i16, i16, i32, Option<&str>), rest: usize| {
        let mut reader = Reader::new(unhex(hex).into());
        let header = read_request_header(&mut reader).unwrap();
        let client = header.client_id.as_deref();
        assert_eq!((header.api_key, header.api_version, header.correlation_id, client), expect);
        assert_eq!(reader.remaining(), rest);
    };
    check("0003 0008 00000007 0001 63 00", (3, 8, 7, Some("c")), 1);
    check("0003 0009 00000007 ffff 01 05 01 ff aa", (3, 9, 7, None), 1);
    // A version and an API of the future.
    check("0012 7fff 00000007 0001 63 00 aa", (18, 32_767, 7, Some("c")), 1);
    check("7000 0000 00000007 0001 63", (0x7000, 0, 7, Some("c")), 0);
    let error = read_request_header(&mut Reader::new(unhex("0003 0008 00000007 0009 63").into())).unwrap_err();
    assert_eq!(error.to_string(), "client_id: 9 bytes are needed, 1 are left (byte 10)");
    assert_eq!(ApiKey::try_from(4), Err(UnknownApi(4)));
    let versions = (PRODUCE_ADVERTISED_MIN, ApiKey::Produce.versions(), ApiKey::InitProducerId.versions());
    assert_eq!(versions, (0, 3..=13, 0..=5));
}

/// A request and its response, as they travel.
#[test]
fn frames_hold_header_and_body() {
    let send = |pieces: Vec<Bytes>| split_frame(&mut BytesMut::from(&pieces.concat()[..]), 1000).unwrap().unwrap();
    let client = Text::from("c");
    for (version, response_header) in [(0, 0), (4, 0)] {
        let request = ApiVersionsRequest { client_software_name: client.clone(), ..Default::default() };
        let mut reader = Reader::new(send(request_frame(&request, version, 5, Some(&client)).unwrap()));
        let header = read_request_header(&mut reader).unwrap();
        assert_eq!((header.api_key, header.api_version, header.correlation_id), (18, version, 5));
        let body = ApiVersionsRequest::read(&mut reader, version).unwrap();
        assert_eq!(body.client_software_name, if version == 4 { "c" } else { "" });
        assert_eq!(response_header_version(ApiKey::ApiVersions, version), response_header);
    }
    let response = HeartbeatResponse { error_code: ErrorCode::REBALANCE_IN_PROGRESS, ..Default::default() };
    for (version, bytes) in [(0, "00000005 001b"), (4, "00000005 00 00000000 001b 00")] {
        let frame = send(response_frame(&response, version, 5).unwrap());
        assert_eq!(frame, unhex(bytes));
        let mut reader = Reader::new(frame);
        assert_eq!(header::read_response_header(&mut reader, ApiKey::Heartbeat, version), Ok(5));
        assert_eq!(HeartbeatResponse::read(&mut reader, version), Ok(response.clone()));
    }
}

#[test]
fn structures_know_which_versions_they_can_be() {
    let key = OffsetCommitKey { group: Text::from("g"), topic: Text::from("t"), partition: 1 };
    let bytes = key.encode(1).unwrap();
    assert_eq!(bytes, unhex("0001 0001 67 0001 74 00000001"));
    assert_eq!(OffsetCommitKey::decode(bytes), Ok(key));
    let group = OffsetCommitKey::decode(unhex("0002 0001 67").into()).unwrap_err();
    assert_eq!(group.fault(), &Fault::Version(2));
    // A subscription of a newer version begins like the newest that is known.
    let newer = unhex("0009 00000001 0001 74 ffffffff 00000000 00000003 ffff abcd");
    let subscription = ConsumerProtocolSubscription::decode(newer.into()).unwrap();
    assert_eq!((&subscription.topics[..], subscription.generation_id), (&[Text::from("t")][..], 3));
}
