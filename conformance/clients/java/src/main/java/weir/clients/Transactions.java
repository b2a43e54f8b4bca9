package weir.clients;

import static weir.clients.Broker.bytes;
import static weir.clients.Suite.eventually;
import static weir.clients.Suite.expect;
import static weir.clients.Suite.refused;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Transactions as Java 4 speaks them: version 2, where every end raises the epoch of the producer. */
final class Transactions {
    private Transactions() {}

    static void add() {
        Suite.add("transaction_version", Transactions::version);
        Suite.add("transaction_commit_and_abort", Transactions::ends);
        Suite.add("transaction_of_many_partitions", Transactions::many);
        Suite.add("open_transaction_is_not_read", Transactions::open);
        Suite.add("zombie_is_fenced", Transactions::zombie);
        Suite.add("producer_killed_in_transaction", Transactions::killed);
        Suite.add("consume_transform_produce", Transactions::copy);
        Suite.add("offsets_of_a_past_generation", Transactions::pastGeneration);
        Suite.add("transaction_timed_out_by_broker", Transactions::timeout);
        Suite.add("transactions_described", Transactions::described);
        Suite.add("transaction_aborted_by_admin", Transactions::abortedByAdmin);
        Suite.add("producers_fenced_by_admin", Transactions::fencedByAdmin);
        Suite.add("record_refused_in_transaction", Transactions::refusedInside);
        Suite.add("producer_closed_in_transaction", Transactions::closedInside);
    }

    private static Producer<byte[], byte[]> producer(Broker broker, String name, String... settings) {
        List<String> all = new ArrayList<>(List.of(settings));
        all.add("transactional.id=" + broker.name(name));
        Producer<byte[], byte[]> producer = broker.producer(all.toArray(String[]::new));
        producer.initTransactions();
        return producer;
    }

    private static int epoch(Broker broker, String name) throws Exception {
        String id = broker.name(name);
        // A transaction is whole a moment after its end was answered.
        eventually("the end", 20, () -> {
            try {
                return !broker.admin.describeTransactions(List.of(id)).description(id).get().state().name().startsWith("PREPARE");
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        return broker.admin.describeTransactions(List.of(id)).description(id).get().producerEpoch();
    }

    private static Object version(Broker broker) throws Exception {
        var finalized = broker.admin.describeFeatures().featureMetadata().get().finalizedFeatures().get("transaction.version");
        String topic = broker.topic("version", 1);
        List<Integer> epochs = new ArrayList<>();
        try (var producer = producer(broker, "version")) {
            epochs.add(epoch(broker, "version"));
            for (int at = 0; at < 3; at++) {
                producer.beginTransaction();
                producer.send(broker.record(topic, at));
                producer.commitTransaction();
                epochs.add(epoch(broker, "version"));
            }
        }
        return "finalized=" + (finalized == null ? "none" : finalized.maxVersionLevel()) + " epochs=" + epochs;
    }

    private static Object ends(Broker broker) throws Exception {
        String topic = broker.topic("ends", 1);
        try (var producer = producer(broker, "ends")) {
            for (int at = 0; at < 8; at++) {
                producer.beginTransaction();
                for (int record = 0; record < 5; record++) {
                    producer.send(broker.record(topic, at));
                }
                if (at % 3 == 1) {
                    producer.flush();
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
            producer.beginTransaction();
            producer.commitTransaction();
            producer.beginTransaction();
            producer.abortTransaction();
        }
        return "committed=" + String.join("", broker.values(topic, true)) + " everything=" + broker.values(topic, false).size();
    }

    private static Object many(Broker broker) throws Exception {
        String one = broker.topic("many-one", 20);
        String two = broker.topic("many-two", 20);
        try (var producer = producer(broker, "many")) {
            for (int round = 0; round < 3; round++) {
                producer.beginTransaction();
                for (int part = 0; part < 20; part++) {
                    producer.send(new ProducerRecord<>(one, part, null, bytes(round)));
                    producer.send(new ProducerRecord<>(two, part, null, bytes(round)));
                }
                producer.commitTransaction();
            }
        }
        return "committed=" + broker.values(one, true).size() + "+" + broker.values(two, true).size();
    }

    private static Object open(Broker broker) throws Exception {
        String topic = broker.topic("open", 1);
        broker.send(topic, "before");
        try (var producer = producer(broker, "open")) {
            producer.beginTransaction();
            producer.send(broker.record(topic, "inside")).get();
            broker.send(topic, "after");
            String seen = broker.values(topic, true) + " " + broker.values(topic, false);
            producer.commitTransaction();
            return seen + " " + broker.values(topic, true);
        }
    }

    private static Object zombie(Broker broker) throws Exception {
        String topic = broker.topic("zombie", 1);
        try (var old = producer(broker, "zombie")) {
            old.beginTransaction();
            old.send(broker.record(topic, "old")).get();
            try (var heir = producer(broker, "zombie")) {
                String sent = refused(() -> old.send(broker.record(topic, "zombie")).get());
                String end = refused(old::commitTransaction);
                heir.beginTransaction();
                heir.send(broker.record(topic, "heir"));
                heir.commitTransaction();
                return "send=" + sent + " commit=" + end + " seen=" + broker.values(topic, true);
            }
        }
    }

    /** Opens a transaction, says so, and stays in it until it is killed. */
    static void dieInTransaction(String bootstrap, String topic) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", topic);
        Producer<byte[], byte[]> producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, bytes("of the dead"))).get();
        System.out.println("open");
        TimeUnit.MINUTES.sleep(10);
    }

    private static Object killed(Broker broker) throws Exception {
        String topic = broker.topic("killed", 1);
        Process child = new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp",
                System.getProperty("java.class.path"), Suite.class.getName(), "--die-in-transaction", broker.bootstrap, topic)
                .redirectError(ProcessBuilder.Redirect.DISCARD).start();
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(child.getInputStream()))) {
            expect("the child", lines.readLine(), "open");
        } finally {
            child.destroyForcibly().waitFor();
        }
        String while_open = broker.values(topic, true).toString();
        try (var heir = producer(broker, "killed")) {
            heir.beginTransaction();
            heir.send(broker.record(topic, "heir"));
            heir.commitTransaction();
        }
        return "open=" + while_open + " then=" + broker.values(topic, true) + " everything=" + broker.values(topic, false);
    }

    private static Object copy(Broker broker) throws Exception {
        String source = broker.topic("copy-in", 2);
        String target = broker.topic("copy-out", 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int at = 0; at < 400; at++) {
            records.add(new ProducerRecord<>(source, at % 2, null, bytes(at)));
        }
        broker.send(records);
        for (int process = 0; process < 2; process++) {
            // The second goes on where the first committed.
            try (var producer = producer(broker, "copy");
                    var member = new Groups.Member(broker, broker.name("copy"), source, "max.poll.records=20", "isolation.level=read_committed")) {
                int done = 0;
                int round = 0;
                while (done < 200) {
                    var taken = member.consumer.poll(Duration.ofMillis(200));
                    if (taken.isEmpty()) {
                        continue;
                    }
                    producer.beginTransaction();
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    Map<TopicPartition, Long> back = new HashMap<>();
                    for (ConsumerRecord<byte[], byte[]> record : taken) {
                        TopicPartition part = new TopicPartition(record.topic(), record.partition());
                        producer.send(new ProducerRecord<>(target, record.value()));
                        offsets.put(part, new OffsetAndMetadata(record.offset() + 1));
                        back.putIfAbsent(part, record.offset());
                    }
                    producer.sendOffsetsToTransaction(offsets, member.consumer.groupMetadata());
                    if (round++ % 3 == 1) {
                        producer.abortTransaction();
                        back.forEach(member.consumer::seek);
                    } else {
                        producer.commitTransaction();
                        done += taken.count();
                    }
                }
            }
        }
        List<String> values = new ArrayList<>(broker.values(target, true));
        expect("copies", values.size(), 400);
        expect("each once", values.stream().distinct().count(), 400L);
        long committed = broker.admin.listConsumerGroupOffsets(broker.name("copy")).partitionsToOffsetAndMetadata().get().values().stream()
                .mapToLong(OffsetAndMetadata::offset).sum();
        return "copies=" + values.size() + " offsets=" + committed;
    }

    private static Object pastGeneration(Broker broker) throws Exception {
        String source = broker.topic("past", 2);
        String group = broker.name("past");
        try (var producer = producer(broker, "past"); var one = new Groups.Member(broker, group, source); var two = new Groups.Member(broker, group, source)) {
            two.closed = true;
            Groups.settle("all", List.of(one), () -> one.owned.size() == 2);
            var stale = one.consumer.groupMetadata();
            two.closed = false;
            Groups.settle("shares", List.of(one, two), () -> one.owned.size() == 1 && two.owned.size() == 1);
            producer.beginTransaction();
            Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(new TopicPartition(source, 0), new OffsetAndMetadata(1));
            String sent = refused(() -> producer.sendOffsetsToTransaction(offsets, stale));
            String end = refused(producer::commitTransaction);
            String abort = refused(producer::abortTransaction);
            return "send_offsets=" + sent + " commit=" + end + " abort=" + abort;
        }
    }

    private static Object timeout(Broker broker) throws Exception {
        String topic = broker.topic("timeout", 1);
        try (var producer = producer(broker, "timeout", "transaction.timeout.ms=1000")) {
            producer.beginTransaction();
            producer.send(broker.record(topic, "too late")).get();
            broker.send(topic, "after");
            eventually("the abort", 30, () -> {
                try {
                    return broker.values(topic, true).equals(List.of("after"));
                } catch (Exception error) {
                    throw new AssertionError(error);
                }
            });
            String sent = refused(() -> producer.send(broker.record(topic, "later")).get());
            return "send=" + sent + " commit=" + refused(producer::commitTransaction) + " seen=" + broker.values(topic, true);
        }
    }

    private static Object described(Broker broker) throws Exception {
        String topic = broker.topic("described", 3);
        String id = broker.name("described");
        try (var producer = producer(broker, "described", "transaction.timeout.ms=12345")) {
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 1, null, bytes("v"))).get();
            var open = broker.admin.describeTransactions(List.of(id)).description(id).get();
            var states = broker.admin.listTransactions(new ListTransactionsOptions().filterStates(List.of(TransactionState.ONGOING))).all().get();
            boolean listed = states.stream().anyMatch(each -> each.transactionalId().equals(id));
            var long_ones = broker.admin.listTransactions(new ListTransactionsOptions().filterOnDuration(3_600_000)).all().get();
            boolean is_long = long_ones.stream().anyMatch(each -> each.transactionalId().equals(id));
            TopicPartition part = new TopicPartition(topic, 1);
            var active = broker.admin.describeProducers(List.of(part)).partitionResult(part).get().activeProducers().get(0);
            producer.commitTransaction();
            String absent = refused(() -> broker.admin.describeTransactions(List.of("absent")).description("absent").get());
            return open.state() + " coordinator=" + open.coordinatorId() + " timeout=" + open.transactionTimeoutMs() + " partitions="
                    + open.topicPartitions().size() + " started=" + open.transactionStartTimeMs().isPresent() + " listed=" + listed + " long=" + is_long
                    + " sequence=" + active.lastSequence() + " open_since=" + active.currentTransactionStartOffset() + " absent=" + absent;
        }
    }

    private static Object abortedByAdmin(Broker broker) throws Exception {
        String topic = broker.topic("aborted-by-admin", 1);
        try (var producer = producer(broker, "aborted-by-admin")) {
            producer.beginTransaction();
            producer.send(broker.record(topic, "v")).get();
            TopicPartition part = new TopicPartition(topic, 0);
            var active = broker.admin.describeProducers(List.of(part)).partitionResult(part).get().activeProducers().get(0);
            AbortTransactionSpec spec = new AbortTransactionSpec(part, active.producerId(), (short) active.producerEpoch(), 0);
            broker.admin.abortTransaction(spec).all().get();
            broker.send(topic, "after");
            return "seen=" + broker.values(topic, true);
        }
    }

    private static Object fencedByAdmin(Broker broker) throws Exception {
        String topic = broker.topic("fenced-by-admin", 1);
        String id = broker.name("fenced-by-admin");
        try (var producer = producer(broker, "fenced-by-admin"); Admin admin = Admin.create(Map.of("bootstrap.servers", broker.bootstrap))) {
            producer.beginTransaction();
            producer.send(broker.record(topic, "v")).get();
            admin.fenceProducers(List.of(id)).all().get();
            String end = refused(producer::commitTransaction);
            return "commit=" + end + " seen=" + broker.values(topic, true);
        }
    }

    private static Object refusedInside(Broker broker) throws Exception {
        String topic = broker.topic("refused-inside", 1, "max.message.bytes=1000");
        try (var producer = producer(broker, "refused-inside")) {
            producer.beginTransaction();
            producer.send(broker.record(topic, "fits")).get();
            String sent = refused(() -> producer.send(broker.record(topic, "x".repeat(5000))).get());
            String end = refused(producer::commitTransaction);
            producer.abortTransaction();
            producer.beginTransaction();
            producer.send(broker.record(topic, "next"));
            producer.commitTransaction();
            return "send=" + sent + " commit=" + end + " seen=" + broker.values(topic, true);
        }
    }

    private static Object closedInside(Broker broker) throws Exception {
        String topic = broker.topic("closed-inside", 1);
        var producer = producer(broker, "closed-inside");
        producer.beginTransaction();
        producer.send(broker.record(topic, "v")).get();
        producer.close(Duration.ofSeconds(5));
        broker.send(topic, "after");
        String seen = broker.values(topic, true).toString();
        producer(broker, "closed-inside").close();
        return "seen=" + seen + " then=" + broker.values(topic, true);
    }
}
