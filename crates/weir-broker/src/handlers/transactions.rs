//! Producer ids, transactions, and looking at both.

use std::sync::Arc;

use weir_wire::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction, DescribeProducersPartitionResponse, DescribeProducersRequest,
    DescribeProducersResponse, DescribeProducersTopicResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, DescribedTransactionState, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListTransactionsRequest, ListTransactionsResponse, ListedTransactionState, ProducerState,
    TransactionTopicData, WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use weir_wire::{ErrorCode, Text};

use super::Call;
use crate::clock::now_ms;
use crate::log::Marker;
use crate::node::Node;
use crate::transactions::{Caller, Filter, InitProducerId, Perform, Producer, TopicPartition, Transactions};

/// Answers InitProducerId.
pub(crate) async fn init(call: &Call<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let version = call.header.api_version;
    let turn = call.node.turn_transactions_async(move |transactions, now, perform| {
        let asked = InitProducerId {
            version,
            transactional_id: request.transactional_id.as_deref(),
            timeout_ms: request.transaction_timeout_ms,
            producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
            two_phase: false,
            keep_prepared: false,
        };
        transactions.init_producer_id(&asked, now, perform).map_err(|error| error.code())
    });
    match turn.await.unwrap_or_else(Err) {
        Ok(producer) => InitProducerIdResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
        },
        Err(error_code) => InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() },
    }
}

/// Answers AddPartitionsToTxn: for one transaction up to version 3, for several from 4 on.
pub(crate) async fn add_partitions(call: &Call<'_>, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let version = call.header.api_version;
    let many = version >= 4;
    let asked = if many {
        request.transactions
    } else {
        vec![AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        }]
    };
    let node = Arc::clone(call.node);
    let turn = call.node.turn_transactions_async(move |transactions, now, perform| {
        let add = |one| add_to_one(&node, one, version, transactions, now, perform);
        asked.into_iter().map(add).collect::<Vec<_>>()
    });
    match turn.await {
        Err(error_code) => AddPartitionsToTxnResponse { error_code, ..Default::default() },
        Ok(results_by_transaction) if many => {
            AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
        }
        Ok(results) => AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: results.into_iter().flat_map(|one| one.topic_results).collect(),
            ..Default::default()
        },
    }
}

fn add_to_one(
    node: &Node,
    one: AddPartitionsToTxnTransaction,
    version: i16,
    transactions: &mut Transactions,
    now: i64,
    perform: Perform<'_>,
) -> AddPartitionsToTxnResult {
    let producer = Producer { id: one.producer_id, epoch: one.producer_epoch };
    let caller = Caller { version, transactional_id: &one.transactional_id, producer };
    let partitions: Vec<TopicPartition> = one
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| (Arc::from(topic.name.as_str()), *index)))
        .collect();
    let missing: Vec<bool> =
        partitions.iter().map(|(topic, index)| node.topics().partition(topic, *index).is_none()).collect();
    let codes: Vec<ErrorCode> = if missing.contains(&true) {
        // One that does not exist keeps all others out.
        let code = |missing| match missing {
            true => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            false => ErrorCode::OPERATION_NOT_ATTEMPTED,
        };
        missing.into_iter().map(code).collect()
    } else if one.verify_only {
        let verified = transactions.verify_only(&caller, &partitions);
        verified.into_iter().map(|one| one.err().map_or(ErrorCode::NONE, |error| error.code())).collect()
    } else {
        let added = transactions.add_partitions(&caller, &partitions, now, perform);
        vec![added.err().map_or(ErrorCode::NONE, |error| error.code()); partitions.len()]
    };
    let mut codes = codes.into_iter();
    let topic_results = one
        .topics
        .into_iter()
        .map(|AddPartitionsToTxnTopic { name, partitions }| AddPartitionsToTxnTopicResult {
            name,
            results_by_partition: partitions
                .into_iter()
                .zip(codes.by_ref())
                .map(|(partition_index, partition_error_code)| AddPartitionsToTxnPartitionResult {
                    partition_index,
                    partition_error_code,
                })
                .collect(),
        })
        .collect();
    AddPartitionsToTxnResult { transactional_id: one.transactional_id, topic_results }
}

/// Answers AddOffsetsToTxn.
pub(crate) async fn add_offsets(call: &Call<'_>, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let version = call.header.api_version;
    if request.group_id.is_empty() {
        return AddOffsetsToTxnResponse { error_code: ErrorCode::INVALID_GROUP_ID, ..Default::default() };
    }
    let turn = call.node.turn_transactions_async(move |transactions, now, perform| {
        let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
        let caller = Caller { version, transactional_id: &request.transactional_id, producer };
        transactions.add_offsets(&caller, now, perform).map_err(|error| error.code())
    });
    let error_code = turn.await.unwrap_or_else(Err).err().unwrap_or_default();
    AddOffsetsToTxnResponse { throttle_time_ms: 0, error_code }
}

/// Answers EndTxn.
pub(crate) async fn end(call: &Call<'_>, request: EndTxnRequest) -> EndTxnResponse {
    let version = call.header.api_version;
    let turn = call.node.turn_transactions_async(move |transactions, now, perform| {
        let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
        let caller = Caller { version, transactional_id: &request.transactional_id, producer };
        transactions.end(&caller, request.committed, now, perform).map_err(|error| error.code())
    });
    match turn.await.unwrap_or_else(Err) {
        Ok(next) => EndTxnResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            producer_id: next.id,
            producer_epoch: next.epoch,
        },
        Err(error_code) => EndTxnResponse { error_code, ..Default::default() },
    }
}

/// Answers WriteTxnMarkers, with which an operator ends a transaction that nobody coordinates any more.
pub(crate) fn write_markers(node: &Arc<Node>, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    // No coordinator may decide anything about these partitions meanwhile.
    let markers = node.turn_transactions(|_, _, _| request.markers.iter().map(|one| write_one(node, one)).collect());
    WriteTxnMarkersResponse { markers }
}

fn write_one(node: &Node, one: &WritableTxnMarker) -> WritableTxnMarkerResult {
    let marker = Marker {
        producer_id: one.producer_id,
        producer_epoch: one.producer_epoch,
        // The one coordinator there is writes 0. An operator's marker of a higher epoch would lock it out for good.
        coordinator_epoch: 0,
        commit: one.transaction_result,
        transaction_version: i16::from(one.transaction_version),
    };
    let topics = one.topics.iter().map(|topic| WritableTxnMarkerTopicResult {
        name: topic.name.clone(),
        partitions: topic
            .partition_indexes
            .iter()
            .map(|index| WritableTxnMarkerPartitionResult {
                partition_index: *index,
                error_code: node.append_marker(&topic.name, *index, marker).err().unwrap_or_default(),
            })
            .collect(),
    });
    WritableTxnMarkerResult { producer_id: one.producer_id, topics: topics.collect() }
}

/// Answers DescribeTransactions.
pub(crate) fn describe(call: &Call<'_>, request: &DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.iter().map(|id| {
        match call.node.turn_transactions(|transactions, _, _| transactions.describe(id)) {
            Ok(described) => {
                let mut topics: Vec<TransactionTopicData> = Vec::new();
                for (topic, partition) in described.partitions {
                    match topics.last_mut().filter(|last| *last.topic == *topic) {
                        Some(last) => last.partitions.push(partition),
                        None => {
                            topics
                                .push(TransactionTopicData { topic: Text::from(&*topic), partitions: vec![partition] });
                        }
                    }
                }
                DescribedTransactionState {
                    error_code: ErrorCode::NONE,
                    transactional_id: id.clone(),
                    transaction_state: Text::from_static(described.state.name()),
                    transaction_timeout_ms: described.timeout_ms,
                    transaction_start_time_ms: described.started_ms,
                    producer_id: described.producer.id,
                    producer_epoch: described.producer.epoch,
                    topics,
                }
            }
            Err(error) => DescribedTransactionState {
                error_code: error.code(),
                transactional_id: id.clone(),
                ..Default::default()
            },
        }
    });
    DescribeTransactionsResponse { throttle_time_ms: 0, transaction_states: states.collect() }
}

/// Answers ListTransactions.
pub(crate) fn list(call: &Call<'_>, request: &ListTransactionsRequest) -> ListTransactionsResponse {
    let states: Vec<&str> = request.state_filters.iter().map(Text::as_str).collect();
    let filter = Filter {
        states: &states,
        producer_ids: &request.producer_id_filters,
        duration_ms: request.duration_filter,
        pattern: request.transactional_id_pattern.as_deref().unwrap_or(""),
    };
    match call.node.turn_transactions(|transactions, now, _| transactions.list(&filter, now)) {
        Ok(listing) => ListTransactionsResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            unknown_state_filters: listing.unknown_states.into_iter().map(Text::from).collect(),
            transaction_states: listing
                .transactions
                .into_iter()
                .map(|listed| ListedTransactionState {
                    transactional_id: Text::from(&*listed.transactional_id),
                    producer_id: listed.producer_id,
                    transaction_state: Text::from_static(listed.state.name()),
                })
                .collect(),
        },
        Err(error) => ListTransactionsResponse { error_code: error.code(), ..Default::default() },
    }
}

/// Answers DescribeProducers.
pub(crate) fn producers(node: &Arc<Node>, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let found = node.topics().partition(&topic.name, *index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            let producers = found.and_then(|partition| {
                let log = partition.log(now_ms()).map_err(|error| error.code())?;
                Ok(log.producers())
            });
            match producers {
                Ok(producers) => DescribeProducersPartitionResponse {
                    partition_index: *index,
                    active_producers: producers
                        .into_iter()
                        .map(|producer| ProducerState {
                            producer_id: producer.producer_id,
                            producer_epoch: i32::from(producer.epoch),
                            last_sequence: producer.last_sequence,
                            last_timestamp: producer.last_timestamp,
                            coordinator_epoch: producer.coordinator_epoch,
                            current_txn_start_offset: producer.transaction_start,
                        })
                        .collect(),
                    ..Default::default()
                },
                Err(error_code) => DescribeProducersPartitionResponse {
                    partition_index: *index,
                    error_code,
                    error_message: error_code.name().map(Text::from_static),
                    ..Default::default()
                },
            }
        });
        let partitions = partitions.collect();
        DescribeProducersTopicResponse { name: topic.name, partitions }
    });
    DescribeProducersResponse { throttle_time_ms: 0, topics: topics.collect() }
}
