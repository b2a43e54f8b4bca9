//! Showing and setting configs of topics and of the broker.

use std::collections::HashSet;
use std::sync::Arc;

use weir_wire::messages::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, ConfigResource, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource,
    IncrementalAlterConfigsResourceResponse, IncrementalAlterConfigsResponse, IncrementalAlterableConfig,
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use weir_wire::{ErrorCode, Text};

use super::{Call, Refused, folder_error, topic_error};
use crate::configs::{self, Definition, Entry, Operation, Overrides, broker, topic};
use crate::node::{NODE_ID, Node};
use crate::topics::TopicError;

/// The numbers of resource types (`ConfigResource.Type`).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Answers DescribeConfigs.
pub(crate) fn describe(call: &Call<'_>, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match entries(call.node, resource) {
            Ok(entries) => {
                let wanted = |entry: &Entry| {
                    let keys = resource.configuration_keys.as_ref();
                    keys.is_none_or(|keys| keys.iter().any(|key| &**key == entry.name))
                };
                let shown = entries.into_iter().filter(wanted);
                result.configs = shown.map(|entry| show(entry, request.include_synonyms)).collect();
            }
            Err((code, message)) => {
                result.error_code = code;
                result.error_message = Some(Text::from(message));
            }
        }
        result
    });
    DescribeConfigsResponse { throttle_time_ms: 0, results: results.collect() }
}

fn entries(node: &Arc<Node>, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Refused> {
    let name = &*resource.resource_name;
    let memory = node.cluster().memory();
    match resource.resource_type {
        TOPIC => {
            crate::topics::check_name(name).map_err(|error| (topic_error(&error), error.to_string()))?;
            let topic = node.topics().get(name).ok_or_else(|| missing(name))?;
            Ok(topic::describe(&topic.overrides(), &memory.configs))
        }
        BROKER if name.is_empty() => Ok(broker::describe_all(&memory.configs)),
        BROKER => is_this(name).map(|()| broker::describe(&node.started(), &memory.configs)),
        // Loggers are not set over the protocol; groups and metrics of clients have no configs here.
        BROKER_LOGGER => is_this(name).map(|()| Vec::new()),
        GROUP | CLIENT_METRICS => Ok(Vec::new()),
        other => Err((ErrorCode::INVALID_REQUEST, format!("resources of type {other} have no configs"))),
    }
}

fn missing(name: &str) -> Refused {
    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("topic {name} does not exist"))
}

fn is_this(name: &str) -> Result<(), Refused> {
    if name.parse() == Ok(NODE_ID) {
        return Ok(());
    }
    Err((ErrorCode::INVALID_REQUEST, format!("there is one broker, {NODE_ID}, and no {name:?}")))
}

fn show(entry: Entry, include_synonyms: bool) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().filter(|_| include_synonyms).map(|(name, value, source)| {
        DescribeConfigsSynonym { name: Text::from_static(name), value: Some(Text::from(value)), source: source as i8 }
    });
    DescribeConfigsResourceResult {
        name: Text::from_static(entry.name),
        value: entry.value.map(Text::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: false,
        synonyms: synonyms.collect(),
        config_type: entry.kind as i8,
        documentation: None,
    }
}

/// Answers IncrementalAlterConfigs.
pub(crate) fn alter(node: &Arc<Node>, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let twice = named_twice(request.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let responses = request.resources.iter().map(|resource| {
        let done = match twice.contains(&(resource.resource_type, &*resource.resource_name)) {
            true => Err((ErrorCode::INVALID_REQUEST, "a resource is named twice".to_owned())),
            false => alter_one(node, resource, request.validate_only, false),
        };
        let (error_code, message) = done.err().unzip();
        IncrementalAlterConfigsResourceResponse {
            error_code: error_code.unwrap_or_default(),
            error_message: message.map(Text::from),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        }
    });
    IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }
}

/// Answers AlterConfigs, which sets all configs of a resource: what is not named goes back to its default.
pub(crate) fn replace(node: &Arc<Node>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let twice = named_twice(request.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let responses = request.resources.iter().map(|resource| {
        let configs = resource.configs.iter().map(|config| IncrementalAlterableConfig {
            name: config.name.clone(),
            // A null is the default.
            config_operation: i8::from(config.value.is_none()),
            value: config.value.clone(),
        });
        let steps = IncrementalAlterConfigsResource {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: configs.collect(),
        };
        let done = match twice.contains(&(resource.resource_type, &*resource.resource_name)) {
            true => Err((ErrorCode::INVALID_REQUEST, "a resource is named twice".to_owned())),
            false => alter_one(node, &steps, request.validate_only, true),
        };
        let (error_code, message) = done.err().unzip();
        AlterConfigsResourceResponse {
            error_code: error_code.unwrap_or_default(),
            error_message: message.map(Text::from),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        }
    });
    AlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }
}

fn named_twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> HashSet<(i8, &'a str)> {
    let mut seen = HashSet::new();
    resources.filter(|resource| !seen.insert(*resource)).collect()
}

fn alter_one(
    node: &Arc<Node>,
    resource: &IncrementalAlterConfigsResource,
    validate_only: bool,
    replace: bool,
) -> Result<(), Refused> {
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC => alter_topic(node, name, &resource.configs, validate_only, replace),
        BROKER => {
            if !name.is_empty() {
                is_this(name)?;
            }
            alter_broker(node, !name.is_empty(), &resource.configs, validate_only, replace)
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("configs of resources of type {other} cannot be set"))),
    }
}

fn alter_topic(
    node: &Arc<Node>,
    name: &str,
    steps: &[IncrementalAlterableConfig],
    validate_only: bool,
    replace: bool,
) -> Result<(), Refused> {
    let topic = node.topics().get(name).ok_or_else(|| missing(name))?;
    let dynamic = node.cluster().memory().configs.clone();
    let mut overrides = if replace { Overrides::new() } else { Overrides::clone(&topic.overrides()) };
    apply(
        steps,
        &mut overrides,
        |name| topic::definition(name).copied(),
        |definition| topic::value(definition, &Overrides::new(), &dynamic).map(str::to_owned),
    )?;
    let invalid = |error: configs::Invalid| (ErrorCode::INVALID_CONFIG, error.to_string());
    topic::check(&overrides).map_err(invalid)?;
    if validate_only {
        return Ok(());
    }
    let refused = |error: TopicError| (topic_error(&error), error.to_string());
    node.topics().set_overrides(&topic, overrides).map_err(refused)
}

fn alter_broker(
    node: &Arc<Node>,
    this: bool,
    steps: &[IncrementalAlterableConfig],
    validate_only: bool,
    replace: bool,
) -> Result<(), Refused> {
    let mut dynamic = node.cluster().memory().configs.clone();
    let overrides = if this { &mut dynamic.this } else { &mut dynamic.all };
    if replace {
        overrides.clear();
    }
    // What is wrong with a config of the broker is an invalid request to Kafka, unlike with a topic's.
    let as_request = |(code, message)| match code {
        ErrorCode::INVALID_CONFIG => (ErrorCode::INVALID_REQUEST, message),
        code => (code, message),
    };
    let default = |definition: &Definition| definition.default.map(str::to_owned);
    apply(steps, overrides, broker::settable, default).map_err(as_request)?;
    if validate_only {
        return Ok(());
    }
    // Held against what topics have of their own first: what cannot be is not kept.
    let invalid = |error: configs::Invalid| (ErrorCode::INVALID_CONFIG, error.to_string());
    node.topics().set_dynamic(dynamic.clone()).map_err(invalid)?;
    if let Err(error) = node.cluster().change(|memory| memory.configs = dynamic) {
        let before = node.topics().set_dynamic(node.cluster().memory().configs.clone());
        debug_assert!(before.is_ok());
        return Err((folder_error(&error), error.to_string()));
    }
    node.reconfigured().notify_waiters();
    Ok(())
}

/// Applies steps to overrides, each of another config.
fn apply(
    steps: &[IncrementalAlterableConfig],
    overrides: &mut Overrides,
    find: impl Fn(&str) -> Result<Definition, configs::Invalid>,
    current: impl Fn(&Definition) -> Option<String>,
) -> Result<(), Refused> {
    let mut seen = HashSet::new();
    for step in steps {
        if !seen.insert(&*step.name) {
            return Err((ErrorCode::INVALID_REQUEST, format!("{} is named twice", step.name)));
        }
        let invalid = |error: configs::Invalid| (ErrorCode::INVALID_CONFIG, error.to_string());
        let operation = Operation::from_code(step.config_operation).ok_or_else(|| {
            (ErrorCode::INVALID_REQUEST, format!("{} is no operation on a config", step.config_operation))
        })?;
        if operation != Operation::Delete && step.value.is_none() {
            return Err((ErrorCode::INVALID_REQUEST, format!("a null value cannot be set for {}", step.name)));
        }
        let definition = find(&step.name).map_err(invalid)?;
        let now = current(&definition);
        configs::alter(overrides, &definition, operation, step.value.as_deref(), now.as_deref()).map_err(invalid)?;
    }
    Ok(())
}

/// Answers ListConfigResources.
pub(crate) fn list(call: &Call<'_>, request: &ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let all = [TOPIC, BROKER, BROKER_LOGGER];
    let types: Vec<i8> = match call.header.api_version {
        0 => vec![CLIENT_METRICS],
        _ if request.resource_types.is_empty() => all.to_vec(),
        _ => request.resource_types.clone(),
    };
    if types.iter().any(|kind| !all.contains(kind) && ![CLIENT_METRICS, GROUP].contains(kind)) {
        return ListConfigResourcesResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, ..Default::default() };
    }
    let mut config_resources = Vec::new();
    for resource_type in types {
        match resource_type {
            TOPIC => config_resources.extend(
                node_topics(call.node).map(|name| ConfigResource { resource_name: Text::from(&*name), resource_type }),
            ),
            BROKER | BROKER_LOGGER => {
                config_resources.push(ConfigResource { resource_name: Text::from(NODE_ID.to_string()), resource_type })
            }
            _ => {}
        }
    }
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}

fn node_topics(node: &Node) -> impl Iterator<Item = Arc<str>> {
    node.topics().all().into_iter().map(|topic| Arc::clone(topic.name()))
}
