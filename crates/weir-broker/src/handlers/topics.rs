//! Creating, growing and deleting topics.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use weir_wire::messages::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreatePartitionsRequest,
    CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use weir_wire::{ErrorCode, Text, Uuid};

use super::{Refused, topic_error};
use crate::configs::{Overrides, topic};
use crate::node::{NODE_ID, Node};
use crate::topics::{Topic, TopicError};

fn refused(error: &TopicError) -> Refused {
    (topic_error(error), error.to_string())
}

/// Answers CreateTopics.
pub(crate) fn create(node: &Arc<Node>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut named: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(&topic.name).or_default() += 1;
    }
    let mut answered = Vec::new();
    for asked in &request.topics {
        match named.get_mut(&*asked.name) {
            // One answer for a name that comes more than once.
            Some(count) if *count > 1 => {
                *count = 0;
                let twice = (ErrorCode::INVALID_REQUEST, format!("topic {} is named twice", asked.name));
                answered.push(creation(asked, Err(twice)));
            }
            Some(1) => answered.push(creation(asked, create_one(node, asked, request.validate_only))),
            _ => {}
        }
    }
    CreateTopicsResponse { throttle_time_ms: 0, topics: answered }
}

/// A topic that was made, or could be.
struct Made {
    id: Uuid,
    partitions: i32,
    configs: Vec<CreatableTopicConfigs>,
}

fn create_one(node: &Node, asked: &CreatableTopic, validate_only: bool) -> Result<Made, Refused> {
    crate::topics::check_name(&asked.name).map_err(|error| refused(&error))?;
    let partitions = if asked.assignments.is_empty() {
        match asked.replication_factor {
            -1 | 1 => {}
            factor if factor < 1 => {
                let text = format!("the replication factor is at least 1, or -1 for the default, not {factor}");
                return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text));
            }
            factor => {
                let text = format!("{factor} replicas are not possible on one broker");
                return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text));
            }
        }
        if asked.num_partitions == -1 { node.config().default_partitions } else { asked.num_partitions }
    } else {
        assigned(asked)?
    };
    let mut overrides = Overrides::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            return Err((ErrorCode::INVALID_CONFIG, format!("a null value cannot be set for {}", config.name)));
        };
        overrides.insert(config.name.to_string(), value.to_string());
    }
    let dynamic = node.cluster().memory().configs.clone();
    let shown = topic::describe(&overrides, &dynamic);
    let configs = shown.into_iter().map(|entry| CreatableTopicConfigs {
        name: Text::from_static(entry.name),
        value: entry.value.map(Text::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: false,
    });
    let configs = configs.collect();
    let made = if validate_only {
        node.topics().check_create(&asked.name, partitions, &overrides).map(|()| Uuid::ZERO)
    } else {
        node.topics().create(&asked.name, partitions, overrides).map(|topic| topic.id())
    };
    match made {
        Ok(id) => Ok(Made { id, partitions, configs }),
        Err(error) => Err(refused(&error)),
    }
}

/// The number of partitions that a manual assignment says, which can only be to this node.
fn assigned(asked: &CreatableTopic) -> Result<i32, Refused> {
    if asked.num_partitions != -1 || asked.replication_factor != -1 {
        let text = "with an assignment, partitions and replication factor must be -1";
        return Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    }
    let count = i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX);
    let mut seen: Vec<i32> = asked.assignments.iter().map(|one| one.partition_index).collect();
    seen.sort_unstable();
    if !seen.iter().copied().eq(0..count) {
        let text = "an assignment must name each partition from 0 on once";
        return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text.to_owned()));
    }
    asked.assignments.iter().try_for_each(|CreatableReplicaAssignment { broker_ids, .. }| check_brokers(broker_ids))?;
    Ok(count)
}

fn check_brokers(brokers: &[i32]) -> Result<(), Refused> {
    if brokers == [NODE_ID] {
        return Ok(());
    }
    let text = format!("partitions can only be assigned to broker {NODE_ID}, not to {brokers:?}");
    Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text))
}

fn creation(asked: &CreatableTopic, made: Result<Made, Refused>) -> CreatableTopicResult {
    let name = asked.name.clone();
    match made {
        Ok(made) => CreatableTopicResult {
            name,
            topic_id: made.id,
            error_code: ErrorCode::NONE,
            error_message: None,
            num_partitions: made.partitions,
            replication_factor: 1,
            configs: Some(made.configs),
            ..Default::default()
        },
        Err((error_code, message)) => CreatableTopicResult {
            name,
            error_code,
            error_message: Some(Text::from(message)),
            configs: None,
            ..Default::default()
        },
    }
}

/// Answers CreatePartitions.
pub(crate) fn grow(node: &Arc<Node>, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|asked| {
        let twice = request.topics.iter().filter(|other| other.name == asked.name).count() > 1;
        let done = if twice {
            Err((ErrorCode::INVALID_REQUEST, format!("topic {} is named twice", asked.name)))
        } else {
            grow_one(node, asked, request.validate_only)
        };
        let (error_code, message) = done.err().unzip();
        CreatePartitionsTopicResult {
            name: asked.name.clone(),
            error_code: error_code.unwrap_or_default(),
            error_message: message.map(Text::from),
        }
    });
    CreatePartitionsResponse { throttle_time_ms: 0, results: results.collect() }
}

fn grow_one(node: &Node, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refused> {
    let found = node.topics().get(&asked.name);
    let topic = found.ok_or_else(|| refused(&TopicError::Missing(asked.name.to_string())))?;
    if topic.is_internal() {
        return Err((ErrorCode::INVALID_REQUEST, format!("topic {} has one partition on this broker", asked.name)));
    }
    node.topics().check_grow(&topic, asked.count).map_err(|error| refused(&error))?;
    if let Some(assignments) = &asked.assignments {
        let more = usize::try_from(asked.count).unwrap_or(0).saturating_sub(topic.partitions().len());
        if assignments.len() != more {
            let text = format!("{more} new partitions need as many assignments, not {}", assignments.len());
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
        }
        assignments.iter().try_for_each(|assignment| check_brokers(&assignment.broker_ids))?;
    }
    if validate_only {
        return Ok(());
    }
    node.topics().grow(&topic, asked.count).map_err(|error| refused(&error))
}

/// Answers DeleteTopics, and says which folders can be removed.
pub(crate) fn delete(node: &Arc<Node>, request: DeleteTopicsRequest) -> (DeleteTopicsResponse, Vec<Removed>) {
    let names =
        request.topic_names.iter().map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO });
    let asked: Vec<DeleteTopicState> = names.chain(request.topics.iter().cloned()).collect();
    let (mut responses, mut removed) = (Vec::new(), Vec::new());
    for state in &asked {
        let twice = asked.iter().filter(|other| *other == state).count() > 1;
        let done = if twice {
            Err((ErrorCode::INVALID_REQUEST, "a topic is named twice".to_owned()))
        } else {
            delete_one(node, state)
        };
        let mut response =
            DeletableTopicResult { name: state.name.clone(), topic_id: state.topic_id, ..Default::default() };
        match done {
            Ok(gone) => {
                response.name = Some(Text::from(&**gone.topic.name()));
                response.topic_id = gone.topic.id();
                removed.push(gone);
            }
            Err((code, message)) => {
                response.error_code = code;
                response.error_message = Some(Text::from(message));
            }
        }
        responses.push(response);
    }
    let names: Vec<&str> = removed.iter().map(|removed: &Removed| &**removed.topic.name()).collect();
    if !names.is_empty() {
        node.turn_groups(|groups, _| groups.delete_topics(&names));
    }
    (DeleteTopicsResponse { throttle_time_ms: 0, responses }, removed)
}

/// A topic that is no more, and where its files still lie.
pub(crate) struct Removed {
    pub(crate) topic: Arc<Topic>,
    pub(crate) folder: PathBuf,
}

fn delete_one(node: &Node, state: &DeleteTopicState) -> Result<Removed, Refused> {
    let topics = node.topics();
    let invalid = |text: &str| Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    let topic = match (&state.name, state.topic_id.is_zero()) {
        (Some(name), true) => topics.get(name).ok_or_else(|| refused(&TopicError::Missing(name.to_string())))?,
        (None, false) => topics
            .by_id(state.topic_id)
            .ok_or_else(|| (ErrorCode::UNKNOWN_TOPIC_ID, format!("there is no topic of id {}", state.topic_id)))?,
        (Some(_), false) => return invalid("a topic is deleted by name or by id, not by both"),
        (None, true) => return invalid("neither the name nor the id of the topic is given"),
    };
    if topic.is_internal() {
        return invalid("the topic holds the broker's own state");
    }
    let folder = topics.delete(&topic).map_err(|error| refused(&error))?;
    for partition in topic.partitions().iter() {
        if let Some(log) = partition.opened() {
            log.stop();
        }
    }
    Ok(Removed { topic, folder })
}

/// Removes the files of topics that are no more, meanwhile.
pub(crate) fn remove(removed: Vec<Removed>) {
    if removed.is_empty() {
        return;
    }
    tokio::task::spawn_blocking(move || {
        for Removed { topic, folder } in removed {
            // What cannot be removed now goes at the next start.
            if let Err(error) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(topic = %topic.name(), folder = %folder.display(), %error, "cannot remove the files of a deleted topic");
            }
        }
    });
}
