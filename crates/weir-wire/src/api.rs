//! The APIs that are known: their numbers, and which versions of each can be read and written.
//!
//! What a server offers is its own choice; it may offer fewer. One exception is the least version of Produce that
//! Apache Kafka *advertises*, [`PRODUCE_ADVERTISED_MIN`].

use crate::message::Message;
use crate::messages::*;
use std::fmt;
use std::ops::RangeInclusive;

/// Kafka 4 serves Produce from version 3 on but advertises it from 0 on, because librdkafka takes the versions of Produce
/// for the magic of batches that a broker understands (KAFKA-18659). A server for librdkafka must do the same.
pub const PRODUCE_ADVERTISED_MIN: i16 = 0;

/// An API number without messages here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("API {0} is not known")]
pub struct UnknownApi(pub i16);

macro_rules! apis {
    ($($name:ident = $number:literal: $request:ident $response:ident)*) => {
        /// What a request asks for; the first number of its header.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[allow(missing_docs, reason = "the names are Kafka's, which documents them; the requests say what they are for")]
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
    Metadata = 3: MetadataRequest MetadataResponse
    ApiVersions = 18: ApiVersionsRequest ApiVersionsResponse
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
