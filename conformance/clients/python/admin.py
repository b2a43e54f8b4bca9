"""Cases of the admin client: topics, partitions, configs and the cluster, with what Kafka refuses and how."""

import contextlib
import re

from confluent_kafka import ConsumerGroupTopicPartitions, ElectionType, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from suite import Failed, case, code, expect, refused, wait_for


def attempt(futures):
    """What the one future of an answer ends with."""
    (future,) = futures.values()
    return refused(lambda: future.result(20))


@case
def create_topics(broker):
    name = broker.topic("create", partitions=3, retention_ms=123_456)

    def create(what, partitions=1, replicas=1, config=None, **options):
        return attempt(broker.admin.create_topics([NewTopic(what, partitions, replicas, config=config or {})], **options))

    fresh = broker.name("fresh")
    tried = {
        "exists": create(name),
        "validate": create(fresh, validate_only=True),
        "spaces": create("a b"),
        "dots": create(".."),
        "empty": create(""),
        "long": create("x" * 250),
        "replicas": create(fresh, replicas=3),
        "partitions": create(fresh, partitions=0),
        "config": create(fresh, config={"no.such.config": "1"}),
        "value": create(fresh, config={"retention.ms": "many"}),
        "range": create(fresh, config={"segment.bytes": "1"}),
    }
    expect("nothing was made", fresh in broker.admin.list_topics(timeout=10).topics, False)
    return " ".join(f"{what}={answer}" for what, answer in tried.items())


@case
def topic_names_that_collide(broker):
    broker.topic("a.b")
    clash = NewTopic(broker.name("a_b"), 1, 1)
    return attempt(broker.admin.create_topics([clash]))


@case
def defaults_of_a_topic(broker):
    name = broker.name("defaults")
    attempt(broker.admin.create_topics([NewTopic(name)]))
    wait_for("the topic", lambda: broker.leaders(name) >= 1)
    return f"partitions={broker.leaders(name)}"


@case
def delete_topics(broker):
    name = broker.topic("delete")
    first = attempt(broker.admin.delete_topics([name]))
    wait_for("the topic to go", lambda: name not in broker.admin.list_topics(timeout=10).topics)
    return f"first={first} second={attempt(broker.admin.delete_topics([name]))}"


@case
def describe_topics(broker):
    name = broker.topic("describe", partitions=2)
    there = broker.admin.describe_topics(TopicCollection([name]))[name].result(20)
    absent = attempt(broker.admin.describe_topics(TopicCollection([broker.name("absent")])))
    shape = [(each.id, each.leader is not None, len(each.replicas), len(each.isr)) for each in there.partitions]
    # librdkafka writes ids with the letters of plain base64.
    kind = re.fullmatch(r"[A-Za-z0-9+/_-]{22}", str(there.topic_id)) is not None
    return f"partitions={shape} internal={there.is_internal} id={kind} absent={absent}"


@case
def create_partitions(broker):
    name = broker.topic("grow", partitions=2)

    def grow(count, topic=name):
        return attempt(broker.admin.create_partitions([NewPartitions(topic, count)]))

    answers = [grow(4), grow(4), grow(1), grow(5, broker.name("absent"))]
    wait_for("four", lambda: broker.leaders(name) == 4)
    offsets = broker.send(name, [{"value": b"v", "partition": 3}])
    return f"answers={answers} offsets={offsets}"


def described(broker, kind, name):
    resource = ConfigResource(kind, name)
    return broker.admin.describe_configs([resource])[resource].result(20)


def change(broker, name, *entries, **options):
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=list(entries))
    return attempt(broker.admin.incremental_alter_configs([resource], **options))


SET, DELETE, APPEND, SUBTRACT = (
    AlterConfigOpType.SET,
    AlterConfigOpType.DELETE,
    AlterConfigOpType.APPEND,
    AlterConfigOpType.SUBTRACT,
)


def entry(name, value, operation=SET):
    return ConfigEntry(name, value, incremental_operation=operation)


@case
def alter_configs_of_a_topic(broker):
    name = broker.topic("alter", retention_ms=111)

    def now(key, want):
        """What the broker says once the change has reached it, which is a moment after it was accepted."""
        seen = []

        def there():
            value = described(broker, ConfigResource.Type.TOPIC, name)[key]
            seen.append(f"{value.value}/{ConfigSource(value.source).name}")
            return value.value == want

        with contextlib.suppress(Failed):
            wait_for("the change", there, 10)
        return seen[-1]

    tried = [
        change(broker, name, entry("retention.ms", "222"), entry("max.message.bytes", "3333")),
        now("retention.ms", "222"),
        now("max.message.bytes", "3333"),
        change(broker, name, entry("retention.ms", None, DELETE)),
        now("retention.ms", "604800000"),
        change(broker, name, entry("cleanup.policy", "compact", APPEND)),
        now("cleanup.policy", "delete,compact"),
        change(broker, name, entry("cleanup.policy", "delete", SUBTRACT)),
        now("cleanup.policy", "compact"),
        change(broker, name, entry("max.message.bytes", "4444"), validate_only=True),
        now("max.message.bytes", "3333"),
        change(broker, name, entry("retention.ms", "soon")),
        change(broker, name, entry("no.such.config", "1")),
        change(broker, name, entry("retention.ms", "1", APPEND)),
        change(broker, broker.name("absent"), entry("retention.ms", "1")),
    ]
    return " ".join(tried)


@case
def configs_of_a_topic(broker):
    """The defaults that clients and tools look at."""
    name = broker.topic("configs", compression_type="lz4")
    found = described(broker, ConfigResource.Type.TOPIC, name)
    wanted = [
        "cleanup.policy",
        "compression.type",
        "delete.retention.ms",
        "flush.messages",
        "index.interval.bytes",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.ms",
    ]
    absent = attempt(
        broker.admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, broker.name("absent"))])
    )
    shown = []
    for key in wanted:
        of_topic = key in found and ConfigSource(found[key].source) == ConfigSource.DYNAMIC_TOPIC_CONFIG
        shown.append(f"{key}={found[key].value if key in found else 'absent'}{' (set)' if of_topic else ''}")
    return " ".join(shown) + f" absent_topic={absent}"


@case
def configs_of_the_broker(broker):
    found = described(broker, ConfigResource.Type.BROKER, "1")
    wanted = ["auto.create.topics.enable", "message.max.bytes", "node.id", "default.replication.factor"]
    return " ".join(f"{key}={found[key].value}" if key in found else f"{key}=absent" for key in wanted)


@case
def cluster(broker):
    seen = broker.admin.describe_cluster().result(20)
    listed = broker.admin.list_topics(timeout=10)
    expect("one id", seen.cluster_id, listed.cluster_id)
    kind = re.fullmatch(r"[A-Za-z0-9_-]{22}", seen.cluster_id) is not None
    return f"id={kind} nodes={[each.id for each in seen.nodes]} controller={seen.controller.id} brokers={list(listed.brokers)}"


@case
def acls(broker):
    name = broker.topic("acl")
    rule = AclBinding(
        ResourceType.TOPIC, name, ResourcePatternType.LITERAL, "User:a", "*", AclOperation.READ, AclPermissionType.ALLOW
    )
    some = AclBindingFilter(
        ResourceType.TOPIC, name, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    made = attempt(broker.admin.create_acls([rule]))
    try:
        found = str(len(broker.admin.describe_acls(some).result(20)))
    except KafkaException as error:
        found = code(error)
    return f"create={made} describe={found} delete={attempt(broker.admin.delete_acls([some]))}"


@case
def elections(broker):
    name = broker.topic("elect")
    answer = broker.admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(name, 0), TopicPartition(name, 7)]).result(20)
    return " ".join(f"{part.partition}={error.name() if error else 'none'}" for part, error in sorted(answer.items(), key=lambda each: each[0].partition))


@case
def offsets_of_a_group_that_is_not(broker):
    group = broker.name("absent")
    asked = broker.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
    state = broker.admin.describe_consumer_groups([group])[group]
    return f"offsets={len(asked.topic_partitions)} describe={refused(lambda: state.result(20))} state={state.result(20).state.name}"
