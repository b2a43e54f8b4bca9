"""Cases of single records: what is sent comes back, in order, once, and what must be refused is refused."""

import time

from confluent_kafka import OFFSET_END, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TopicPartition
from confluent_kafka.admin import OffsetSpec
from suite import case, expect, refused, wait_for

HOUR = 3_600_000


def shape(message):
    return message.key(), message.value(), message.headers()


def assorted():
    """Keys, values and headers of every kind, and enough repetition for a codec to bite."""
    return [
        {"key": b"k", "value": b"v"},
        {"key": None, "value": b"no key"},
        {"key": b"tombstone", "value": None},
        {"key": b"", "value": b""},
        {"key": b"\x00\xff", "value": bytes(range(256)) * 20},
        {"key": b"h", "value": b"headers", "headers": [("a", b"1"), ("a", b"2"), ("null", None), ("", b"")]},
        {"key": "\u00fc\u4e2d".encode(), "value": "\U0001f4a1".encode(), "headers": [("h\u00fc", "\u4e2d".encode())]},
    ] + [{"key": b"%d" % at, "value": b"repeat " * 40} for at in range(200)]


def round_trip(broker, codec):
    topic, records = broker.topic(codec), assorted()
    offsets = broker.send(topic, records, compression_type=codec)
    expect("offsets", offsets, list(range(len(records))))
    got = [shape(message) for message in broker.read(topic)]
    want = [(each["key"], each["value"], each.get("headers")) for each in records]
    expect("records", got, want)
    return f"records={len(got)}"


@case
def produce_consume_none(broker):
    return round_trip(broker, "none")


@case
def produce_consume_gzip(broker):
    return round_trip(broker, "gzip")


@case
def produce_consume_snappy(broker):
    return round_trip(broker, "snappy")


@case
def produce_consume_lz4(broker):
    return round_trip(broker, "lz4")


@case
def produce_consume_zstd(broker):
    return round_trip(broker, "zstd")


@case
def topic_compression_type(broker):
    topic = broker.topic("recompressed", compression_type="zstd")
    broker.send(topic, assorted(), compression_type="gzip")
    want = [(each["key"], each["value"], each.get("headers")) for each in assorted()]
    expect("records", [shape(message) for message in broker.read(topic)], want)
    return f"records={len(want)}"


@case
def acks_of_every_kind(broker):
    seen = []
    for acks in ("0", "1", "all"):
        topic = broker.topic(f"acks-{acks}")
        broker.send(topic, [{"value": b"%d" % at} for at in range(50)], acks=acks)
        wait_for("the records", lambda: len(broker.read(topic)) == 50)
        seen.append(f"{acks}={len(broker.read(topic))}")
    return " ".join(seen)


@case
def big_record(broker):
    topic = broker.topic("big")
    value = bytes(at * 31 % 251 for at in range(900_000))
    broker.send(topic, [{"value": b"before"}, {"value": value}, {"value": b"after"}])
    expect("records", [m.value() == value or m.value() for m in broker.read(topic)], [b"before", True, b"after"])
    return "bytes=900000"


@case
def big_record_small_fetch(broker):
    """One record above fetch.max.bytes must still come: at least one batch is answered."""
    topic = broker.topic("big-fetch")
    value = b"x" * 500_000
    broker.send(topic, [{"value": value}, {"value": b"after"}], linger_ms=0)
    consumer = broker.consumer(fetch_max_bytes=100_000, message_max_bytes=100_000, max_partition_fetch_bytes=10_000)
    consumer.assign([TopicPartition(topic, 0, 0)])
    got = []
    wait_for("both", lambda: (m := consumer.poll(0.1)) and not m.error() and got.append(len(m.value())) or len(got) == 2)
    consumer.close()
    return f"sizes={got}"


@case
def create_time(broker):
    topic = broker.topic("create-time")
    now = int(time.time() * 1000)
    stamps = [now - HOUR, now - 2 * HOUR, now]
    broker.send(topic, [{"value": b"t", "timestamp": each} for each in stamps])
    got = [message.timestamp() for message in broker.read(topic)]
    expect("timestamps", got, [(TIMESTAMP_CREATE_TIME, each) for each in stamps])
    return "kept=3"


@case
def log_append_time(broker):
    topic = broker.topic("append-time", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    broker.send(topic, [{"value": b"t", "timestamp": 1} for _ in range(3)], compression_type="lz4")
    got = [message.timestamp() for message in broker.read(topic)]
    expect("kinds", {kind for kind, _ in got}, {TIMESTAMP_LOG_APPEND_TIME})
    expect("broker's clock", all(before - 1000 <= stamp <= before + 60_000 for _, stamp in got), True)
    return "stamped=3"


@case
def timestamp_too_far_away(broker):
    topic = broker.topic("far", message_timestamp_before_max_ms=HOUR, message_timestamp_after_max_ms=HOUR)
    now = int(time.time() * 1000)
    reports = []
    for stamp in (now - 2 * HOUR, now, now + 2 * HOUR):
        reports += broker.send(topic, [{"value": b"t", "timestamp": stamp}], retries=0)
    return f"reports={reports}"


@case
def look_up_by_time(broker):
    topic = broker.topic("times")
    base = int(time.time() * 1000) - 10 * HOUR
    for batch in range(5):
        broker.send(topic, [{"value": b"t", "timestamp": base + (batch * 10 + at) * 1000} for at in range(10)])
    consumer = broker.consumer()

    def at(stamp):
        return consumer.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=10)[0].offset

    got = [at(base - 1), at(base), at(base + 1), at(base + 25_000), at(base + 25_001), at(base + 49_000)]
    expect("offsets", got, [0, 0, 1, 25, 26, 49])
    expect("after the last", at(base + 49_001), OFFSET_END)
    consumer.close()
    return f"offsets={got} after=end"


@case
def look_up_out_of_order_times(broker):
    topic = broker.topic("mixed-times")
    base = int(time.time() * 1000) - 10 * HOUR
    for step in (5, 3, 9, 1, 7):
        broker.send(topic, [{"value": b"t", "timestamp": base + step * 1000}])
    consumer = broker.consumer()
    got = [
        consumer.offsets_for_times([TopicPartition(topic, 0, base + step * 1000)], timeout=10)[0].offset
        for step in range(1, 10)
    ]
    consumer.close()
    found = broker.admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.max_timestamp()})
    result = found[TopicPartition(topic, 0)].result(20)
    expect("largest timestamp", result.timestamp, base + 9000)
    return f"offsets={got} max={result.offset}"


@case
def list_offsets_of_every_kind(broker):
    topic = broker.topic("offsets", retention_ms=-1)
    specs = {"earliest": OffsetSpec.earliest(), "latest": OffsetSpec.latest(), "max": OffsetSpec.max_timestamp()}

    def offsets():
        partition = TopicPartition(topic, 0)
        results = {name: broker.admin.list_offsets({partition: spec})[partition].result(20) for name, spec in specs.items()}
        return " ".join(f"{name}={each.offset}" for name, each in results.items())

    empty = offsets()
    broker.send(topic, [{"value": b"v", "timestamp": 1_700_000_000_000 + at % 5} for at in range(7)])
    return f"empty: {empty}; seven: {offsets()}"


@case
def offset_out_of_range(broker):
    topic = broker.topic("range")
    broker.send(topic, [{"value": b"v"} for _ in range(5)])
    expect("read at the end", len(broker.read(topic, start=5)), 0)
    return refused(lambda: broker.read(topic, start=99))


@case
def delete_records(broker):
    topic = broker.topic("deleted-records", partitions=2)
    for partition in (0, 1):
        broker.send(topic, [{"value": b"%d" % at, "partition": partition} for at in range(10)])
    part = [TopicPartition(topic, 0, 4), TopicPartition(topic, 1, OFFSET_END)]
    low = [future.result(20).low_watermark for future in broker.admin.delete_records(part).values()]
    consumer = broker.consumer()
    marks = [consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=10) for each in (0, 1)]
    consumer.close()
    left = [(m.partition(), m.offset()) for m in broker.read(topic)]
    past = TopicPartition(topic, 0, 99)
    beyond = refused(lambda: broker.admin.delete_records([past])[past].result(20))
    return f"low={low} marks={marks} left={len(left)} first={left[0]} beyond={beyond}"


@case
def too_large_for_the_topic(broker):
    topic = broker.topic("small", max_message_bytes=1000)
    reports = broker.send(topic, [{"value": b"x" * 5000}, {"value": b"fits"}], linger_ms=0, batch_num_messages=1)
    expect("left", [m.value() for m in broker.read(topic)], [b"fits"])
    return f"reports={reports}"


@case
def key_missing_on_compacted_topic(broker):
    topic = broker.topic("keyless", cleanup_policy="compact")
    records = [{"key": b"a", "value": b"1"}, {"value": b"2"}, {"key": b"c", "value": b"3"}, {"value": b"4"}]
    reports = broker.send(topic, records, linger_ms=200, retries=0)
    return f"one={broker.send(topic, records[1:2])} batch={reports} left={len(broker.read(topic))}"


@case
def compaction(broker):
    topic = broker.topic(
        "compacted",
        cleanup_policy="compact",
        segment_ms=200,
        min_cleanable_dirty_ratio="0.01",
        delete_retention_ms=100,
        max_compaction_lag_ms=500,
    )
    for generation in range(5):
        broker.send(topic, [{"key": b"%d" % key, "value": b"%d" % generation} for key in range(100)], compression_type="lz4")
    broker.send(topic, [{"key": b"%d" % key, "value": None} for key in range(50)])

    def compacted():
        # Each of these may close the segment before it; only closed ones are compacted.
        broker.send(topic, [{"key": b"roll", "value": b"roll"}])
        time.sleep(0.3)
        seen = [(m.key(), m.value()) for m in broker.read(topic) if m.key() != b"roll"]
        return seen if len(seen) == 50 else None

    kept = wait_for("one record per key and no tombstone", compacted, 90)
    expect("order", kept, [(b"%d" % key, b"4") for key in range(50, 100)])
    return f"keys={len(kept)}"


@case
def retention_by_time(broker):
    topic = broker.topic("short", retention_ms=500, segment_ms=200)
    broker.send(topic, [{"value": b"old"} for _ in range(10)])
    consumer = broker.consumer()
    partition = TopicPartition(topic, 0)
    wait_for("the old to go", lambda: consumer.get_watermark_offsets(partition, timeout=10)[0] >= 10, 90)
    consumer.close()
    offset = broker.send(topic, [{"value": b"new"}])
    expect("offset", offset, [10])
    return "offset after=10"


@case
def retention_by_size(broker):
    topic = broker.topic("narrow", retention_bytes=50_000, segment_bytes=1_048_576)
    for _ in range(4):
        broker.send(topic, [{"value": b"x" * 1000} for _ in range(1000)])
    consumer = broker.consumer()
    partition = TopicPartition(topic, 0)
    wait_for("the old to go", lambda: consumer.get_watermark_offsets(partition, timeout=10)[0] > 0, 90)
    end = consumer.get_watermark_offsets(partition, timeout=10)[1]
    consumer.close()
    return f"end={end}"


@case
def idempotent_producer(broker):
    topic = broker.topic("idempotent", partitions=3)
    records = [{"value": b"%d" % at, "partition": at % 3} for at in range(30_000)]
    broker.send(topic, records, enable_idempotence=True, linger_ms=1, compression_type="lz4")
    got = broker.read(topic)
    for partition in range(3):
        values = [int(m.value()) for m in got if m.partition() == partition]
        expect(f"partition {partition}", values, list(range(partition, 30_000, 3)))
    return f"records={len(got)}"


@case
def unknown_topic(broker):
    reports = broker.send(broker.name("nowhere"), [{"value": b"v"}], message_timeout_ms=8000)
    consumer = broker.consumer()
    consumer.subscribe([broker.name("nowhere")])
    message = wait_for("an error", lambda: consumer.poll(0.5), 15)
    consumer.close()
    return f"produce={reports} consume={message.error().name()}"


@case
def topic_deleted_and_made_again(broker):
    topic = broker.topic("again")
    broker.send(topic, [{"value": b"first"} for _ in range(3)])
    broker.admin.delete_topics([topic])[topic].result(20)
    wait_for("the topic to go", lambda: topic not in broker.admin.list_topics(timeout=10).topics)
    broker.topic("again")
    return f"offset={broker.send(topic, [{'value': b'second'}])} values={broker.values(topic)}"
