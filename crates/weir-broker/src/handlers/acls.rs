//! Access control lists: they are kept and shown. Who is whom is not known yet, so that nobody is refused anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_wire::messages::{
    AclCreation, AclCreationResult, AclDescription, CreateAclsRequest, CreateAclsResponse, DeleteAclsFilter,
    DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResource, DescribeAclsResponse,
};
use weir_wire::{ErrorCode, Text};

use super::{Call, Refused, folder_error};
use crate::cluster::StoredAcl;
use crate::node::Node;

/// "Any" of resource types, patterns, operations and permissions.
const ANY: i8 = 1;
/// Patterns (`PatternType`).
const MATCH: i8 = 2;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
/// The resource type of the cluster, and its only name.
const CLUSTER: i8 = 4;
const CLUSTER_NAME: &str = "kafka-cluster";

/// Answers DescribeAcls.
pub(crate) fn describe(call: &Call<'_>, request: &DescribeAclsRequest) -> DescribeAclsResponse {
    let filter = DeleteAclsFilter {
        resource_type_filter: request.resource_type_filter,
        resource_name_filter: request.resource_name_filter.clone(),
        pattern_type_filter: request.pattern_type_filter,
        principal_filter: request.principal_filter.clone(),
        host_filter: request.host_filter.clone(),
        operation: request.operation,
        permission_type: request.permission_type,
    };
    if let Err((error_code, message)) = check_filter(&filter) {
        return DescribeAclsResponse { error_code, error_message: Some(Text::from(message)), ..Default::default() };
    }
    let memory = call.node.cluster().memory();
    let mut resources: BTreeMap<(i8, &str, i8), Vec<AclDescription>> = BTreeMap::new();
    for acl in memory.acls.iter().filter(|acl| matches(&filter, acl)) {
        let resource = (acl.resource_type, acl.resource_name.as_str(), acl.pattern_type);
        resources.entry(resource).or_default().push(AclDescription {
            principal: Text::from(acl.principal.as_str()),
            host: Text::from(acl.host.as_str()),
            operation: acl.operation,
            permission_type: acl.permission_type,
        });
    }
    let resources = resources.into_iter().map(|((resource_type, name, pattern_type), acls)| DescribeAclsResource {
        resource_type,
        resource_name: Text::from(name),
        pattern_type,
        acls,
    });
    DescribeAclsResponse { resources: resources.collect(), ..Default::default() }
}

/// Answers CreateAcls.
pub(crate) fn create(node: &Arc<Node>, request: CreateAclsRequest) -> CreateAclsResponse {
    let mut done: Vec<Result<(), Refused>> = request.creations.iter().map(|one| check(one).map(drop)).collect();
    let kept = node.cluster().change(|memory| {
        memory.acls.extend(request.creations.iter().filter_map(|one| check(one).ok()));
        memory.acls.sort();
        memory.acls.dedup();
    });
    if let Err(error) = kept {
        let refused = (folder_error(&error), error.to_string());
        done.iter_mut().filter(|one| one.is_ok()).for_each(|one| *one = Err(refused.clone()));
    }
    let results = done.into_iter().map(|done| {
        let (error_code, message) = done.err().unzip();
        AclCreationResult { error_code: error_code.unwrap_or_default(), error_message: message.map(Text::from) }
    });
    CreateAclsResponse { throttle_time_ms: 0, results: results.collect() }
}

/// Answers DeleteAcls.
pub(crate) fn delete(node: &Arc<Node>, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let mut results: Vec<DeleteAclsFilterResult> = Vec::new();
    let kept = node.cluster().change(|memory| {
        for filter in &request.filters {
            let mut result = DeleteAclsFilterResult::default();
            match check_filter(filter) {
                Err((code, message)) => {
                    result.error_code = code;
                    result.error_message = Some(Text::from(message));
                }
                Ok(()) => {
                    let gone = memory.acls.extract_if(.., |acl| matches(filter, acl));
                    result.matching_acls = gone.map(deleted).collect();
                }
            }
            results.push(result);
        }
    });
    if let Err(error) = kept {
        let (code, message) = (folder_error(&error), Text::from(error.to_string()));
        for result in &mut results {
            *result = DeleteAclsFilterResult {
                error_code: code,
                error_message: Some(message.clone()),
                matching_acls: Vec::new(),
            };
        }
    }
    DeleteAclsResponse { throttle_time_ms: 0, filter_results: results }
}

fn deleted(acl: StoredAcl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        error_code: ErrorCode::NONE,
        error_message: None,
        resource_type: acl.resource_type,
        resource_name: Text::from(acl.resource_name),
        pattern_type: acl.pattern_type,
        principal: Text::from(acl.principal),
        host: Text::from(acl.host),
        operation: acl.operation,
        permission_type: acl.permission_type,
    }
}

fn check_filter(filter: &DeleteAclsFilter) -> Result<(), Refused> {
    let known = (1..=7).contains(&filter.resource_type_filter)
        && (1..=4).contains(&filter.pattern_type_filter)
        && (1..=14).contains(&filter.operation)
        && (1..=3).contains(&filter.permission_type);
    if known { Ok(()) } else { Err((ErrorCode::INVALID_REQUEST, "the filter names what is not known".to_owned())) }
}

fn check(one: &AclCreation) -> Result<StoredAcl, Refused> {
    let invalid = |text: &str| Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    if !(2..=7).contains(&one.resource_type)
        || !(2..=14).contains(&one.operation)
        || !(2..=3).contains(&one.permission_type)
    {
        return invalid("resource type, operation and permission must each be one that is known, and not any");
    }
    if one.resource_pattern_type != LITERAL && one.resource_pattern_type != PREFIXED {
        return invalid("the pattern of a resource is literal or prefixed");
    }
    if one.resource_name.is_empty() {
        return invalid("the name of the resource is empty");
    }
    if one.resource_type == CLUSTER && &*one.resource_name != CLUSTER_NAME {
        return invalid("the name of the cluster is kafka-cluster");
    }
    if !one.principal.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty()) {
        return Err((ErrorCode::INVALID_PRINCIPAL_TYPE, "a principal is a type and a name: User:alice".to_owned()));
    }
    Ok(StoredAcl {
        resource_type: one.resource_type,
        resource_name: one.resource_name.to_string(),
        pattern_type: one.resource_pattern_type,
        principal: one.principal.to_string(),
        host: one.host.to_string(),
        operation: one.operation,
        permission_type: one.permission_type,
    })
}

fn matches(filter: &DeleteAclsFilter, acl: &StoredAcl) -> bool {
    let is = |wanted: i8, is: i8| wanted == ANY || wanted == is;
    let name = match (&filter.resource_name_filter, filter.pattern_type_filter) {
        (None, ANY | MATCH) => true,
        (None, pattern) => pattern == acl.pattern_type,
        (Some(name), ANY) => **name == *acl.resource_name,
        (Some(name), MATCH) if acl.pattern_type == PREFIXED => name.starts_with(&acl.resource_name),
        (Some(name), MATCH) => **name == *acl.resource_name || acl.resource_name == "*",
        (Some(name), pattern) => pattern == acl.pattern_type && **name == *acl.resource_name,
    };
    name && is(filter.resource_type_filter, acl.resource_type)
        && filter.principal_filter.as_ref().is_none_or(|principal| **principal == *acl.principal)
        && filter.host_filter.as_ref().is_none_or(|host| **host == *acl.host)
        && is(filter.operation, acl.operation)
        && is(filter.permission_type, acl.permission_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_finds_what_would_hold_for_a_name() {
        let acl = |name: &str, pattern_type| StoredAcl {
            resource_type: 2,
            resource_name: name.to_owned(),
            pattern_type,
            principal: "User:a".to_owned(),
            host: "*".to_owned(),
            operation: 3,
            permission_type: 3,
        };
        let check = |acl: StoredAcl, name: Option<&str>, pattern: i8, expect: bool| {
            let filter = DeleteAclsFilter {
                resource_type_filter: ANY,
                resource_name_filter: name.map(Text::from),
                pattern_type_filter: pattern,
                principal_filter: None,
                host_filter: None,
                operation: ANY,
                permission_type: ANY,
            };
            assert_eq!(matches(&filter, &acl), expect, "{acl:?} {name:?} {pattern}");
        };
        check(acl("orders", LITERAL), None, ANY, true);
        check(acl("orders", LITERAL), Some("orders"), LITERAL, true);
        check(acl("orders", LITERAL), Some("orders"), PREFIXED, false);
        check(acl("ord", PREFIXED), Some("orders"), MATCH, true);
        check(acl("ord", PREFIXED), Some("orders"), ANY, false);
        check(acl("*", LITERAL), Some("orders"), MATCH, true);
        check(acl("*", LITERAL), Some("orders"), LITERAL, false);
        check(acl("ord", LITERAL), Some("orders"), MATCH, false);
    }
}
