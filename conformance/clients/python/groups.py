"""Cases of consumer groups (classic protocol): who gets which partitions, and which offsets are kept for whom."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from suite import case, code, expect, refused, wait_for


class Member:
    """A consumer with what its callbacks said."""

    def __init__(self, broker, group, topic, **config):
        self.consumer = broker.consumer(group, **config)
        self.incremental = config.get("partition_assignment_strategy") == "cooperative-sticky"
        self.owned, self.revoked, self.rounds, self.errors = set(), 0, 0, []
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_revoke)

    def on_assign(self, consumer, partitions):
        self.rounds += 1
        self.owned |= {each.partition for each in partitions}
        (consumer.incremental_assign if self.incremental else consumer.assign)(partitions)

    def on_revoke(self, consumer, partitions):
        self.revoked += len(partitions)
        self.owned -= {each.partition for each in partitions}
        if self.incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def poll(self):
        message = self.consumer.poll(0.02)
        if message is not None and message.error():
            fenced = " fenced" if "fenced" in message.error().str() else ""
            self.errors.append(message.error().name() + fenced)


def settle(what, members, condition):
    """Polls all members in turn, as each would on its own, until the condition holds."""

    def step():
        for each in members:
            each.poll()
        return condition()

    wait_for(what, step)


def shares(members):
    return sorted(len(each.owned) for each in members)


def rebalances(broker, strategy):
    topic, group = broker.topic("moves-" + strategy, partitions=6), broker.name(strategy)
    config = {"partition_assignment_strategy": strategy}
    first = Member(broker, group, topic, **config)
    settle("all for one", [first], lambda: len(first.owned) == 6)
    second = Member(broker, group, topic, **config)
    settle("two shares", [first, second], lambda: shares([first, second]) == [3, 3])
    expect("no partition twice", first.owned & second.owned, set())
    third = Member(broker, group, topic, **config)
    settle("three shares", [first, second, third], lambda: shares([first, second, third]) == [2, 2, 2])
    revoked = first.revoked
    second.consumer.close()
    settle("after one left", [first, third], lambda: shares([first, third]) == [3, 3])
    third.consumer.close()
    settle("alone again", [first], lambda: len(first.owned) == 6)
    first.consumer.close()
    return f"shares=6 3+3 2+2+2 3+3 6 revoked_by_joins={revoked}"


@case
def rebalance_eager(broker):
    return rebalances(broker, "range")


@case
def rebalance_round_robin(broker):
    return rebalances(broker, "roundrobin")


@case
def rebalance_cooperative(broker):
    return rebalances(broker, "cooperative-sticky")


@case
def strategies_that_do_not_agree(broker):
    topic, group = broker.topic("strategies"), broker.name("strategies")
    first = Member(broker, group, topic, partition_assignment_strategy="range")
    settle("one", [first], lambda: first.owned)
    second = Member(broker, group, topic, partition_assignment_strategy="roundrobin")
    settle("the refusal", [first, second], lambda: second.errors)
    for each in (first, second):
        each.consumer.close()
    return f"second={second.errors[0]}"


@case
def static_member_comes_back(broker):
    topic, group = broker.topic("static", partitions=4), broker.name("static")
    other = Member(broker, group, topic, group_instance_id="other")
    settle("one", [other], lambda: len(other.owned) == 4)
    one = Member(broker, group, topic, group_instance_id="one")
    settle("two", [other, one], lambda: shares([other, one]) == [2, 2])
    rounds, held = other.rounds, set(one.owned)
    one.consumer.close()
    back = Member(broker, group, topic, group_instance_id="one")
    settle("the same again", [other, back], lambda: back.owned == held)
    expect("rebalances of the other", other.rounds, rounds)
    for each in (other, back):
        each.consumer.close()
    return f"kept={len(held)} rebalances=0"


@case
def static_member_fenced(broker):
    topic, group = broker.topic("fenced"), broker.name("fenced")
    first = Member(broker, group, topic, group_instance_id="same")
    settle("one", [first], lambda: first.owned)
    second = Member(broker, group, topic, group_instance_id="same")
    settle("the fence", [first, second], lambda: second.owned and first.errors)
    for each in (second, first):
        each.consumer.close()
    return f"first={first.errors[0]}"


def member(bootstrap, group, topic):
    """Joins, says so, and stays until it is killed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "session.timeout.ms": 6000})
    consumer.subscribe([topic], on_assign=lambda *_: print("joined", flush=True))
    while True:
        consumer.poll(0.2)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-B", str(Path(__file__).parent), *arguments], stdout=subprocess.PIPE, text=True
    )


@case
def member_killed(broker):
    """A member that ends without a word is missed after its session."""
    topic, group = broker.topic("killed", partitions=4), broker.name("killed")
    child = start("--member", broker.bootstrap, group, topic)
    try:
        expect("the child", child.stdout.readline(), "joined\n")
        heir = Member(broker, group, topic)
        settle("a share", [heir], lambda: heir.owned)
        expect("share", len(heir.owned), 2)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    settle("all of it", [heir], lambda: len(heir.owned) == 4)
    heir.consumer.close()
    return "shares=2 4"


@case
def offsets_are_kept(broker):
    topic, group = broker.topic("commits", partitions=2), broker.name("commits")
    broker.send(topic, [{"value": b"%d" % at, "partition": 0} for at in range(20)])
    writer = broker.consumer(group)
    writer.commit(offsets=[TopicPartition(topic, 0, 7, "note \u00fc")], asynchronous=False)
    writer.close()
    reader = broker.consumer(group)
    first, second = reader.committed([TopicPartition(topic, each) for each in (0, 1)], timeout=10)
    expect("offset and metadata", (first.offset, first.metadata), (7, "note \u00fc"))
    reader.subscribe([topic])
    message = wait_for("a record", lambda: reader.poll(0.1))
    expect("goes on where it was", message.value(), b"7")
    reader.close()
    return f"offset=7 other={second.offset}"


@case
def auto_commit(broker):
    topic, group = broker.topic("auto"), broker.name("auto")
    broker.send(topic, [{"value": b"%d" % at} for at in range(10)])
    consumer = broker.consumer(group, enable_auto_commit=True)
    consumer.subscribe([topic])
    for at in range(10):
        expect("record", wait_for("a record", lambda: consumer.poll(0.1)).value(), b"%d" % at)
    consumer.close()
    offset = broker.consumer(group).committed([TopicPartition(topic, 0)], timeout=10)[0].offset
    return f"offset={offset}"


@case
def offset_reset(broker):
    topic = broker.topic("reset")
    broker.send(topic, [{"value": b"%d" % at} for at in range(5)])
    seen = []
    for reset in ("earliest", "latest", "error"):
        consumer = broker.consumer(broker.name(reset), auto_offset_reset=reset, enable_partition_eof=True)
        consumer.subscribe([topic])
        message = wait_for("an answer", lambda consumer=consumer: consumer.poll(0.1))
        seen.append(f"{reset}={message.error().name() if message.error() else message.value().decode()}")
        consumer.close()
    return " ".join(seen)


@case
def commit_refusals(broker):
    """Commits of one that is no member, to a group with members, and to what is not there."""
    topic, group = broker.topic("refusals"), broker.name("refusals")
    first = Member(broker, group, topic)
    settle("one", [first], lambda: first.owned)
    outsider = broker.consumer(group)
    at = [TopicPartition(topic, 0, 1)]
    busy = refused(lambda: outsider.commit(offsets=at, asynchronous=False))
    nowhere = [TopicPartition(broker.name("nowhere"), 0, 1)]
    absent = []
    try:
        absent = [code(each.error) if each.error else "none" for each in first.consumer.commit(offsets=nowhere, asynchronous=False)]
    except KafkaException as error:
        absent = [code(error)]
    partition = refused(lambda: first.consumer.commit(offsets=[TopicPartition(topic, 9, 1)], asynchronous=False))
    first.consumer.close()
    outsider.close()
    return f"outsider={busy} topic={absent} partition={partition}"


@case
def admin_of_a_group(broker):
    topic, group = broker.topic("admin", partitions=2), broker.name("admin")
    admin = broker.admin
    one = Member(broker, group, topic, client_id="client-of-admin")
    settle("one", [one], lambda: len(one.owned) == 2)
    one.consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    busy = admin.describe_consumer_groups([group])[group].result(20)
    described = [(m.client_id, m.host, len(m.assignment.topic_partitions)) for m in busy.members]
    listed = [
        (each.state.name, each.is_simple_consumer_group)
        for each in admin.list_consumer_groups().result(20).valid
        if each.group_id == group
    ]
    in_use = refused(lambda: admin.delete_consumer_groups([group])[group].result(20))
    change = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 1, 5)])
    answer = admin.alter_consumer_group_offsets([change])[group].result(20)
    busy_change = [each.error.name() if each.error else "none" for each in answer.topic_partitions]
    one.consumer.close()
    empty = wait_for(
        "an empty group", lambda: (d := admin.describe_consumer_groups([group])[group].result(20)).state.name == "EMPTY" and d
    )
    admin.alter_consumer_group_offsets([change])[group].result(20)
    asked = ConsumerGroupTopicPartitions(group)
    got = admin.list_consumer_group_offsets([asked])[group].result(20)
    offsets = sorted((each.partition, each.offset) for each in got.topic_partitions)
    admin.delete_consumer_groups([group])[group].result(20)
    gone = refused(lambda: admin.delete_consumer_groups([group])[group].result(20))
    after = admin.describe_consumer_groups([group])[group]
    try:
        dead = after.result(20).state.name
    except KafkaException as error:
        dead = code(error)
    return (
        f"state={busy.state.name} assignor={busy.partition_assignor} members={described} listed={listed} delete={in_use} "
        f"alter={busy_change} then={empty.state.name} offsets={offsets} gone={gone} described={dead}"
    )


@case
def subscription_by_pattern(broker):
    group = broker.name("pattern")
    first = broker.topic("pattern-a")
    consumer = broker.consumer(group, topic_metadata_refresh_interval_ms=300, metadata_max_age_ms=600)
    owned = []
    consumer.subscribe(
        [f"^{broker.name('pattern')[:-9]}-.-{broker.run}$"],
        on_assign=lambda _, partitions: owned.append(len(partitions)),
    )
    wait_for("the first", lambda: consumer.poll(0.05) or (owned and owned[-1] == 1))
    second = broker.topic("pattern-b")
    wait_for("the second", lambda: consumer.poll(0.05) or owned[-1] == 2)
    for topic in (first, second):
        broker.send(topic, [{"value": b"v"}])
    got = set()
    wait_for("both", lambda: (m := consumer.poll(0.05)) and not m.error() and got.add(m.topic()) or len(got) == 2)
    consumer.close()
    return "topics=1 2"


@case
def rejoin_after_too_long_without_poll(broker):
    topic, group = broker.topic("slow"), broker.name("slow")
    consumer = broker.consumer(group, max_poll_interval_ms=6000, session_timeout_ms=6000)
    rounds = []
    consumer.subscribe([topic], on_assign=lambda *_: rounds.append("assigned"), on_lost=lambda *_: rounds.append("lost"))
    wait_for("one", lambda: consumer.poll(0.05) or rounds)
    threading.Event().wait(7)
    errors = []
    wait_for("again", lambda: (m := consumer.poll(0.05)) and errors.append(m.error().name()) or rounds.count("assigned") == 2)
    consumer.close()
    return f"errors={errors} rounds={rounds}"
