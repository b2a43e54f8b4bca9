//! What the broker serves: APIs, versions and features.

use weir_wire::api::PRODUCE_ADVERTISED_MIN;
use weir_wire::messages::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use weir_wire::{ApiKey, ErrorCode, Text};

use super::Call;

/// Features with the least and the greatest level that is supported, and the one that holds. The metadata version is the one of Apache
/// Kafka 4.3; transactions are those of KIP-890. Groups of KIP-848 are not served, so that feature is not named.
const FEATURES: [(&str, i16, i16, i16); 2] = [("metadata.version", 7, 30, 30), ("transaction.version", 0, 2, 2)];

/// Answers ApiVersions.
pub(crate) fn versions(call: &Call<'_>, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let version = call.header.api_version;
    if version >= 3 && !(is_software(&request.client_software_name) && is_software(&request.client_software_version)) {
        return ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() };
    }
    // Before version 4 a client cannot read a feature whose least level is 0 (KIP-584).
    let supported = FEATURES.iter().filter(|(_, least, ..)| version >= 4 || *least > 0);
    ApiVersionsResponse {
        error_code: ErrorCode::NONE,
        api_keys: super::SERVED.iter().map(|key| range(*key)).collect(),
        throttle_time_ms: 0,
        supported_features: supported
            .map(|&(name, min_version, max_version, _)| SupportedFeatureKey {
                name: Text::from_static(name),
                min_version,
                max_version,
            })
            .collect(),
        finalized_features_epoch: 0,
        finalized_features: FEATURES
            .iter()
            .map(|&(name, _, _, level)| FinalizedFeatureKey {
                name: Text::from_static(name),
                max_version_level: level,
                min_version_level: level,
            })
            .collect(),
        ..Default::default()
    }
}

/// The answer to a version of ApiVersions that is not known: which ones are (KIP-511).
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![range(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn range(key: ApiKey) -> ApiVersion {
    let versions = key.versions();
    let least = if key == ApiKey::Produce { PRODUCE_ADVERTISED_MIN } else { *versions.start() };
    ApiVersion { api_key: key.number(), min_version: least, max_version: *versions.end() }
}

/// Whether it is the name or version of a client's software: letters, digits, and inside also dashes and dots.
fn is_software(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
