package weir.clients;

import static weir.clients.Suite.eventually;
import static weir.clients.Suite.expect;
import static weir.clients.Suite.refused;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Consumer groups, classic protocol: shares, moves, static members, kept offsets. */
final class Groups {
    private Groups() {}

    /** A consumer and what its listener heard. */
    static final class Member implements ConsumerRebalanceListener, AutoCloseable {
        final Consumer<byte[], byte[]> consumer;
        final Set<TopicPartition> owned = new HashSet<>();
        int revoked;
        int rounds;
        String error = "none";
        boolean closed;

        Member(Broker broker, String group, String topic, String... settings) {
            List<String> all = new ArrayList<>(List.of(settings));
            all.add("group.id=" + group);
            consumer = broker.consumer(all.toArray(String[]::new));
            consumer.subscribe(List.of(topic), this);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            rounds++;
            owned.addAll(partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            revoked += partitions.size();
            owned.removeAll(partitions);
        }

        void poll() {
            if (!error.equals("none") || closed) {
                return;
            }
            error = refused(() -> consumer.poll(Duration.ofMillis(20)));
        }

        @Override
        public void close() {
            closed = true;
            consumer.close();
        }
    }

    static void settle(String what, List<Member> members, BooleanSupplier condition) throws InterruptedException {
        eventually(what, 40, () -> {
            members.forEach(Member::poll);
            return condition.getAsBoolean();
        });
    }

    static void add() {
        for (String assignor : List.of("Range", "RoundRobin", "Sticky", "CooperativeSticky")) {
            Suite.add("rebalance_" + assignor.toLowerCase(), broker -> rebalance(broker, assignor));
        }
        Suite.add("static_member_comes_back", Groups::staticMember);
        Suite.add("static_member_fenced", Groups::staticFenced);
        Suite.add("commit_and_go_on", Groups::commit);
        Suite.add("commit_refused", Groups::refusals);
        Suite.add("partitions_added_to_a_subscription", Groups::added);
        Suite.add("session_without_heartbeat_ends", Groups::pollsTooSeldom);
    }

    private static Object rebalance(Broker broker, String assignor) throws Exception {
        String topic = broker.topic("rebalance-" + assignor, 6);
        String group = broker.name("rebalance-" + assignor);
        String setting = "partition.assignment.strategy=org.apache.kafka.clients.consumer." + assignor + "Assignor";
        Member first = new Member(broker, group, topic, setting);
        settle("all", List.of(first), () -> first.owned.size() == 6);
        Member second = new Member(broker, group, topic, setting);
        settle("shares", List.of(first, second), () -> first.owned.size() == 3 && second.owned.size() == 3);
        int revoked = first.revoked;
        second.close();
        settle("all again", List.of(first), () -> first.owned.size() == 6);
        first.close();
        return "shares=6 3+3 6 revoked=" + revoked;
    }

    private static Object staticMember(Broker broker) throws Exception {
        String topic = broker.topic("static", 4);
        String group = broker.name("static");
        Member other = new Member(broker, group, topic, "group.instance.id=other");
        Member one = new Member(broker, group, topic, "group.instance.id=one");
        settle("two", List.of(other, one), () -> other.owned.size() == 2 && one.owned.size() == 2);
        int rounds = other.rounds;
        one.close();
        Member back = new Member(broker, group, topic, "group.instance.id=one");
        settle("the same again", List.of(other, back), () -> back.owned.size() == 2);
        expect("rebalances", other.rounds, rounds);
        int generation = back.consumer.groupMetadata().generationId() - other.consumer.groupMetadata().generationId();
        other.close();
        back.close();
        return "rebalances=0 generations_apart=" + generation;
    }

    private static Object staticFenced(Broker broker) throws Exception {
        String topic = broker.topic("fenced", 1);
        String group = broker.name("fenced");
        Member first = new Member(broker, group, topic, "group.instance.id=same");
        settle("one", List.of(first), () -> first.owned.size() == 1);
        Member second = new Member(broker, group, topic, "group.instance.id=same");
        settle("the fence", List.of(first, second), () -> second.owned.size() == 1 && !first.error.equals("none"));
        String error = first.error;
        second.close();
        first.close();
        return "first=" + error;
    }

    private static Object commit(Broker broker) throws Exception {
        String topic = broker.topic("commit", 1);
        String group = broker.name("commit");
        broker.send(topic, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
        TopicPartition part = new TopicPartition(topic, 0);
        try (Member one = new Member(broker, group, topic, "max.poll.records=4")) {
            settle("a share", List.of(one), () -> one.owned.size() == 1);
            one.consumer.commitSync(Map.of(part, new OffsetAndMetadata(4, "four")));
        }
        try (Consumer<byte[], byte[]> two = broker.consumer("group.id=" + group)) {
            var kept = two.committed(Set.of(part)).get(part);
            two.subscribe(List.of(topic));
            List<String> first = new ArrayList<>();
            eventually("a record", 20, () -> {
                two.poll(Duration.ofMillis(100)).forEach(each -> first.add(new String(each.value())));
                return !first.isEmpty();
            });
            two.commitSync();
            return kept.offset() + "/" + kept.metadata() + " next=" + first.get(0) + " then=" + two.committed(Set.of(part)).get(part).offset();
        }
    }

    private static Object refusals(Broker broker) throws Exception {
        String topic = broker.topic("refused", 1);
        String group = broker.name("refused");
        Map<TopicPartition, OffsetAndMetadata> offset = Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1));
        try (Member one = new Member(broker, group, topic); var outsider = broker.consumer("group.id=" + group)) {
            settle("a share", List.of(one), () -> one.owned.size() == 1);
            outsider.assign(offset.keySet());
            String busy = refused(() -> outsider.commitSync(offset));
            String large = refused(() -> one.consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1, "m".repeat(5000)))));
            return "outsider=" + busy + " metadata=" + large;
        }
    }

    private static Object added(Broker broker) throws Exception {
        String topic = broker.topic("added", 1);
        try (Member one = new Member(broker, broker.name("added"), topic, "metadata.max.age.ms=300")) {
            settle("one", List.of(one), () -> one.owned.size() == 1);
            broker.admin.createPartitions(Map.of(topic, org.apache.kafka.clients.admin.NewPartitions.increaseTo(3))).all().get();
            settle("three", List.of(one), () -> one.owned.size() == 3);
            return "partitions=1 3";
        }
    }

    private static Object pollsTooSeldom(Broker broker) throws Exception {
        String topic = broker.topic("seldom", 2);
        String group = broker.name("seldom");
        Member slow = new Member(broker, group, topic, "max.poll.interval.ms=2000");
        settle("all", List.of(slow), () -> slow.owned.size() == 2);
        Member other = new Member(broker, group, topic);
        settle("what the slow one gave up", List.of(other), () -> other.owned.size() == 2);
        String commit = refused(() -> slow.consumer.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1))));
        other.close();
        slow.close();
        return "commit_of_slow=" + commit;
    }
}
