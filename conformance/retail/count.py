#!/usr/bin/env python3
"""Counts what became of the transactions, as an independent reader: nothing of Weir is asked, none of its code is used.

usage: conformance/retail/count.py --kafka HOST:PORT --registry URL [--group NAME] [--input FILE] [--replayed]

Waits until the consumer group NAME has no lag on the landing topic, then reads landing, product and quarantine topic
from start to end (read_committed), decodes every value with fastavro and compares with the file that events.py wrote:
  * every line of the file is in the landing topic once, with the same figures, under the key household_id;
  * every line is in the product topic or in the quarantine, once; in which of the two follows from the two rules;
  * a record of either topic has the key, value, headers and timestamp of its landing record, byte for byte; in the
    quarantine only headers that begin with `weir.` or `__connect.errors.` are added, behind the others;
  * per key and topic the order is that of the file.
Prints what it found wrong, and last the line `accepted=N quarantined=N duplicates=N out_of_order=N`. Exit code 1 if
anything was wrong, 2 if it could not count.

With --replayed the lines of zero units are expected in both topics: they were quarantined first, then replayed under a
contract that allows them. A line that is in both topics counts as accepted, and has no place in the order per key.
"""

import argparse
import io
import json
import pathlib
import sys
import time
import urllib.request

import fastavro
import numpy
import pyarrow.csv
from confluent_kafka import OFFSET_BEGINNING, Consumer, ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

TOPIC = "sales.transactions"
COLUMNS = [
    "household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_disc",
    "coupon_match_disc", "week", "transaction_timestamp",
]  # fmt: skip
# Headers that Weir may add to a quarantined record.
ADDED = ("weir.", "__connect.errors.")
PATIENCE_S = 120.0


class Wrong:
    """Collects what is wrong; prints the first few of each kind at once."""

    def __init__(self):
        self.counts = {}

    def say(self, kind: str, detail: str):
        if self.counts.get(kind, 0) < 5:
            print(f"wrong: {kind}: {detail}")
        self.add(kind, 1)

    def add(self, kind: str, count):
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + int(count)


def names(basket_id, product_id):
    """One number per source id: both fit 63 bits together, since products have less than 25 bits."""
    return (basket_id.astype(numpy.int64) << 25) | product_id.astype(numpy.int64)


class Source:
    """The lines of the input file."""

    def __init__(self, path: pathlib.Path):
        amounts = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
        options = pyarrow.csv.ConvertOptions(column_types={name: "double" for name in amounts})
        table = pyarrow.csv.read_csv(path, convert_options=options)
        self.columns = {}
        for name in COLUMNS:
            values = table[name].to_numpy()
            if name == "transaction_timestamp":
                values = values.astype("datetime64[ms]").astype(numpy.int64)
            self.columns[name] = values
        self.size = table.num_rows
        ids = names(self.columns["basket_id"], self.columns["product_id"])
        self.by_id = numpy.argsort(ids, kind="stable")
        self.sorted_ids = ids[self.by_id]
        if self.columns["product_id"].max() >> 25 or (numpy.diff(self.sorted_ids) == 0).any():
            raise SystemExit("count: basket_id and product_id do not name the lines of the file")

    def lines(self, ids):
        """The line of each id, -1 for an id that is not in the file."""
        at = numpy.minimum(numpy.searchsorted(self.sorted_ids, ids), self.size - 1)
        return numpy.where(self.sorted_ids[at] == ids, self.by_id[at], -1)


class Schemas:
    """Schemas by id, asked from the registry once. Logical types are taken off: numbers are compared as numbers."""

    def __init__(self, registry: str):
        self.registry = registry.rstrip("/")
        self.known = {}

    def decode(self, value: bytes) -> dict:
        if value is None or len(value) < 5 or value[0] != 0:
            raise ValueError("no schema id before the value")
        number = int.from_bytes(value[1:5], "big")
        if number not in self.known:
            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{number}", timeout=10) as answer:
                plain = json.loads(json.load(answer)["schema"])
            for field in plain["fields"]:
                if isinstance(field["type"], dict):
                    field["type"].pop("logicalType", None)
            self.known[number] = fastavro.parse_schema(plain)
        body = io.BytesIO(value[5:])
        datum = fastavro.schemaless_reader(body, self.known[number])
        if body.read(1):
            raise ValueError("bytes behind the value")
        return datum


def read(kafka: str, topic: str):
    """Yields the records of a topic in batches, from start to end; the end is that of all committed transactions."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "weir-retail-count",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "queued.max.messages.kbytes": 65536,
            "fetch.queue.backoff.ms": 5,
        }
    )
    try:
        found = consumer.list_topics(topic, timeout=30).topics[topic]
        if found.error is not None:
            raise SystemExit(f"count: {topic}: {found.error.str()}")
        partitions = list(found.partitions)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        unread = set(partitions)
        heard = time.monotonic()
        while unread:
            batch = []
            for message in consumer.consume(20000, timeout=0.5):
                if message.error() is None:
                    batch.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                else:
                    raise SystemExit(f"count: {topic}: {message.error().str()}")
            if batch:
                heard = time.monotonic()
                yield batch
            elif time.monotonic() - heard > PATIENCE_S:
                raise SystemExit(f"count: {topic}: no end of partitions {sorted(unread)} within {PATIENCE_S:.0f} s")
    finally:
        consumer.close()


def wait_for_group(kafka: str, group: str, topic: str):
    """Returns once the group has committed the end of every partition of the topic."""
    admin = AdminClient({"bootstrap.servers": kafka})
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "weir-retail-count"})
    best, deadline = None, time.monotonic() + PATIENCE_S
    try:
        partitions = list(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in partitions])
        while True:
            answer = admin.list_consumer_group_offsets([request])[group].result(timeout=30)
            committed = {p.partition: max(p.offset, 0) for p in answer.topic_partitions}
            ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in partitions}
            lag = sum(end - committed.get(p, 0) for p, end in ends.items())
            if lag <= 0:
                return
            if best is None or lag < best:
                best, deadline = lag, time.monotonic() + PATIENCE_S
                print(f"{group}: {lag} behind on {topic}", file=sys.stderr)
            if time.monotonic() > deadline:
                raise SystemExit(f"count: {group} stays {lag} behind on {topic} for {PATIENCE_S:.0f} s")
            time.sleep(0.5)
    finally:
        consumer.close()


def place(message) -> str:
    return f"{message.topic()} partition {message.partition()} offset {message.offset()}"


def identity(message) -> int:
    """What must stay as it was: key, value, headers, timestamp, partition."""
    headers = tuple(message.headers() or ())
    return hash((message.key(), message.value(), headers, message.timestamp(), message.partition()))


class Topic:
    """Reads a topic once and keeps, per record, the line of the input file and the hash of what must stay as it was."""

    def __init__(self, source: Source, schemas: Schemas, kafka: str, topic: str, wrong: Wrong, identify=identity):
        self.name = topic
        lines, marks = [], []
        for batch in read(kafka, topic):
            data = []
            for message in batch:
                try:
                    data.append((message, schemas.decode(message.value())))
                except (ValueError, EOFError, KeyError, IndexError) as error:
                    wrong.say("value cannot be read", f"{place(message)}: {error}")
            if not data:
                continue
            columns = {name: numpy.array([datum[name] for _, datum in data]) for name in COLUMNS}
            at = source.lines(names(columns["basket_id"], columns["product_id"]))
            for index in numpy.flatnonzero(at < 0):
                wrong.say("not in the input file", place(data[index][0]))
            known = at >= 0
            for name in COLUMNS:
                other = known & (columns[name] != source.columns[name][at])
                for index in numpy.flatnonzero(other):
                    wrong.say("another figure than the input file", f"{place(data[index][0])}: {name}")
            for (message, datum), line in zip(data, at.tolist()):
                if message.key() != b"%d" % datum["household_id"]:
                    wrong.say("key is not the household", place(message))
                if line >= 0:
                    lines.append(line)
                    marks.append(identify(message))
        self.lines = numpy.array(lines, dtype=numpy.int64)
        self.marks = numpy.array(marks, dtype=numpy.int64)
        self.present = numpy.bincount(self.lines, minlength=source.size)

    def mark_by_line(self, size: int):
        marks = numpy.zeros(size, dtype=numpy.int64)
        marks[self.lines] = self.marks
        return marks

    def out_of_order(self, source: Source, skip) -> int:
        """Records behind a later line of the same key; a key has one partition, whose order is the offsets'."""
        lines = self.lines[~skip[self.lines]]
        by_key = numpy.argsort(source.columns["household_id"][lines], kind="stable")
        keys, ordered = source.columns["household_id"][lines][by_key], lines[by_key]
        return int(((numpy.diff(keys) == 0) & (numpy.diff(ordered) < 0)).sum())


def quarantine_identity(wrong: Wrong, originals: dict):
    """As [`identity`], without the headers that Weir added, which are checked and kept for the summary instead."""

    def identify(message) -> int:
        headers = message.headers() or []
        kept = len(headers)
        while kept and headers[kept - 1][0].startswith(ADDED):
            kept -= 1
        added = dict(headers[kept:])
        needed = {"weir.contract", "weir.violations"} | {f"weir.source.{p}" for p in ("topic", "partition", "offset")}
        if not needed <= set(added):
            wrong.say("headers are missing", f"{place(message)}: {', '.join(sorted(needed - set(added)))}")
            return 0
        came_from = tuple(added[f"weir.source.{part}"].decode() for part in ("topic", "partition", "offset"))
        originals[came_from] = (message.key(), message.value(), headers[:kept], message.timestamp())
        for violation in json.loads(added["weir.violations"])["violations"]:
            reason = f"{violation.get('code')} {violation.get('rule')}"
            quarantine_identity.reasons[reason] = quarantine_identity.reasons.get(reason, 0) + 1
        return hash((message.key(), message.value(), tuple(headers[:kept]), message.timestamp(), message.partition()))

    return identify


quarantine_identity.reasons = {}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--kafka", required=True)
    arguments.add_argument("--registry", required=True)
    arguments.add_argument("--group", help="wait until this consumer group has no lag")
    arguments.add_argument("--input", type=pathlib.Path, default=pathlib.Path(".weir/retail/transactions.csv"))
    arguments.add_argument("--replayed", action="store_true", help="lines of zero units were replayed")
    given = arguments.parse_args()

    if given.group:
        wait_for_group(given.kafka, given.group, f"{TOPIC}.landing")
    wrong = Wrong()
    source = Source(given.input)
    schemas = Schemas(given.registry)
    originals = {}
    identify = quarantine_identity(wrong, originals)
    quarantine = Topic(source, schemas, given.kafka, f"{TOPIC}.quarantine", wrong, identify)
    product = Topic(source, schemas, given.kafka, TOPIC, wrong)
    if given.replayed:
        return replayed(source, product, quarantine, wrong)

    def landing_identity(message) -> int:
        here = (message.topic(), str(message.partition()), str(message.offset()))
        original = originals.pop(here, None)
        if original is not None:
            mine = (message.key(), message.value(), message.headers() or [], message.timestamp())
            if mine != original:
                wrong.say("quarantined record differs from its landing record", place(message))
        return identity(message)

    landing = Topic(source, schemas, given.kafka, f"{TOPIC}.landing", wrong, landing_identity)
    for here in originals:
        wrong.say("quarantined record without a landing record", " ".join(here))

    no_line = numpy.zeros(source.size, dtype=bool)
    wrong.add("line is not in the landing topic", (landing.present == 0).sum())
    wrong.add("line is in the landing topic more than once", (landing.present > 1).sum())
    wrong.add("landing topic is out of order", landing.out_of_order(source, no_line))
    together = product.present + quarantine.present
    wrong.add("line is in neither topic", (together == 0).sum())
    within = source.columns["coupon_match_disc"] <= source.columns["coupon_disc"]
    should_pass = (source.columns["quantity"] > 0) & within
    wrong.add("line is accepted against the rules", (product.present.astype(bool) & ~should_pass).sum())
    wrong.add("line is quarantined against the rules", (quarantine.present.astype(bool) & should_pass).sum())
    landed = landing.mark_by_line(source.size)
    for topic in (product, quarantine):
        changed = topic.marks != landed[topic.lines]
        wrong.add(f"record of {topic.name} differs from its landing record", changed.sum())

    for reason, count in sorted(quarantine_identity.reasons.items()):
        print(f"quarantined for {reason}: {count}")
    duplicates = int(numpy.maximum(together - 1, 0).sum())
    out_of_order = product.out_of_order(source, no_line) + quarantine.out_of_order(source, no_line)
    return finish(wrong, len(product.lines), len(quarantine.lines), duplicates, out_of_order)


def replayed(source: Source, product: Topic, quarantine: Topic, wrong: Wrong) -> int:
    accepted, held = product.present.astype(bool), quarantine.present.astype(bool)
    should_pass = source.columns["coupon_match_disc"] <= source.columns["coupon_disc"]
    wrong.add("line is in neither topic", (~accepted & ~held).sum())
    wrong.add("line is accepted against the rules", (accepted & ~should_pass).sum())
    wrong.add("line stays in quarantine against the rules", (held & ~accepted & should_pass).sum())
    was_held = quarantine.mark_by_line(source.size)
    print(f"replayed: {int((accepted & held).sum())}")
    again = (accepted & held)[product.lines] & (product.marks != 0)
    values = numpy.count_nonzero(again & (product.marks == was_held[product.lines]))
    print(f"replayed without any change to key, value, headers, timestamp and partition: {values}")
    duplicates = int(numpy.maximum(product.present - 1, 0).sum())
    out_of_order = product.out_of_order(source, held)
    return finish(wrong, int(accepted.sum()), int((held & ~accepted).sum()), duplicates, out_of_order)


def finish(wrong: Wrong, accepted: int, quarantined: int, duplicates: int, out_of_order: int) -> int:
    for kind, count in wrong.counts.items():
        print(f"wrong: {kind}: {count} in all")
    print(f"accepted={accepted} quarantined={quarantined} duplicates={duplicates} out_of_order={out_of_order}")
    return 1 if wrong.counts or duplicates or out_of_order else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            sys.exit(2)
        raise
