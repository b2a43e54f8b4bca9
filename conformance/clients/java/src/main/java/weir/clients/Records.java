package weir.clients;

import static weir.clients.Broker.bytes;
import static weir.clients.Suite.eventually;
import static weir.clients.Suite.expect;
import static weir.clients.Suite.refused;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Headers;

/** Single records: what is sent comes back, and what must be refused is refused. */
final class Records {
    private Records() {}

    private static List<ProducerRecord<byte[], byte[]>> assorted(String topic) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        records.add(new ProducerRecord<>(topic, bytes("k"), bytes("v")));
        records.add(new ProducerRecord<>(topic, null, bytes("no key")));
        records.add(new ProducerRecord<>(topic, bytes("tombstone"), null));
        records.add(new ProducerRecord<>(topic, new byte[0], new byte[0]));
        ProducerRecord<byte[], byte[]> headers = new ProducerRecord<>(topic, bytes("h"), bytes("headers"));
        headers.headers().add("a", bytes("1")).add("a", bytes("2")).add("null", null).add("", new byte[0]);
        records.add(headers);
        records.add(new ProducerRecord<>(topic, null, bytes("long ".repeat(100_000))));
        for (int at = 0; at < 200; at++) {
            records.add(new ProducerRecord<>(topic, bytes(at), bytes("repeat ".repeat(40))));
        }
        return records;
    }

    private static String shown(byte[] key, byte[] value, Headers headers) {
        StringBuilder text = new StringBuilder(Arrays.toString(key) + Arrays.toString(value));
        headers.forEach(each -> text.append(each.key()).append(Arrays.toString(each.value())));
        return text.toString();
    }

    private static Object roundTrip(Broker broker, String codec) throws Exception {
        String topic = broker.topic(codec, 1);
        var sent = assorted(topic);
        broker.send(sent, "compression.type=" + codec, "linger.ms=20");
        var got = broker.read(topic, false);
        expect("records", got.size(), sent.size());
        for (int at = 0; at < sent.size(); at++) {
            expect("record " + at, shown(got.get(at).key(), got.get(at).value(), got.get(at).headers()),
                    shown(sent.get(at).key(), sent.get(at).value(), sent.get(at).headers()));
        }
        return "records=" + got.size();
    }

    static void add() {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            Suite.add("produce_consume_" + codec, broker -> roundTrip(broker, codec));
        }
        Suite.add("timestamps", Records::timestamps);
        Suite.add("look_up_by_time", Records::lookUp);
        Suite.add("list_offsets", Records::listOffsets);
        Suite.add("record_too_large", Records::tooLarge);
        Suite.add("batch_too_large_is_split", Records::split);
        Suite.add("key_missing_on_compacted_topic", Records::keyless);
        Suite.add("compaction", Records::compaction);
        Suite.add("delete_records", Records::deleteRecords);
        Suite.add("offset_out_of_range", Records::outOfRange);
        Suite.add("idempotent_order", Records::order);
        Suite.add("unknown_topic", Records::unknownTopic);
        Suite.add("topic_deleted_while_in_use", Records::deletedInUse);
    }

    private static Object timestamps(Broker broker) throws Exception {
        String create = broker.topic("create", 1);
        String append = broker.topic("append", 1, "message.timestamp.type=LogAppendTime");
        long now = System.currentTimeMillis();
        for (String topic : List.of(create, append)) {
            broker.send(List.of(new ProducerRecord<>(topic, null, now - 5000, null, bytes("v"))));
        }
        var first = broker.read(create, false).get(0);
        var second = broker.read(append, false).get(0);
        expect("kept", first.timestamp(), now - 5000);
        expect("stamped", second.timestamp() > now - 2000, true);
        return first.timestampType() + " " + second.timestampType();
    }

    private static Object lookUp(Broker broker) throws Exception {
        String topic = broker.topic("times", 1);
        long base = System.currentTimeMillis() - 3_600_000;
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int at = 0; at < 100; at++) {
            records.add(new ProducerRecord<>(topic, 0, base + at * 1000L, null, bytes(at)));
        }
        broker.send(records, "batch.size=200");
        List<String> seen = new ArrayList<>();
        TopicPartition part = new TopicPartition(topic, 0);
        try (var consumer = broker.consumer()) {
            for (long stamp : new long[] {base - 1, base, base + 1, base + 50_500, base + 99_000, base + 99_001}) {
                var found = consumer.offsetsForTimes(Map.of(part, stamp)).get(part);
                seen.add(found == null ? "none" : String.valueOf(found.offset()));
            }
        }
        return seen;
    }

    private static Object listOffsets(Broker broker) throws Exception {
        String topic = broker.topic("offsets", 1, "retention.ms=-1");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int at : new int[] {5, 9, 3}) {
            records.add(new ProducerRecord<>(topic, 0, 1_700_000_000_000L + at, null, bytes(at)));
        }
        broker.send(records);
        List<Object> seen = new ArrayList<>();
        for (OffsetSpec spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp(), OffsetSpec.earliestLocal(),
                OffsetSpec.forTimestamp(1_700_000_000_006L))) {
            seen.add(broker.offsets(topic, 1, spec));
        }
        return seen;
    }

    private static Object tooLarge(Broker broker) throws Exception {
        String topic = broker.topic("small", 1, "max.message.bytes=1000");
        var reports = broker.send(topic, "x".repeat(5000));
        return reports + " then=" + broker.send(topic, "fits");
    }

    private static Object split(Broker broker) throws Exception {
        String topic = broker.topic("split", 1, "max.message.bytes=2000");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int at = 0; at < 40; at++) {
            records.add(broker.record(topic, at + "x".repeat(500)));
        }
        var reports = broker.send(records, "linger.ms=200");
        List<String> order = broker.values(topic, false).stream().map(each -> each.replace("x", "")).toList();
        for (int at = 0; at < 40; at++) {
            expect("order", order.get(at), String.valueOf(at));
        }
        return "reports=" + reports.size() + " left=" + order.size();
    }

    private static Object keyless(Broker broker) throws Exception {
        String topic = broker.topic("keyless", 1, "cleanup.policy=compact");
        List<ProducerRecord<byte[], byte[]>> records = List.of(new ProducerRecord<>(topic, bytes("a"), bytes("1")), broker.record(topic, "2"),
                new ProducerRecord<>(topic, bytes("c"), bytes("3")));
        return broker.send(records, "linger.ms=200") + " left=" + broker.values(topic, false);
    }

    private static Object compaction(Broker broker) throws Exception {
        String topic = broker.topic("compaction", 1, "cleanup.policy=compact", "segment.ms=200", "min.cleanable.dirty.ratio=0.01",
                "delete.retention.ms=100", "max.compaction.lag.ms=500");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int at = 0; at < 1000; at++) {
            records.add(new ProducerRecord<>(topic, bytes(at % 50), at >= 990 ? null : bytes(at)));
        }
        broker.send(records, "batch.size=500", "compression.type=zstd");
        List<String> left = new ArrayList<>();
        eventually("one record per key", 60, () -> {
            try {
                broker.send(List.of(new ProducerRecord<>(topic, bytes("roll"), bytes("roll"))));
                Thread.sleep(300);
                left.clear();
                broker.read(topic, false).stream().filter(each -> !new String(each.key()).equals("roll"))
                        .forEach(each -> left.add(each.offset() + ":" + (each.value() == null ? "null" : new String(each.value()))));
                return left.size() == 40;
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        return left.get(0) + " to " + left.get(39);
    }

    private static Object deleteRecords(Broker broker) throws Exception {
        String topic = broker.topic("deleted", 1);
        broker.send(topic, 1, 2, 3, 4, 5);
        TopicPartition part = new TopicPartition(topic, 0);
        long low = broker.admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(3))).lowWatermarks().get(part).get().lowWatermark();
        String past = refused(() -> broker.admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(9))).all().get());
        return "low=" + low + " left=" + broker.values(topic, false) + " past=" + past;
    }

    private static Object outOfRange(Broker broker) throws Exception {
        String topic = broker.topic("range", 1);
        broker.send(topic, 1);
        try (var consumer = broker.consumer("auto.offset.reset=none")) {
            TopicPartition part = new TopicPartition(topic, 0);
            consumer.assign(List.of(part));
            String unset = refused(() -> consumer.poll(Duration.ofSeconds(10)));
            consumer.seek(part, 50);
            return "unset=" + unset + " past=" + refused(() -> {
                for (int at = 0; at < 100; at++) {
                    consumer.poll(Duration.ofMillis(100));
                }
            });
        }
    }

    private static Object order(Broker broker) throws Exception {
        String topic = broker.topic("order", 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int at = 0; at < 20_000; at++) {
            records.add(broker.record(topic, at));
        }
        broker.send(records, "batch.size=400", "linger.ms=0", "max.in.flight.requests.per.connection=5");
        List<String> values = broker.values(topic, false);
        expect("records", values.size(), 20_000);
        for (int at = 0; at < 20_000; at++) {
            expect("order", values.get(at), String.valueOf(at));
        }
        return "records=" + values.size();
    }

    private static Object unknownTopic(Broker broker) throws Exception {
        String topic = broker.name("nowhere");
        try (var producer = broker.producer("max.block.ms=2000"); var consumer = broker.consumer("default.api.timeout.ms=2000")) {
            return "produce=" + refused(() -> producer.send(broker.record(topic, 1)).get()) + " partitions=" + consumer.partitionsFor(topic)
                    + " invalid=" + refused(() -> consumer.partitionsFor("a b"));
        }
    }

    private static Object deletedInUse(Broker broker) throws Exception {
        String topic = broker.topic("in-use", 1);
        try (var producer = broker.producer("metadata.max.age.ms=500")) {
            producer.send(broker.record(topic, "old")).get();
            broker.admin.deleteTopics(List.of(topic)).all().get();
            eventually("the topic to go", 20, () -> refused(() -> broker.admin.describeTopics(List.of(topic)).allTopicNames().get()).startsWith("UnknownTopic"));
            broker.topic("in-use", 1);
            // The producer learns the new id and goes on.
            eventually("a record", 30, () -> refused(() -> producer.send(broker.record(topic, "new")).get()).equals("none"));
        }
        return "values=" + broker.values(topic, false).get(0);
    }
}
