"""What every case of this client needs: a name of its own for each topic and group, a deadline, and a line that can be compared.

An outcome holds nothing that differs between two runs on equal brokers: no port, no time, no id, no offset that hangs on time.
"""

import concurrent.futures
import re
import time
import traceback
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

CASES = []


def case(function):
    """Registers a case; its name is the function's, its return value the detail of the outcome."""
    CASES.append(function)
    return function


class Failed(Exception):
    """An outcome other than the one Kafka documents."""


def expect(what, got, want):
    if got != want:
        raise Failed(f"{what}: expected {want}, got {got}")


def wait_for(what, condition, seconds=40):
    """Asks until the condition holds and returns what it gave; a wait without end would hide the fault."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"waited in vain: {what}")
        time.sleep(0.05)


def code(error):
    """The name of a Kafka error, whichever way the client wraps it."""
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return error.name()
    return type(error).__name__


def refused(action):
    """The name of the error an action ends with, `none` where it succeeds."""
    try:
        action()
    except (KafkaException, ValueError) as error:
        return code(error)
    return "none"


class Broker:
    """One bootstrap address, and names that no other run on it has."""

    def __init__(self, client, bootstrap):
        self.client = client
        self.bootstrap = bootstrap
        self.run = uuid.uuid4().hex[:8]
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def name(self, what):
        return f"{self.client}-{what}-{self.run}"

    def topic(self, what, partitions=1, **config):
        topic = self.name(what)
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(60)
        # Metadata may come a moment after the answer.
        wait_for("a leader for each partition", lambda: self.leaders(topic) == partitions, 60)
        return topic

    def leaders(self, topic):
        found = self.admin.list_topics(topic, timeout=10).topics[topic]
        return 0 if found.error else sum(1 for each in found.partitions.values() if each.leader >= 0)

    def producer(self, **config):
        return Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 5, "log_level": 0, **dotted(config)})

    def consumer(self, group=None, **config):
        base = {
            "bootstrap.servers": self.bootstrap,
            "group.id": group or self.name("reader"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
            # The outcome says what matters; librdkafka's log differs from run to run.
            "log_level": 0,
            # The broker's minimum; the sooner a dead member is missed the shorter the run.
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 300,
        }
        return Consumer({**base, **dotted(config)})

    def send(self, topic, records, **config):
        """Sends records (dictionaries as `produce` takes them) and returns what became of each, in their order: offset or error name."""
        producer = self.producer(**config)
        reports = [None] * len(records)

        def note(at):
            def report(error, message):
                reports[at] = error.name() if error else message.offset()

            return report

        for at, record in enumerate(records):
            producer.produce(topic, on_delivery=note(at), **record)
        expect("records left in the queue", producer.flush(60), 0)
        return reports

    def read(self, topic, committed=False, start=None):
        """All that a fresh reader sees now, in the order of partition and offset."""
        consumer = self.consumer(
            isolation_level="read_committed" if committed else "read_uncommitted",
            enable_partition_eof=True,
            auto_offset_reset="error" if start is not None else "earliest",
        )
        try:
            partitions = self.admin.list_topics(topic, timeout=10).topics[topic].partitions
            first = start if start is not None else 0
            consumer.assign([TopicPartition(topic, each, first) for each in partitions])
            ended, messages = set(), []
            end = time.monotonic() + 40
            while len(ended) < len(partitions):
                message = consumer.poll(0.2)
                if time.monotonic() > end:
                    raise Failed(f"no end of the topic, {len(messages)} records read")
                if message is None:
                    continue
                if not message.error():
                    messages.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise KafkaException(message.error())
            return sorted(messages, key=lambda message: (message.partition(), message.offset()))
        finally:
            consumer.close()

    def values(self, topic, committed=False):
        return [message.value().decode() for message in self.read(topic, committed)]


def dotted(config):
    return {key.replace("_", "."): value for key, value in config.items()}


def plain(broker, text):
    """Text of an error without what differs from run to run."""
    text = text.replace(broker.run, "RUN")
    text = re.sub(r"127\.0\.0\.1:\d+(/\d+)?", "HOST", text)
    return re.sub(r"\d{4,}", "N", " ".join(text.split()))[:300]


def outcome(broker, function):
    try:
        detail = function(broker) or ""
        return f"case {broker.client} {function.__name__} ok {str(detail).replace(broker.run, 'RUN')}".rstrip()
    except Exception as error:  # noqa: BLE001 - the suite goes on whatever a case does
        where = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.endswith(".py")][-1]
        text = str(error) if isinstance(error, Failed) else f"{code(error)} {error} (in {where.name})"
        return f"case {broker.client} {function.__name__} fail {plain(broker, text)}"


def run(client, bootstrap, only, parallel=6):
    """Runs the cases, some at a time since most of them wait, and prints the outcomes in the order of the file."""
    broker = Broker(client, bootstrap)
    chosen = [each for each in CASES if not only or any(word in each.__name__ for word in only)]
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        for line in pool.map(lambda each: outcome(broker, each), chosen):
            print(line, flush=True)
