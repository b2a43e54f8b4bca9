//! The baseline of the end-to-end benchmark: the least an exactly-once copy with rdkafka can do, with the pump's own
//! client settings and none of its care. One thread, one transaction per 100 ms, no checks, no quarantine, no recovery:
//! it ends at the first error.
//!
//! `bare_copy <bootstrap> <source topic> <target topic> <count>` copies `count` records and prints the seconds from the
//! first record on and the CPU seconds of the whole process.

use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedHeaders, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use weir_kafka::{ClusterConfig, PumpConfig, baseline};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, source, target, count] = arguments.as_slice() else {
        return Err("usage: bare_copy <bootstrap> <source topic> <target topic> <count>".into());
    };
    let count: u64 = count.parse()?;
    let cluster = ClusterConfig::new(bootstrap, [] as [(&str, &str); 0])?;
    let group = format!("bare-copy-{}", std::process::id());
    let (consumer, producer) = baseline::clients(&cluster, PumpConfig::new(group, "bare"));
    let consumer: BaseConsumer = consumer.create()?;
    let producer: BaseProducer = producer.create()?;
    producer.init_transactions(Duration::from_secs(30))?;
    consumer.subscribe(&[source])?;

    let mut positions: Vec<Option<i64>> = Vec::new();
    let (mut copied, mut started) = (0, None);
    while copied < count {
        producer.begin_transaction()?;
        let mut opened = Instant::now();
        let mut written = 0;
        while copied + written < count && (written == 0 || opened.elapsed() < Duration::from_millis(100)) {
            let Some(message) = consumer.poll(Duration::from_millis(10)) else { continue };
            let message = message?;
            if written == 0 {
                opened = Instant::now();
            }
            started.get_or_insert_with(Instant::now);
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(target).partition(message.partition());
            record.key = message.key();
            record.payload = message.payload();
            record.timestamp = message.timestamp().to_millis();
            record.headers = message.headers().map(BorrowedHeaders::detach);
            while let Err((error, back)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(Duration::ZERO);
                record = back;
            }
            let partition = usize::try_from(message.partition())?;
            positions.resize(positions.len().max(partition + 1), None);
            positions[partition] = Some(message.offset() + 1);
            written += 1;
        }
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in (0..).zip(&positions) {
            if let Some(position) = position {
                list.add_partition_offset(source, partition, Offset::Offset(*position))?;
            }
        }
        let metadata = consumer.group_metadata().ok_or("not a member of the group")?;
        producer.send_offsets_to_transaction(&list, &metadata, Timeout::Never)?;
        producer.commit_transaction(Timeout::Never)?;
        copied += written;
    }
    let seconds = started.map_or(0.0, |at| at.elapsed().as_secs_f64());
    #[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
    {
        println!("records={copied} seconds={seconds:.3} cpu_seconds={:.3}", cpu_seconds()?);
    }
    Ok(())
}

/// User and system time of this process, from `/proc/self/stat` (proc(5), fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(f64::from(ticks) / 100.0)
}
