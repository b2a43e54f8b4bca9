//! A whole broker, driven over TCP with the messages themselves: no client library stands in between.

mod admin;
mod fetch;
mod folder;
mod groups;
mod hostile;
mod produce;
mod topics;
mod transactions;
mod versions;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_broker::{Broker, Config, Data};
use weir_wire::build::{BatchBuilder, Producer};
use weir_wire::codec::Codec;
use weir_wire::header::read_response_header;
use weir_wire::messages::*;
use weir_wire::{ErrorCode, Message, Reader, Text, Uuid, request_frame, split_frame};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of a broker on a free port.
pub fn config(folder: &Path) -> Config {
    let mut config = Config::new(Data::Folder(folder.to_owned()));
    config.listen.set_port(0);
    config
}

/// A broker on a folder of its own.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub broker: Broker,
}

impl Lab {
    pub async fn start() -> Lab {
        Lab::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        let broker = Broker::start(config).await.unwrap();
        Lab { folder, broker }
    }

    /// Stops the broker and starts another one on the same folder.
    pub async fn restart(self) -> Lab {
        self.broker.stop().await;
        let broker = Broker::start(config(self.folder.path())).await.unwrap();
        Lab { folder: self.folder, broker }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.broker.address()).await
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: BytesMut,
    correlation: i32,
    id: Text,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        Client { stream, buffer: BytesMut::new(), correlation: 0, id: Text::from_static("test") }
    }

    pub fn named(mut self, id: &'static str) -> Client {
        self.id = Text::from_static(id);
        self
    }

    pub async fn send<M: Message>(&mut self, version: i16, request: &M) {
        self.correlation += 1;
        for piece in request_frame(request, version, self.correlation, Some(&self.id)).unwrap() {
            self.stream.write_all(&piece).await.unwrap();
        }
    }

    /// The next answer, which must be to the last request.
    pub async fn receive<R: Message>(&mut self, version: i16) -> R {
        let correlation = self.correlation;
        self.receive_of(version, correlation).await
    }

    pub async fn receive_of<R: Message>(&mut self, version: i16, correlation: i32) -> R {
        let frame = self.frame().await.expect("an answer");
        let mut reader = Reader::new(frame);
        assert_eq!(read_response_header(&mut reader, R::KEY, version).unwrap(), correlation);
        let response = R::read(&mut reader, version).unwrap();
        assert_eq!(reader.remaining(), 0, "bytes behind {response:?}");
        response
    }

    pub async fn call<M: Message, R: Message>(&mut self, version: i16, request: &M) -> R {
        self.send(version, request).await;
        self.receive(version).await
    }

    /// The next frame, or nothing where the broker closed the connection.
    pub async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = split_frame(&mut self.buffer, 1 << 30).unwrap() {
                return Some(frame);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("an answer in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let request = CreateTopicsRequest { topics: vec![creatable(name, partitions, configs)], ..Default::default() };
        let response: CreateTopicsResponse = self.call(7, &request).await;
        let topic = &response.topics[0];
        assert_eq!(topic.error_code, ErrorCode::NONE, "{topic:?}");
        topic.topic_id
    }

    /// Produces one batch and gives what became of it.
    pub async fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, records);
        let response: ProduceResponse = self.call(11, &request).await;
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches from one partition, waiting up to so long.
    pub async fn fetch(&mut self, topic: &str, partition: i32, offset: i64, wait: Duration) -> FetchPartitionData {
        let request = fetch_request(&[(topic, partition, offset)], wait);
        let response: FetchResponse = self.call(12, &request).await;
        response.responses[0].partitions[0].clone()
    }

    pub async fn end_offset(&mut self, topic: &str, partition: i32, isolation_level: i8) -> i64 {
        let partition = ListOffsetsPartition { partition_index: partition, timestamp: -1, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: Text::from(topic), partitions: vec![partition] }];
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() };
        let response: ListOffsetsResponse = self.call(8, &request).await;
        let found = &response.topics[0].partitions[0];
        assert_eq!(found.error_code, ErrorCode::NONE);
        found.offset
    }
}

pub fn creatable(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: Text::from(*name),
        value: Some(Text::from(*value)),
    };
    CreatableTopic {
        name: Text::from(name),
        num_partitions: partitions,
        replication_factor: -1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    }
}

/// A batch of records with these values.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.push(now(), None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish(0).unwrap()
}

/// A batch of an idempotent producer.
pub fn batch_of(id: i64, epoch: i16, base_sequence: i32, transactional: bool, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).producer(Producer { id, epoch, base_sequence });
    if transactional {
        builder = builder.transactional();
    }
    for value in values {
        builder.push(now(), None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish(0).unwrap()
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

pub fn produce_request(topic: &str, partition: i32, records: Bytes) -> ProduceRequest {
    let partition_data = vec![PartitionProduceData { index: partition, records: Some(records) }];
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData { name: Text::from(topic), topic_id: Uuid::ZERO, partition_data }],
    }
}

pub fn fetch_request(from: &[(&str, i32, i64)], wait: Duration) -> FetchRequest {
    let topic = |(topic, partition, offset): &(&str, i32, i64)| FetchTopic {
        topic: Text::from(*topic),
        topic_id: Uuid::ZERO,
        partitions: vec![FetchPartition {
            partition: *partition,
            fetch_offset: *offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        }],
    };
    FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap(),
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: from.iter().map(topic).collect(),
        ..Default::default()
    }
}

/// The values of all records of all batches.
pub fn values(records: &Bytes) -> Vec<String> {
    let (mut rest, mut all) = (records.clone(), Vec::new());
    while let Some(batch) = weir_wire::batch::Batch::split(&mut rest).unwrap() {
        batch.verify_crc().unwrap();
        if batch.is_control() {
            continue;
        }
        let records = weir_wire::records::Records::read(&batch, 1 << 20).unwrap();
        for record in &records {
            all.push(String::from_utf8(record.unwrap().value.unwrap_or_default().to_vec()).unwrap());
        }
    }
    all
}
