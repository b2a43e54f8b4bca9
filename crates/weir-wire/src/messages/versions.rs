//! What a broker understands: asked for before all else.

use crate::{ErrorCode, Text};

message! {
    /// Asks which APIs and versions the broker serves. It may come in a version that the broker does not know.
    pub struct ApiVersionsRequest: ApiVersions 0..=4, flexible 3 {
        client_software_name: Text [3.., ignorable],
        client_software_version: Text [3.., ignorable],
    }

    /// The APIs and versions that are served.
    ///
    /// A request of an unknown version is answered in version 0 with UNSUPPORTED_VERSION (KIP-511).
    pub struct ApiVersionsResponse: ApiVersions 0..=4, flexible 3 {
        error_code: ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [1.., ignorable],
    } tagged {
        0 => supported_features: Vec<SupportedFeatureKey> [ignorable],
        1 => finalized_features_epoch: i64 [ignorable] = -1,
        2 => finalized_features: Vec<FinalizedFeatureKey> [ignorable],
        3 => zk_migration_ready: bool [ignorable],
    }

    /// One of the `api_keys` of an [`ApiVersionsResponse`].
    pub struct ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    /// One of the `supported_features` of an [`ApiVersionsResponse`].
    pub struct SupportedFeatureKey {
        name: Text,
        min_version: i16,
        max_version: i16,
    }

    /// One of the `finalized_features` of an [`ApiVersionsResponse`].
    pub struct FinalizedFeatureKey {
        name: Text,
        max_version_level: i16,
        min_version_level: i16,
    }
}
