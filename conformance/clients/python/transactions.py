"""Cases of transactions as librdkafka speaks them: all of it or none of it, one producer per id, and no reader sees what is open."""

import contextlib
import signal
import time

from confluent_kafka import KafkaException, Producer, TopicPartition
from groups import Member, settle, start
from suite import case, code, expect, wait_for


def producer(broker, transactional_id, **config):
    made = broker.producer(transactional_id=transactional_id, **{"transaction_timeout_ms": 20_000, **config})
    made.init_transactions(30)
    return made


def write(made, topic, values, partition=0):
    for value in values:
        made.produce(topic, value=value, partition=partition)


def attempt(action):
    """What an action of a transactional producer ends with, and what the client says has to be done."""
    try:
        action()
    except KafkaException as error:
        kinds = {"fatal": "fatal", "txn_requires_abort": "abort", "retriable": "retriable"}
        return "+".join([code(error)] + [word for name, word in kinds.items() if getattr(error.args[0], name)()])
    return "none"


@case
def transaction_commit_and_abort(broker):
    topic = broker.topic("commit-abort", partitions=2)
    one = producer(broker, broker.name("commit-abort"))
    for number, end in enumerate(["commit", "abort", "commit", "abort", "abort", "commit"]):
        one.begin_transaction()
        for partition in (0, 1):
            write(one, topic, [f"{end}-{number}-{at}".encode() for at in range(20)], partition)
        if end == "commit":
            one.commit_transaction(30)
        else:
            one.flush(30)
            one.abort_transaction(30)
    committed, everything = broker.values(topic, committed=True), broker.values(topic)
    expect("committed", committed, [f"commit-{n}-{at}" for _ in (0, 1) for n in (0, 2, 5) for at in range(20)])
    ends = [m.offset() for m in broker.read(topic, committed=True) if m.partition() == 0][-1]
    return f"committed={len(committed)} everything={len(everything)} last={ends}"


@case
def transaction_without_records(broker):
    one = producer(broker, broker.name("nothing"))
    for _ in range(3):
        one.begin_transaction()
        one.commit_transaction(30)
        one.begin_transaction()
        one.abort_transaction(30)
    return "ends=6"


@case
def open_transaction_is_not_read(broker):
    topic = broker.topic("open")
    broker.send(topic, [{"value": b"before"}])
    one = producer(broker, broker.name("open"))
    one.begin_transaction()
    write(one, topic, [b"inside"])
    one.flush(30)
    broker.send(topic, [{"value": b"after"}])
    open_seen, all_seen = broker.values(topic, committed=True), broker.values(topic)
    one.commit_transaction(30)
    expect("while open", (open_seen, all_seen), (["before"], ["before", "inside", "after"]))
    expect("then", broker.values(topic, committed=True), ["before", "inside", "after"])
    return f"open={len(open_seen)} then=3"


@case
def interleaved_transactions(broker):
    topic = broker.topic("interleaved")
    one, two, three = (producer(broker, broker.name(each)) for each in ("i1", "i2", "i3"))
    for each in (one, two, three):
        each.begin_transaction()
    for at in range(5):
        for name, each in (("one", one), ("two", two), ("three", three)):
            write(each, topic, [f"{name}-{at}".encode()])
            each.flush(30)
    two.abort_transaction(30)
    expect("first is open", broker.values(topic, committed=True), [])
    one.commit_transaction(30)
    expect("up to the third", broker.values(topic, committed=True), ["one-0"])
    three.commit_transaction(30)
    seen = broker.values(topic, committed=True)
    expect("order", seen, [f"{name}-{at}" for at in range(5) for name in ("one", "three")])
    return f"seen={len(seen)}"


@case
def zombie_is_fenced(broker):
    topic, name = broker.topic("zombie"), broker.name("zombie")
    old = producer(broker, name)
    old.begin_transaction()
    write(old, topic, [b"old"])
    old.flush(30)
    new = producer(broker, name)
    new.begin_transaction()
    write(new, topic, [b"new"])
    old.produce(topic, value=b"old again")
    with contextlib.suppress(KafkaException, SystemError):
        # The client raises the fatal error from within, in the middle of a delivery report at times.
        old.flush(30)
    end = attempt(lambda: old.commit_transaction(30))
    new.commit_transaction(30)
    expect("read", broker.values(topic, committed=True), ["new"])
    return f"commit={end}"


@case
def zombie_is_fenced_at_commit(broker):
    topic, name = broker.topic("zombie-commit"), broker.name("zombie-commit")
    old = producer(broker, name)
    old.begin_transaction()
    write(old, topic, [b"old"])
    old.flush(30)
    new = producer(broker, name)
    end = attempt(lambda: old.commit_transaction(30))
    expect("read", broker.values(topic, committed=True), [])
    del new
    return f"commit={end}"


def die_in_transaction(bootstrap, topic, transactional_id):
    """Opens a transaction, says so, and stays in it until it is killed."""
    one = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
    one.init_transactions(30)
    one.begin_transaction()
    write(one, topic, [b"of the dead"] * 10)
    one.flush(30)
    print("open", flush=True)
    time.sleep(600)


@case
def producer_killed_in_transaction(broker):
    topic, name = broker.topic("dead"), broker.name("dead")
    child = start("--die-in-transaction", broker.bootstrap, topic, name)
    try:
        expect("the child", child.stdout.readline(), "open\n")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    expect("open", broker.values(topic, committed=True), [])
    heir = producer(broker, name)
    broker.send(topic, [{"value": b"plain"}])
    expect("after the heir came", broker.values(topic, committed=True), ["plain"])
    heir.begin_transaction()
    write(heir, topic, [b"of the heir"])
    heir.commit_transaction(30)
    return f"committed={broker.values(topic, committed=True)} everything={len(broker.values(topic))}"


@case
def transaction_timed_out_by_broker(broker):
    topic = broker.topic("timeout")
    one = producer(broker, broker.name("timeout"), transaction_timeout_ms=1000)
    one.begin_transaction()
    write(one, topic, [b"too late"])
    one.flush(30)
    broker.send(topic, [{"value": b"after"}])
    # The last stable offset moves only when the broker aborts.
    wait_for("the abort", lambda: broker.values(topic, committed=True) == ["after"])
    end = attempt(lambda: one.commit_transaction(30))
    again = attempt(lambda: one.abort_transaction(30))
    return f"commit={end} abort={again}"


@case
def transaction_timeout_above_the_limit(broker):
    made = broker.producer(transactional_id=broker.name("long"), transaction_timeout_ms=3_600_000)
    return attempt(lambda: made.init_transactions(30))


def copy(broker, source, target, group, transactional_id, batches, abort=()):
    """Consume, write, commit offsets in the transaction; the batches named in `abort` are done again."""
    reader = Member(broker, group, source)
    one = producer(broker, transactional_id)
    aborted = set()
    number = 0
    while number < batches:
        taken = []
        wait_for("ten records", lambda: (m := reader.consumer.poll(0.1)) and not m.error() and taken.append(m) or len(taken) == 10)
        one.begin_transaction()
        write(one, target, [message.value() for message in taken])
        positions = [TopicPartition(source, 0, taken[-1].offset() + 1)]
        one.send_offsets_to_transaction(positions, reader.consumer.consumer_group_metadata(), 30)
        if number in abort and number not in aborted:
            aborted.add(number)
            # What is still in the queue would be dropped, and how much that is differs from run to run.
            one.flush(30)
            one.abort_transaction(30)
            reader.consumer.seek(TopicPartition(source, 0, taken[0].offset()))
            continue
        one.commit_transaction(30)
        number += 1
    reader.consumer.close()


@case
def consume_transform_produce(broker):
    source, target, group = broker.topic("ctp-in"), broker.topic("ctp-out"), broker.name("ctp")
    broker.send(source, [{"value": b"%d" % at} for at in range(100)])
    copy(broker, source, target, group, broker.name("ctp"), 4, abort=(1, 3))
    # A second process of the same name goes on where the first committed.
    copy(broker, source, target, group, broker.name("ctp"), 6, abort=(0,))
    expect("copied once", broker.values(target, committed=True), [str(at) for at in range(100)])
    left = broker.consumer(group).committed([TopicPartition(source, 0)], timeout=10)[0].offset
    return f"copied=100 everything={len(broker.values(target))} offset={left}"


@case
def pending_offsets_are_not_fetched(broker):
    """An offset in an open transaction is unstable: a reader that asks for stable ones is told to wait until it ends."""
    source, group = broker.topic("pending"), broker.name("pending")
    reader = Member(broker, group, source)
    settle("the partition", [reader], lambda: reader.owned)
    one = producer(broker, broker.name("pending"))
    seen = []
    for end in ("abort", "commit"):
        one.begin_transaction()
        one.send_offsets_to_transaction([TopicPartition(source, 0, 5)], reader.consumer.consumer_group_metadata(), 30)
        other = broker.consumer(group, isolation_level="read_committed")
        try:
            seen.append(str(other.committed([TopicPartition(source, 0)], timeout=1)[0].offset))
        except KafkaException as error:
            seen.append(code(error))
        one.abort_transaction(30) if end == "abort" else one.commit_transaction(30)
        seen.append(f"{end}={other.committed([TopicPartition(source, 0)], timeout=10)[0].offset}")
        other.close()
    reader.consumer.close()
    return " ".join(seen)


@case
def offsets_of_a_past_generation(broker):
    """A member that is no longer one may not commit offsets through a transaction."""
    source, group = broker.topic("past", partitions=2), broker.name("past")
    reader = Member(broker, group, source)
    settle("all", [reader], lambda: len(reader.owned) == 2)
    stale = reader.consumer.consumer_group_metadata()
    other = Member(broker, group, source)
    settle("shares", [reader, other], lambda: len(reader.owned) == 1 and len(other.owned) == 1)
    one = producer(broker, broker.name("past"))
    one.begin_transaction()
    end = attempt(lambda: one.send_offsets_to_transaction([TopicPartition(source, 0, 1)], stale, 30))
    aborted = attempt(lambda: one.abort_transaction(30))
    for each in (reader, other):
        each.consumer.close()
    return f"send_offsets={end} abort={aborted}"


@case
def offsets_of_a_group_without_members(broker):
    source, group = broker.topic("simple"), broker.name("simple")
    alone = broker.consumer(group)
    one = producer(broker, broker.name("simple"))
    one.begin_transaction()
    one.send_offsets_to_transaction([TopicPartition(source, 0, 3)], alone.consumer_group_metadata(), 30)
    one.commit_transaction(30)
    return f"offset={alone.committed([TopicPartition(source, 0)], timeout=10)[0].offset}"


@case
def record_refused_in_transaction(broker):
    topic = broker.topic("refused", max_message_bytes=1000)
    one = producer(broker, broker.name("refused"), batch_num_messages=1)
    reports = []

    def report(error, _):
        reports.append(error.name() if error else "none")

    one.begin_transaction()
    one.produce(topic, value=b"fits", on_delivery=report)
    one.flush(30)
    one.produce(topic, value=b"x" * 5000, on_delivery=report)
    one.flush(30)
    end = attempt(lambda: one.commit_transaction(30))
    aborted = attempt(lambda: one.abort_transaction(30))
    expect("read", broker.values(topic, committed=True), [])
    return f"reports={reports} commit={end} abort={aborted}"
