package weir.clients;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** One bootstrap address, and names that no other run on it has. */
final class Broker implements AutoCloseable {
    final String bootstrap;
    final String run = UUID.randomUUID().toString().substring(0, 8);
    final Admin admin;

    Broker(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", "30000"));
    }

    @Override
    public void close() {
        admin.close(Duration.ofSeconds(5));
    }

    String name(String what) {
        return "java-" + what + "-" + run;
    }

    /** A text without what differs from run to run. */
    String plain(String text) {
        String same = text.replace(run, "RUN").replaceAll("127\\.0\\.0\\.1:\\d+", "HOST").replaceAll("\\d{4,}", "N");
        same = same.replaceAll("\\s+", " ");
        return same.substring(0, Math.min(300, same.length()));
    }

    String topic(String what, int partitions, String... settings) throws Exception {
        String topic = name(what);
        Map<String, String> configs = new HashMap<>();
        for (String setting : settings) {
            configs.put(setting.split("=")[0], setting.split("=")[1]);
        }
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
        // The answer comes before the broker takes up its part as leader.
        Suite.eventually("a leader for each partition", 60, () -> {
            try {
                return offsets(topic, partitions, OffsetSpec.latest()).size() == partitions;
            } catch (Exception error) {
                return false;
            }
        });
        return topic;
    }

    List<Long> offsets(String topic, int partitions, OffsetSpec spec) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        for (int each = 0; each < partitions; each++) {
            asked.put(new TopicPartition(topic, each), spec);
        }
        var found = admin.listOffsets(asked).all().get();
        List<Long> offsets = new ArrayList<>();
        for (int each = 0; each < partitions; each++) {
            offsets.add(found.get(new TopicPartition(topic, each)).offset());
        }
        return offsets;
    }

    private static Map<String, Object> merged(Map<String, Object> base, String... settings) {
        Map<String, Object> all = new HashMap<>(base);
        for (String setting : settings) {
            all.put(setting.split("=", 2)[0], setting.split("=", 2)[1]);
        }
        return all;
    }

    Producer<byte[], byte[]> producer(String... settings) {
        Map<String, Object> base = Map.of("bootstrap.servers", bootstrap, "max.block.ms", "30000", "delivery.timeout.ms", "40000", "request.timeout.ms", "20000");
        return new KafkaProducer<>(merged(base, settings), new ByteArraySerializer(), new ByteArraySerializer());
    }

    Consumer<byte[], byte[]> consumer(String... settings) {
        Map<String, Object> base = Map.of("bootstrap.servers", bootstrap, "group.id", name("reader"), "auto.offset.reset", "earliest", "enable.auto.commit",
                "false", "session.timeout.ms", "6000", "heartbeat.interval.ms", "300", "fetch.max.wait.ms", "100", "metadata.max.age.ms", "1000");
        return new KafkaConsumer<>(merged(base, settings), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static byte[] bytes(Object text) {
        return text.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    ProducerRecord<byte[], byte[]> record(String topic, Object value) {
        return new ProducerRecord<>(topic, bytes(value));
    }

    /** Sends records and says what became of each: its offset, or the error's name. */
    List<String> send(List<ProducerRecord<byte[], byte[]>> records, String... settings) throws Exception {
        try (Producer<byte[], byte[]> producer = producer(settings)) {
            List<Future<RecordMetadata>> answers = new ArrayList<>();
            records.forEach(each -> answers.add(producer.send(each)));
            producer.flush();
            return reports(answers);
        }
    }

    static List<String> reports(List<Future<RecordMetadata>> answers) throws InterruptedException {
        List<String> reports = new ArrayList<>();
        for (Future<RecordMetadata> each : answers) {
            try {
                reports.add(String.valueOf(each.get().offset()));
            } catch (ExecutionException error) {
                reports.add(error.getCause().getClass().getSimpleName());
            }
        }
        return reports;
    }

    List<String> send(String topic, Object... values) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (Object each : values) {
            records.add(record(topic, each));
        }
        return send(records);
    }

    /** All that a fresh reader sees up to the end that the broker states for its isolation level. */
    List<ConsumerRecord<byte[], byte[]>> read(String topic, boolean committed) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (Consumer<byte[], byte[]> consumer = consumer("isolation.level=" + (committed ? "read_committed" : "read_uncommitted"))) {
            List<TopicPartition> parts = consumer.partitionsFor(topic).stream().map(each -> new TopicPartition(topic, each.partition())).toList();
            consumer.assign(parts);
            consumer.seekToBeginning(parts);
            Map<TopicPartition, Long> ends = consumer.endOffsets(parts);
            long deadline = System.currentTimeMillis() + 40_000;
            while (!parts.stream().allMatch(each -> consumer.position(each) >= ends.get(each))) {
                consumer.poll(Duration.ofMillis(100)).forEach(records::add);
                if (System.currentTimeMillis() > deadline) {
                    throw new AssertionError("no end of the topic, " + records.size() + " records read");
                }
            }
        }
        records.sort(Comparator.comparing((ConsumerRecord<byte[], byte[]> each) -> each.partition()).thenComparing(ConsumerRecord::offset));
        return records;
    }

    List<String> values(String topic, boolean committed) throws Exception {
        return read(topic, committed).stream().map(each -> Optional.ofNullable(each.value()).map(String::new).orElse("null")).toList();
    }
}
