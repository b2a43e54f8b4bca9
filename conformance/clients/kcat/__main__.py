"""The cases of kcat (Debian's, with an older librdkafka than ours) against one broker.

usage: python conformance/clients/kcat <bootstrap> [word in a case's name]...
kcat cannot make topics, so the Python client does.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))
import suite  # noqa: E402
from suite import Failed, case, expect, wait_for  # noqa: E402


def kcat(broker, *arguments, text="", fails=False):
    """What kcat writes; of one that must fail, its last words."""
    run = subprocess.run(
        ["kcat", "-b", broker.bootstrap, "-m", "20", *arguments], input=text, capture_output=True, text=True, timeout=60
    )
    if fails:
        expect("failed", run.returncode != 0, True)
        return run.stderr
    if run.returncode != 0:
        raise Failed(f"kcat {' '.join(arguments)}: {run.stderr}")
    return run.stdout


def consume(broker, topic, *arguments):
    return kcat(broker, "-C", "-q", "-e", "-t", topic, "-o", "beginning", *arguments)


@case
def list_metadata(broker):
    topic = broker.topic("metadata", partitions=3)
    lines = kcat(broker, "-L", "-t", topic).splitlines()
    return " | ".join(line.split(" at ")[0].strip().replace(topic, "TOPIC") for line in lines[1:])


def round_trip(broker, codec):
    topic = broker.topic(codec)
    text = "".join(f"key-{at}:value {'repeat ' * 20}{at}\n" for at in range(300))
    kcat(broker, "-P", "-t", topic, "-K", ":", "-z", codec, text=text)
    expect("records", consume(broker, topic, "-f", "%k:%s\n"), text)
    return "records=300"


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
def nulls_and_headers(broker):
    topic = broker.topic("nulls")
    kcat(broker, "-P", "-t", topic, "-K", ":", "-Z", "-H", "a=1", "-H", "b=two", text="key:value\ngone:\n:no key\n")
    return consume(broker, topic, "-Z", "-f", "%o %K %S %h|").strip()


@case
def offsets(broker):
    topic = broker.topic("offsets")
    kcat(broker, "-P", "-t", topic, text="".join(f"{at}\n" for at in range(10)))
    seen = []
    for offset in ("beginning", "end", "7", "-2", "99"):
        read = subprocess.run(
            ["kcat", "-b", broker.bootstrap, "-C", "-q", "-e", "-t", topic, "-p", "0", "-o", offset, "-X", "auto.offset.reset=error"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        seen.append(f"{offset}={read.stdout.split()}/{read.returncode}")
    return " ".join(seen).replace(" ", "").replace("'", "")


@case
def timestamps(broker):
    topic = broker.topic("timestamps", retention_ms=-1)
    for at in range(3):
        broker.send(topic, [{"value": b"%d" % at, "timestamp": 1_700_000_000_000 + at * 1000}])
    asked = [1_699_999_999_000, 1_700_000_000_001, 1_700_000_002_001]
    found = [kcat(broker, "-Q", "-t", f"{topic}:0:{stamp}").split("offset ")[1].strip() for stamp in asked]
    since = consume(broker, topic, "-p", "0", "-o", "s@1700000001000", "-f", "%T ").strip()
    return f"found={found} since={since}"


@case
def group(broker):
    topic, name = broker.topic("group", partitions=2), broker.name("group")
    kcat(broker, "-P", "-t", topic, "-p", "0", text="one\ntwo\n")
    kcat(broker, "-P", "-t", topic, "-p", "1", text="three\n")

    def read():
        return sorted(kcat(broker, "-G", name, "-q", "-e", "-X", "auto.offset.reset=earliest", topic).split())

    first = read()
    kcat(broker, "-P", "-t", topic, "-p", "1", text="four\n")
    return f"first={first} second={read()}"


@case
def idempotent_producer(broker):
    topic = broker.topic("idempotent")
    text = "".join(f"{at}\n" for at in range(5000))
    kcat(broker, "-P", "-t", topic, "-X", "enable.idempotence=true", "-X", "batch.num.messages=50", text=text)
    expect("records", consume(broker, topic), text)
    return "records=5000"


@case
def transaction(broker):
    topic = broker.topic("transaction")
    kcat(broker, "-P", "-t", topic, "-X", f"transactional.id={topic}", text="one\ntwo\n")
    kcat(broker, "-P", "-t", topic, "-X", f"transactional.id={topic}", text="three\n")
    ends = consume(broker, topic, "-X", "isolation.level=read_committed", "-f", "%o=%s ").strip()
    return f"{ends}"


@case
def killed_in_transaction(broker):
    topic = broker.topic("killed")
    child = subprocess.Popen(
        ["kcat", "-b", broker.bootstrap, "-P", "-t", topic, "-X", f"transactional.id={topic}", "-X", "linger.ms=1"], stdin=subprocess.PIPE
    )
    try:
        child.stdin.write(b"of the dead\n" * 1000)
        child.stdin.flush()
        wait_for("records", lambda: len(broker.read(topic)) > 0)
    finally:
        child.kill()
        child.wait()
    kcat(broker, "-P", "-t", topic, "-X", f"transactional.id={topic}", text="heir\n")
    return consume(broker, topic, "-X", "isolation.level=read_committed").strip()


@case
def too_large(broker):
    topic = broker.topic("large", max_message_bytes=1000)
    words = kcat(broker, "-P", "-t", topic, text="x" * 5000 + "\n", fails=True)
    return words.split("message: ")[-1].strip()


@case
def unknown_topic(broker):
    words = kcat(broker, "-C", "-e", "-t", broker.name("nowhere"), fails=True)
    return words.split(": ", 1)[-1].strip().replace(broker.run, "RUN").splitlines()[-1]


@case
def waits_at_the_end(broker):
    """A reader at the end gets what comes later."""
    topic = broker.topic("tail")
    reader = subprocess.Popen(["kcat", "-b", broker.bootstrap, "-C", "-u", "-q", "-t", topic, "-o", "beginning", "-c", "1"], stdout=subprocess.PIPE, text=True)
    try:
        kcat(broker, "-P", "-t", topic, text="later\n")
        return reader.communicate(timeout=30)[0].strip()
    finally:
        reader.kill()


suite.run("kcat", sys.argv[1], sys.argv[2:])
