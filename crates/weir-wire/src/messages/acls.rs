//! Access control lists.

use crate::{ErrorCode, Text};

message! {
    /// Asks for the entries that a filter matches.
    pub struct DescribeAclsRequest: DescribeAcls 1..=3, flexible 2 {
        resource_type_filter: i8,
        resource_name_filter: Option<Text>,
        pattern_type_filter: i8 = 3,
        principal_filter: Option<Text>,
        host_filter: Option<Text>,
        operation: i8,
        permission_type: i8,
    }

    /// The entries, by resource.
    pub struct DescribeAclsResponse: DescribeAcls 1..=3, flexible 2 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        resources: Vec<DescribeAclsResource>,
    }

    /// One of the `resources` of a [`DescribeAclsResponse`].
    pub struct DescribeAclsResource {
        resource_type: i8,
        resource_name: Text,
        pattern_type: i8 = 3,
        acls: Vec<AclDescription>,
    }

    /// One of the `acls` of a [`DescribeAclsResource`].
    pub struct AclDescription {
        principal: Text,
        host: Text,
        operation: i8,
        permission_type: i8,
    }

    /// Adds entries.
    pub struct CreateAclsRequest: CreateAcls 1..=3, flexible 2 {
        creations: Vec<AclCreation>,
    }

    /// One of the `creations` of a [`CreateAclsRequest`].
    pub struct AclCreation {
        resource_type: i8,
        resource_name: Text,
        resource_pattern_type: i8 = 3,
        principal: Text,
        host: Text,
        operation: i8,
        permission_type: i8,
    }

    /// Whether each entry was added, in the order of the request.
    pub struct CreateAclsResponse: CreateAcls 1..=3, flexible 2 {
        throttle_time_ms: i32,
        results: Vec<AclCreationResult>,
    }

    /// One of the `results` of a [`CreateAclsResponse`].
    pub struct AclCreationResult {
        error_code: ErrorCode,
        error_message: Option<Text>,
    }

    /// Deletes the entries that filters match.
    pub struct DeleteAclsRequest: DeleteAcls 1..=3, flexible 2 {
        filters: Vec<DeleteAclsFilter>,
    }

    /// One of the `filters` of a [`DeleteAclsRequest`].
    pub struct DeleteAclsFilter {
        resource_type_filter: i8,
        resource_name_filter: Option<Text>,
        pattern_type_filter: i8 = 3,
        principal_filter: Option<Text>,
        host_filter: Option<Text>,
        operation: i8,
        permission_type: i8,
    }

    /// What each filter deleted, in the order of the request.
    pub struct DeleteAclsResponse: DeleteAcls 1..=3, flexible 2 {
        throttle_time_ms: i32,
        filter_results: Vec<DeleteAclsFilterResult>,
    }

    /// One of the `filter_results` of a [`DeleteAclsResponse`].
    pub struct DeleteAclsFilterResult {
        error_code: ErrorCode,
        error_message: Option<Text>,
        matching_acls: Vec<DeleteAclsMatchingAcl>,
    }

    /// One of the `matching_acls` of a [`DeleteAclsFilterResult`].
    pub struct DeleteAclsMatchingAcl {
        error_code: ErrorCode,
        error_message: Option<Text>,
        resource_type: i8,
        resource_name: Text,
        pattern_type: i8 = 3,
        principal: Text,
        host: Text,
        operation: i8,
        permission_type: i8,
    }
}
