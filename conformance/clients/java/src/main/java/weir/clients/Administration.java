package weir.clients;

import static weir.clients.Suite.eventually;
import static weir.clients.Suite.expect;
import static weir.clients.Suite.refused;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** The admin client: topics, configs, groups, quotas, ACLs, the cluster. */
final class Administration {
    private Administration() {}

    static void add() {
        Suite.add("cluster", Administration::cluster);
        Suite.add("topics", Administration::topics);
        Suite.add("topic_refusals", Administration::topicRefusals);
        Suite.add("partitions", Administration::partitions);
        Suite.add("configs", Administration::configs);
        Suite.add("configs_of_the_broker", Administration::brokerConfigs);
        Suite.add("group_admin", Administration::groups);
        Suite.add("group_offsets", Administration::groupOffsets);
        Suite.add("members_removed", Administration::membersRemoved);
        Suite.add("quotas", Administration::quotas);
        Suite.add("acls", Administration::acls);
        Suite.add("log_dirs", Administration::logDirs);
        Suite.add("reassignments_and_elections", Administration::reassignments);
    }

    private static Object cluster(Broker broker) throws Exception {
        var cluster = broker.admin.describeCluster();
        var again = broker.admin.describeCluster();
        expect("one id", cluster.clusterId().get(), again.clusterId().get());
        return "id=" + cluster.clusterId().get().length() + " nodes=" + cluster.nodes().get().stream().map(each -> each.id()).toList() + " controller="
                + cluster.controller().get().id();
    }

    private static Object topics(Broker broker) throws Exception {
        String topic = broker.topic("topics", 3, "retention.ms=1234");
        var by_name = broker.admin.describeTopics(List.of(topic)).topicNameValues().get(topic).get();
        var by_id = broker.admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(by_name.topicId()))).topicIdValues().get(by_name.topicId()).get();
        boolean listed = broker.admin.listTopics().names().get().contains(topic);
        var made = broker.admin.createTopics(List.of(new NewTopic(broker.name("made"), Optional.of(2), Optional.empty())), new CreateTopicsOptions());
        int partitions = made.numPartitions(broker.name("made")).get();
        int replicas = made.replicationFactor(broker.name("made")).get();
        broker.admin.deleteTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(by_name.topicId()))).all().get();
        eventually("the topic to go", 20, () -> !refused(() -> broker.admin.describeTopics(List.of(topic)).allTopicNames().get()).equals("none"));
        return "partitions=" + by_name.partitions().size() + " by_id=" + by_id.name().equals(topic) + " listed=" + listed + " made=" + partitions + "/"
                + replicas + " gone=" + refused(() -> broker.admin.describeTopics(List.of(topic)).allTopicNames().get());
    }

    private static Object topicRefusals(Broker broker) throws Exception {
        String there = broker.topic("there", 1);
        Map<String, NewTopic> tried = new TreeMap<>();
        tried.put("exists", new NewTopic(there, 1, (short) 1));
        tried.put("name", new NewTopic("a/b", 1, (short) 1));
        tried.put("partitions", new NewTopic(broker.name("x"), 0, (short) 1));
        tried.put("replicas", new NewTopic(broker.name("x"), 1, (short) 2));
        tried.put("config", new NewTopic(broker.name("x"), 1, (short) 1).configs(Map.of("cleanup.policy", "keep")));
        tried.put("assignment", new NewTopic(broker.name("x"), Map.of(0, List.of(1), 1, List.of(9))));
        tried.put("assignment_gap", new NewTopic(broker.name("x"), Map.of(1, List.of(1))));
        List<String> seen = new ArrayList<>();
        tried.forEach((what, topic) -> seen.add(what + "=" + refused(() -> broker.admin.createTopics(List.of(topic)).all().get())));
        seen.add("validate=" + refused(() -> broker.admin.createTopics(List.of(new NewTopic(broker.name("x"), 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get()));
        seen.add("assigned=" + refused(() -> broker.admin.createTopics(List.of(new NewTopic(broker.name("y"), Map.of(0, List.of(1), 1, List.of(1))))).all().get()));
        seen.add("delete_absent=" + refused(() -> broker.admin.deleteTopics(List.of(broker.name("absent"))).all().get()));
        return String.join(" ", seen);
    }

    private static Object partitions(Broker broker) throws Exception {
        String topic = broker.topic("partitions", 2);
        List<String> seen = new ArrayList<>();
        for (NewPartitions each : List.of(NewPartitions.increaseTo(4), NewPartitions.increaseTo(4), NewPartitions.increaseTo(2),
                NewPartitions.increaseTo(5, List.of(List.of(1))), NewPartitions.increaseTo(6, List.of(List.of(7))))) {
            seen.add(refused(() -> broker.admin.createPartitions(Map.of(topic, each)).all().get()));
        }
        return seen;
    }

    private static String alter(Broker broker, ConfigResource of, AlterConfigOp.OpType how, String name, String value) {
        return refused(() -> broker.admin.incrementalAlterConfigs(Map.of(of, List.of(new AlterConfigOp(new ConfigEntry(name, value), how)))).all().get());
    }

    private static Object configs(Broker broker) throws Exception {
        ConfigResource of = new ConfigResource(ConfigResource.Type.TOPIC, broker.topic("configs", 1, "segment.bytes=2000000"));
        List<String> seen = new ArrayList<>();
        seen.add(alter(broker, of, AlterConfigOp.OpType.SET, "retention.ms", "777"));
        seen.add(alter(broker, of, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact"));
        seen.add(alter(broker, of, AlterConfigOp.OpType.SET, "min.cleanable.dirty.ratio", "1.5"));
        seen.add(alter(broker, of, AlterConfigOp.OpType.SET, "compression.type", "best"));
        seen.add(alter(broker, of, AlterConfigOp.OpType.SET, "message.timestamp.type", "LogAppendTime"));
        seen.add(alter(broker, of, AlterConfigOp.OpType.DELETE, "segment.bytes", null));
        // Apache Kafka answers an alteration before every answer shows it.
        eventually("the last alteration to show", 20, () -> {
            try {
                var now = broker.admin.describeConfigs(List.of(of)).all().get().get(of);
                return now.get("segment.bytes").source() != ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG;
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        var found = broker.admin.describeConfigs(List.of(of)).all().get().get(of);
        List<String> set = new ArrayList<>(found.entries().stream().filter(each -> each.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG)
                .map(each -> each.name() + "=" + each.value()).toList());
        set.sort(null);
        return seen + " set=" + set + " segment.bytes=" + found.get("segment.bytes").value() + " type=" + found.get("segment.bytes").type()
                + " sensitive=" + found.get("segment.bytes").isSensitive() + " read_only=" + found.get("segment.bytes").isReadOnly();
    }

    private static Object brokerConfigs(Broker broker) throws Exception {
        ConfigResource of = new ConfigResource(ConfigResource.Type.BROKER, "1");
        var before = broker.admin.describeConfigs(List.of(of)).all().get().get(of);
        String set = alter(broker, of, AlterConfigOp.OpType.SET, "log.index.interval.bytes", "4096");
        String wrong = alter(broker, of, AlterConfigOp.OpType.SET, "log.index.interval.bytes", "many");
        String fixed = alter(broker, of, AlterConfigOp.OpType.SET, "node.id", "9");
        String gone = alter(broker, of, AlterConfigOp.OpType.DELETE, "log.index.interval.bytes", null);
        return "node.id=" + (before.get("node.id") == null ? "absent" : before.get("node.id").value() + "/" + before.get("node.id").isReadOnly()) + " set=" + set
                + " wrong=" + wrong + " fixed=" + fixed + " delete=" + gone;
    }

    private static Object groups(Broker broker) throws Exception {
        String topic = broker.topic("group", 2);
        String group = broker.name("group");
        ConsumerGroupDescription stable;
        String busy;
        boolean listed;
        try (var one = new Groups.Member(broker, group, topic, "client.id=someone", "group.instance.id=instance")) {
            Groups.settle("all", List.of(one), () -> one.owned.size() == 2);
            stable = broker.admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
            listed = broker.admin.listGroups(ListGroupsOptions.forConsumerGroups().inGroupStates(Set.of(GroupState.STABLE))).all().get().stream()
                    .anyMatch(each -> each.groupId().equals(group));
            busy = refused(() -> broker.admin.deleteConsumerGroups(List.of(group)).all().get());
        }
        var member = stable.members().iterator().next();
        broker.admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all().get();
        eventually("an empty group", 20, () -> {
            try {
                return broker.admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get().groupState() == GroupState.EMPTY;
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        String removed = refused(() -> broker.admin.deleteConsumerGroups(List.of(group)).all().get());
        String gone = refused(() -> broker.admin.describeConsumerGroups(List.of(group)).all().get());
        return stable.groupState() + " " + stable.type() + " " + stable.partitionAssignor() + " member=" + member.clientId() + "/"
                + member.groupInstanceId().orElse("-") + "/" + member.host() + "/" + member.assignment().topicPartitions().size() + " coordinator="
                + stable.coordinator().id() + " listed=" + listed + " delete=" + busy + " empty=" + removed + " gone=" + gone;
    }

    private static Object groupOffsets(Broker broker) throws Exception {
        String topic = broker.topic("group-offsets", 2);
        String group = broker.name("group-offsets");
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        broker.admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(3, "m"), one, new OffsetAndMetadata(4))).all().get();
        String all = new TreeMap<>(Map.of(0, offset(broker, group, zero), 1, offset(broker, group, one))).toString();
        String removed = refused(() -> broker.admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all().get());
        String absent = refused(() -> broker.admin.deleteConsumerGroupOffsets(broker.name("absent"), Set.of(zero)).all().get());
        String subscribed;
        String changed;
        try (var member = new Groups.Member(broker, group, topic)) {
            Groups.settle("all", List.of(member), () -> member.owned.size() == 2);
            subscribed = refused(() -> broker.admin.deleteConsumerGroupOffsets(group, Set.of(one)).all().get());
            changed = refused(() -> broker.admin.alterConsumerGroupOffsets(group, Map.of(one, new OffsetAndMetadata(9))).all().get());
        }
        return all + " delete=" + removed + " then=" + offset(broker, group, zero) + "," + offset(broker, group, one) + " absent=" + absent + " subscribed="
                + subscribed + " alter=" + changed;
    }

    private static String offset(Broker broker, String group, TopicPartition part) throws Exception {
        var found = broker.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(part);
        return found == null ? "none" : found.offset() + "/" + found.metadata();
    }

    private static Object membersRemoved(Broker broker) throws Exception {
        String topic = broker.topic("removed", 1);
        String group = broker.name("removed");
        try (var one = new Groups.Member(broker, group, topic, "group.instance.id=one")) {
            Groups.settle("all", List.of(one), () -> one.owned.size() == 1);
            String wrong = refused(() -> broker.admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("two")))).all().get());
            String right = refused(() -> broker.admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("one")))).all().get());
            return "wrong=" + wrong + " right=" + right;
        }
    }

    private static Object quotas(Broker broker) throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, broker.name("user")));
        String set = refused(() -> broker.admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("consumer_byte_rate", 5000.0))))).all().get());
        ClientQuotaFilter filter = ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntity(ClientQuotaEntity.USER, broker.name("user"))));
        eventually("the quota", 20, () -> {
            try {
                return broker.admin.describeClientQuotas(filter).entities().get().containsKey(entity);
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        return "set=" + set + " found=" + broker.admin.describeClientQuotas(filter).entities().get().get(entity);
    }

    private static Object acls(Broker broker) throws Exception {
        AclBinding binding = new AclBinding(new ResourcePattern(ResourceType.TOPIC, broker.name("acl"), PatternType.LITERAL),
                new AccessControlEntry("User:a", "*", AclOperation.WRITE, AclPermissionType.ALLOW));
        return "create=" + refused(() -> broker.admin.createAcls(List.of(binding)).all().get()) + " describe="
                + refused(() -> broker.admin.describeAcls(AclBindingFilter.ANY).values().get()) + " delete="
                + refused(() -> broker.admin.deleteAcls(List.of(binding.toFilter())).all().get());
    }

    private static Object logDirs(Broker broker) throws Exception {
        String topic = broker.topic("dirs", 2);
        broker.send(topic, 1, 2, 3);
        var dirs = broker.admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1);
        long replicas = dirs.values().stream().flatMap(each -> each.replicaInfos().keySet().stream()).filter(each -> each.topic().equals(topic)).count();
        long size = dirs.values().stream().flatMap(each -> each.replicaInfos().entrySet().stream()).filter(each -> each.getKey().topic().equals(topic))
                .mapToLong(each -> each.getValue().size()).sum();
        return "dirs=" + dirs.size() + " replicas=" + replicas + " size=" + (size > 0);
    }

    private static Object reassignments(Broker broker) throws Exception {
        String topic = broker.topic("reassign", 1);
        TopicPartition part = new TopicPartition(topic, 0);
        int open = broker.admin.listPartitionReassignments().reassignments().get().size();
        var elected = broker.admin.electLeaders(org.apache.kafka.common.ElectionType.PREFERRED, Set.of(part)).partitions().get().get(part);
        return "open=" + open + " election=" + elected.map(each -> each.getClass().getSimpleName()).orElse("none");
    }
}
