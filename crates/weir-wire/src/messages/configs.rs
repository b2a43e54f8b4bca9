//! Settings of topics, brokers and groups.

use crate::{ErrorCode, Text};

message! {
    /// Asks for settings; null keys are for all.
    pub struct DescribeConfigsRequest: DescribeConfigs 1..=4, flexible 4 {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool [3..],
    }

    /// One of the `resources` of a [`DescribeConfigsRequest`].
    pub struct DescribeConfigsResource {
        resource_type: i8,
        resource_name: Text,
        configuration_keys: Option<Vec<Text>>,
    }

    /// The settings and where each comes from.
    pub struct DescribeConfigsResponse: DescribeConfigs 1..=4, flexible 4 {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    /// One of the `results` of a [`DescribeConfigsResponse`].
    pub struct DescribeConfigsResult {
        error_code: ErrorCode,
        error_message: Option<Text>,
        resource_type: i8,
        resource_name: Text,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// One of the `configs` of a [`DescribeConfigsResult`].
    pub struct DescribeConfigsResourceResult {
        name: Text,
        value: Option<Text>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>,
        config_type: i8 [3.., ignorable],
        documentation: Option<Text> [3.., ignorable] = Some(Text::EMPTY),
    }

    /// One of the `synonyms` of a [`DescribeConfigsResourceResult`].
    pub struct DescribeConfigsSynonym {
        name: Text,
        value: Option<Text>,
        source: i8,
    }

    /// Sets all settings of a resource; what is not named goes back to its default.
    pub struct AlterConfigsRequest: AlterConfigs 0..=2, flexible 2 {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }

    /// One of the `resources` of an [`AlterConfigsRequest`].
    pub struct AlterConfigsResource {
        resource_type: i8,
        resource_name: Text,
        configs: Vec<AlterableConfig>,
    }

    /// A setting and its value; null is the default.
    pub struct AlterableConfig {
        name: Text,
        value: Option<Text>,
    }

    /// Whether each resource was altered.
    pub struct AlterConfigsResponse: AlterConfigs 0..=2, flexible 2 {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// One of the `responses` of an [`AlterConfigsResponse`].
    pub struct AlterConfigsResourceResponse {
        error_code: ErrorCode,
        error_message: Option<Text>,
        resource_type: i8,
        resource_name: Text,
    }

    /// Sets, deletes, appends to or subtracts from single settings (KIP-339).
    pub struct IncrementalAlterConfigsRequest: IncrementalAlterConfigs 0..=1, flexible 1 {
        resources: Vec<IncrementalAlterConfigsResource>,
        validate_only: bool,
    }

    /// One of the `resources` of an [`IncrementalAlterConfigsRequest`].
    pub struct IncrementalAlterConfigsResource {
        resource_type: i8,
        resource_name: Text,
        configs: Vec<IncrementalAlterableConfig>,
    }

    /// A setting and what to do: set (0), delete (1), append (2) or subtract (3).
    pub struct IncrementalAlterableConfig {
        name: Text,
        config_operation: i8,
        value: Option<Text>,
    }

    /// Whether each resource was altered.
    pub struct IncrementalAlterConfigsResponse: IncrementalAlterConfigs 0..=1, flexible 1 {
        throttle_time_ms: i32,
        responses: Vec<IncrementalAlterConfigsResourceResponse>,
    }

    /// One of the `responses` of an [`IncrementalAlterConfigsResponse`].
    pub struct IncrementalAlterConfigsResourceResponse {
        error_code: ErrorCode,
        error_message: Option<Text>,
        resource_type: i8,
        resource_name: Text,
    }

    /// Asks which resources have settings, by type (KIP-1142); version 0 asks for client metrics only.
    pub struct ListConfigResourcesRequest: ListConfigResources 0..=1, flexible 0 {
        resource_types: Vec<i8> [1..],
    }

    /// The resources that have settings.
    pub struct ListConfigResourcesResponse: ListConfigResources 0..=1, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        config_resources: Vec<ConfigResource>,
    }

    /// One of the `config_resources` of a [`ListConfigResourcesResponse`].
    pub struct ConfigResource {
        resource_name: Text,
        resource_type: i8 [1.., ignorable] = 16,
    }
}
