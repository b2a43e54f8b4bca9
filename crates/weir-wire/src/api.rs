//! The APIs that are known: their numbers, and which versions of each can be read and written.
//!
//! What a server offers is its own choice; it may offer fewer. One exception is the least version of Produce that
//! Apache Kafka *advertises*, [`PRODUCE_ADVERTISED_MIN`].

use crate::error::WireError;
use crate::message::Message;
use crate::messages::*;
use crate::reader::Reader;
use crate::writer::Writer;
use std::fmt;
use std::ops::RangeInclusive;

/// Kafka 4 serves Produce from version 3 on but advertises it from 0 on, because librdkafka takes the versions of Produce
/// for the magic of batches that a broker understands (KAFKA-18659). A server for librdkafka must do the same.
pub const PRODUCE_ADVERTISED_MIN: i16 = 0;

/// An API number without messages here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("API {0} is not known")]
pub struct UnknownApi(pub i16);

macro_rules! any {
    ($any:ident $($name:ident)*) => {
        impl $any {
            /// The API it belongs to.
            pub const fn key(&self) -> ApiKey {
                match self {
                    $($any::$name(_) => ApiKey::$name,)*
                }
            }

            /// Reads the body, from after the header.
            ///
            /// # Errors
            /// As [`Message::read`].
            pub fn read(key: ApiKey, reader: &mut Reader, version: i16) -> Result<$any, WireError> {
                match key {
                    $(ApiKey::$name => Message::read(reader, version).map($any::$name),)*
                }
            }

            /// Writes the body, after the header.
            ///
            /// # Errors
            /// As [`Message::write`].
            pub fn write(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
                match self {
                    $($any::$name(message) => message.write(writer, version),)*
                }
            }
        }
    };
}

macro_rules! apis {
    ($($name:ident = $number:literal: $request:ident $response:ident)*) => {
        /// What a request asks for; the first number of its header.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[allow(missing_docs, reason = "the names are Kafka's; the requests say what they are for")]
        pub enum ApiKey {
            $($name = $number,)*
        }

        impl ApiKey {
            /// All, by number.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name,)*];

            /// The versions in which both the request and the response can be read and written: those that Apache Kafka
            /// 4.3 serves.
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $request::VERSIONS,)*
                }
            }

            /// The first flexible version (KIP-482); `i16::MAX` where there is none.
            pub const fn flexible(self) -> i16 {
                match self {
                    $(ApiKey::$name => $request::FLEXIBLE,)*
                }
            }
        }

        impl TryFrom<i16> for ApiKey {
            type Error = UnknownApi;

            fn try_from(number: i16) -> Result<ApiKey, UnknownApi> {
                match number {
                    $($number => Ok(ApiKey::$name),)*
                    _ => Err(UnknownApi(number)),
                }
            }
        }

        /// A request of any API, for what handles them all alike. A handler reads its own with [`Message::read`].
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "one for each API")]
        #[allow(clippy::large_enum_variant, reason = "it is read, looked at and dropped, not kept")]
        pub enum Request {
            $($name($request),)*
        }

        /// A response of any API.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "one for each API")]
        #[allow(clippy::large_enum_variant, reason = "it is read, looked at and dropped, not kept")]
        pub enum Response {
            $($name($response),)*
        }

        any! { Request $($name)* }
        any! { Response $($name)* }

        /// Shows each message to a visitor.
        #[cfg(test)]
        pub(crate) fn each_message(visit: &mut impl crate::sample::Visit) {
            $(
                visit.message::<$request>(stringify!($request));
                visit.message::<$response>(stringify!($response));
            )*
        }

        // A request and its response belong together in all they declare.
        $(const _: () = {
            let (request, response) = ($request::VERSIONS, $response::VERSIONS);
            assert!(*request.start() == *response.start() && *request.end() == *response.end());
            assert!($request::FLEXIBLE == $response::FLEXIBLE);
            assert!($request::KEY as i16 == $number && $response::KEY as i16 == $number);
        };)*
    };
}

apis! {
    Produce = 0: ProduceRequest ProduceResponse
    Fetch = 1: FetchRequest FetchResponse
    ListOffsets = 2: ListOffsetsRequest ListOffsetsResponse
    Metadata = 3: MetadataRequest MetadataResponse
    OffsetCommit = 8: OffsetCommitRequest OffsetCommitResponse
    OffsetFetch = 9: OffsetFetchRequest OffsetFetchResponse
    FindCoordinator = 10: FindCoordinatorRequest FindCoordinatorResponse
    JoinGroup = 11: JoinGroupRequest JoinGroupResponse
    Heartbeat = 12: HeartbeatRequest HeartbeatResponse
    LeaveGroup = 13: LeaveGroupRequest LeaveGroupResponse
    SyncGroup = 14: SyncGroupRequest SyncGroupResponse
    DescribeGroups = 15: DescribeGroupsRequest DescribeGroupsResponse
    ListGroups = 16: ListGroupsRequest ListGroupsResponse
    SaslHandshake = 17: SaslHandshakeRequest SaslHandshakeResponse
    ApiVersions = 18: ApiVersionsRequest ApiVersionsResponse
    CreateTopics = 19: CreateTopicsRequest CreateTopicsResponse
    DeleteTopics = 20: DeleteTopicsRequest DeleteTopicsResponse
    DeleteRecords = 21: DeleteRecordsRequest DeleteRecordsResponse
    InitProducerId = 22: InitProducerIdRequest InitProducerIdResponse
    OffsetForLeaderEpoch = 23: OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
    AddPartitionsToTxn = 24: AddPartitionsToTxnRequest AddPartitionsToTxnResponse
    AddOffsetsToTxn = 25: AddOffsetsToTxnRequest AddOffsetsToTxnResponse
    EndTxn = 26: EndTxnRequest EndTxnResponse
    WriteTxnMarkers = 27: WriteTxnMarkersRequest WriteTxnMarkersResponse
    TxnOffsetCommit = 28: TxnOffsetCommitRequest TxnOffsetCommitResponse
    DescribeAcls = 29: DescribeAclsRequest DescribeAclsResponse
    CreateAcls = 30: CreateAclsRequest CreateAclsResponse
    DeleteAcls = 31: DeleteAclsRequest DeleteAclsResponse
    DescribeConfigs = 32: DescribeConfigsRequest DescribeConfigsResponse
    AlterConfigs = 33: AlterConfigsRequest AlterConfigsResponse
    DescribeLogDirs = 35: DescribeLogDirsRequest DescribeLogDirsResponse
    SaslAuthenticate = 36: SaslAuthenticateRequest SaslAuthenticateResponse
    CreatePartitions = 37: CreatePartitionsRequest CreatePartitionsResponse
    DeleteGroups = 42: DeleteGroupsRequest DeleteGroupsResponse
    ElectLeaders = 43: ElectLeadersRequest ElectLeadersResponse
    IncrementalAlterConfigs = 44: IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
    AlterPartitionReassignments = 45: AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
    ListPartitionReassignments = 46: ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
    OffsetDelete = 47: OffsetDeleteRequest OffsetDeleteResponse
    DescribeClientQuotas = 48: DescribeClientQuotasRequest DescribeClientQuotasResponse
    AlterClientQuotas = 49: AlterClientQuotasRequest AlterClientQuotasResponse
    DescribeUserScramCredentials = 50: DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse
    AlterUserScramCredentials = 51: AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse
    DescribeQuorum = 55: DescribeQuorumRequest DescribeQuorumResponse
    UpdateFeatures = 57: UpdateFeaturesRequest UpdateFeaturesResponse
    DescribeCluster = 60: DescribeClusterRequest DescribeClusterResponse
    DescribeProducers = 61: DescribeProducersRequest DescribeProducersResponse
    DescribeTransactions = 65: DescribeTransactionsRequest DescribeTransactionsResponse
    ListTransactions = 66: ListTransactionsRequest ListTransactionsResponse
    ConsumerGroupHeartbeat = 68: ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse
    ConsumerGroupDescribe = 69: ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse
    GetTelemetrySubscriptions = 71: GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse
    PushTelemetry = 72: PushTelemetryRequest PushTelemetryResponse
    ListConfigResources = 74: ListConfigResourcesRequest ListConfigResourcesResponse
    DescribeTopicPartitions = 75: DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
}

impl ApiKey {
    /// The number on the wire.
    pub const fn number(self) -> i16 {
        self as i16
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
