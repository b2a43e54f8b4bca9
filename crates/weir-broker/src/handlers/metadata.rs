//! Where topics and partitions are: on this one node.

use std::sync::Arc;

use weir_wire::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use weir_wire::{ErrorCode, Text};

use super::{CLUSTER_OPERATIONS, Call, LEADER_EPOCH, TOPIC_OPERATIONS, topic_error};
use crate::node::NODE_ID;
use crate::topics::{Topic, check_name};

/// Answers Metadata.
pub(crate) fn metadata(call: &Call<'_>, request: &MetadataRequest) -> MetadataResponse {
    let node = call.node;
    let (host, port) = node.advertised(call.peer.local);
    let operations = request.include_topic_authorized_operations;
    let all = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && call.header.api_version == 0,
    };
    let topics = if all {
        node.topics().all().iter().map(|topic| describe(topic, operations)).collect()
    } else {
        let asked = request.topics.iter().flatten();
        asked.map(|asked| find(call, asked, request.allow_auto_topic_creation, operations)).collect()
    };
    MetadataResponse {
        throttle_time_ms: 0,
        brokers: vec![MetadataResponseBroker { node_id: NODE_ID, host, port: i32::from(port), rack: None }],
        cluster_id: Some(Text::from(node.cluster_id())),
        controller_id: NODE_ID,
        topics,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        error_code: ErrorCode::NONE,
    }
}

fn find(call: &Call<'_>, asked: &MetadataRequestTopic, create: bool, operations: bool) -> MetadataResponseTopic {
    let node = call.node;
    let failed = |error_code| MetadataResponseTopic {
        error_code,
        // Before version 12 a name cannot be null.
        name: asked.name.clone().or_else(|| (call.header.api_version < 12).then_some(Text::EMPTY)),
        topic_id: asked.topic_id,
        ..Default::default()
    };
    if !asked.topic_id.is_zero() {
        // A name beside the id has no meaning; Java's client sends an empty one.
        let found = node.topics().by_id(asked.topic_id);
        return found.map_or_else(|| failed(ErrorCode::UNKNOWN_TOPIC_ID), |topic| describe(&topic, operations));
    }
    let Some(name) = &asked.name else { return failed(ErrorCode::INVALID_REQUEST) };
    if let Some(topic) = node.topics().get(name) {
        return describe(&topic, operations);
    }
    if check_name(name).is_err() {
        return failed(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !(create && node.config().auto_create_topics) {
        return failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    match node.topics().create(name, node.config().default_partitions, Default::default()) {
        Ok(topic) => describe(&topic, operations),
        Err(error) => {
            // Another client may have been quicker.
            let found = node.topics().get(name);
            found.map_or_else(|| failed(topic_error(&error)), |topic| describe(&topic, operations))
        }
    }
}

fn describe(topic: &Arc<Topic>, operations: bool) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(Text::from(&**topic.name())),
        topic_id: topic.id(),
        is_internal: topic.is_internal(),
        partitions: partitions
            .iter()
            .map(|partition| MetadataResponsePartition {
                error_code: ErrorCode::NONE,
                partition_index: partition.index(),
                leader_id: NODE_ID,
                leader_epoch: LEADER_EPOCH,
                replica_nodes: vec![NODE_ID],
                isr_nodes: vec![NODE_ID],
                offline_replicas: Vec::new(),
            })
            .collect(),
        topic_authorized_operations: if operations { TOPIC_OPERATIONS } else { i32::MIN },
    }
}
