"""The cases of Kafka's own command-line tools against one broker.

usage: python conformance/clients/tools <bootstrap> [word in a case's name]...
Each tool is a Java program of its own that takes a second to start, so a case asks much of few calls.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "python"))
import suite  # noqa: E402
from suite import Failed, case, expect, wait_for  # noqa: E402

LIBS = HERE.parent.parent.parent / ".weir" / "clients" / "tools" / "libs"
# Classes as Java lays them out once read, made by the first tool that runs here; the others then start in half the time.
CLASSES_READ = LIBS.parent / "classes.jsa"
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-Xlog:disable", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"]
CLASSES = {
    "acls": "org.apache.kafka.tools.AclCommand",
    "api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "groups": "org.apache.kafka.tools.GroupsCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}


def command(broker, name, *arguments):
    shared = [f"-XX:SharedArchiveFile={CLASSES_READ}"] if CLASSES_READ.exists() else []
    # One of them wants its subcommand first.
    first = 1 if name == "cluster" else 0
    address = ["--bootstrap-server", broker.bootstrap]
    return [*JAVA, *shared, "-cp", f"{LIBS}/*", CLASSES[name], *arguments[:first], *address, *arguments[first:]]


def read_classes(bootstrap):
    if not CLASSES_READ.exists():
        arguments = [f"-XX:ArchiveClassesAtExit={CLASSES_READ}", "-cp", f"{LIBS}/*", CLASSES["consumer-groups"]]
        run = [*JAVA, *arguments, "--bootstrap-server", bootstrap, "--list"]
        subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)


def tool(broker, name, *arguments, text="", fails=False):
    """What a tool writes; of one that must fail, all it says."""
    run = subprocess.run(command(broker, name, *arguments), input=text, capture_output=True, text=True, timeout=300)
    if fails:
        expect(f"{name} failed", run.returncode != 0, True)
        return run.stdout + run.stderr
    if run.returncode != 0:
        raise Failed(f"{name} {' '.join(arguments)}: {run.stderr or run.stdout}")
    return run.stdout


def exception(text):
    """The first error a tool names, without its message."""
    found = [name for name in re.findall(r"\b[A-Za-z]+(?:Exception|Error)\b", text) if name != "ExecutionException"]
    return found[0] if found else text.strip().splitlines()[0]


def table(text):
    """A table as rows of words, without its head and without empty lines."""
    return [line.split() for line in text.splitlines() if line.strip()][1:]


@case
def topics(broker):
    name = broker.name("topics")
    made = tool(broker, "topics", "--create", "--topic", name, "--partitions", "2", "--config", "retention.ms=5555")
    again = exception(tool(broker, "topics", "--create", "--topic", name, fails=True))
    tool(broker, "topics", "--alter", "--topic", name, "--partitions", "3")
    lines = tool(broker, "topics", "--describe", "--topic", name).splitlines()
    first = re.sub(r"TopicId: \S+", "TopicId: ID", lines[0]).replace(name, "TOPIC").split()
    # Apache Kafka shows settings of the whole broker among those of the topic.
    first[-1] = ",".join(each for each in first[-1].split(",") if not each.startswith("min.insync"))
    listed = name in tool(broker, "topics", "--list", "--exclude-internal").split()
    tool(broker, "topics", "--delete", "--topic", name)
    absent = exception(tool(broker, "topics", "--describe", "--topic", name, fails=True))
    return f"{made.strip().replace(name, 'TOPIC')} again={again} {' '.join(first)} lines={len(lines)} listed={listed} gone={absent}"


@case
def configs(broker):
    name = broker.topic("configs")
    of = ["--entity-type", "topics", "--entity-name", name]
    tool(broker, "configs", "--alter", *of, "--add-config", "cleanup.policy=[compact,delete],segment.ms=60000")
    tool(broker, "configs", "--alter", *of, "--delete-config", "segment.ms")
    found = tool(broker, "configs", "--describe", *of).splitlines()[1:]
    wrong = exception(tool(broker, "configs", "--alter", *of, "--add-config", "no.such=1", fails=True))
    return f"set={[line.strip().split(' ')[0] for line in found]} wrong={wrong}"


@case
def configs_of_quotas(broker):
    of = ["--entity-type", "clients", "--entity-name", broker.name("quota")]
    tool(broker, "configs", "--alter", *of, "--add-config", "producer_byte_rate=1024")
    found = tool(broker, "configs", "--describe", *of)
    return found.strip().replace(broker.name("quota"), "CLIENT")


@case
def console(broker):
    topic = broker.topic("console")
    marks = ["--reader-property", "parse.key=true", "--reader-property", "parse.headers=true", "--reader-property", "null.marker=NULL"]
    text = "a:1,b:2\tkey\tvalue\nNULL\tk2\tv2\nNULL\tk3\tNULL\n"
    tool(broker, "console-producer", "--topic", topic, *marks, "--compression-codec", "zstd", text=text)
    show = ["--formatter-property", "print.key=true", "--formatter-property", "print.offset=true", "--formatter-property", "print.headers=true"]
    read = tool(broker, "console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000", *show)
    return " | ".join(line.replace("\t", " ") for line in read.splitlines())


@case
def consumer_groups(broker):
    topic, group = broker.topic("groups", partitions=2), broker.name("groups")
    for part in (0, 1):
        broker.send(topic, [{"value": b"%d" % at, "partition": part} for at in range(5)])
    read = ["--topic", topic, "--group", group, "--from-beginning", "--max-messages", "10", "--timeout-ms", "20000"]
    tool(broker, "console-consumer", *read)
    of = ["--group", group]

    def describe():
        rows = table(tool(broker, "consumer-groups", "--describe", *of))
        return sorted(" ".join(row[2:6]) for row in rows if row[0] == group)

    wait_for("nobody", lambda: table(tool(broker, "consumer-groups", "--describe", *of, "--state"))[0][-2:] == ["Empty", "0"])
    before = describe()
    tool(broker, "consumer-groups", "--reset-offsets", *of, "--topic", f"{topic}:0", "--to-offset", "2", "--execute")
    tool(broker, "consumer-groups", "--reset-offsets", *of, "--topic", f"{topic}:1", "--shift-by", "-4", "--execute")
    after = describe()
    tool(broker, "consumer-groups", "--delete-offsets", *of, "--topic", f"{topic}:1")
    fewer = describe()
    removed = tool(broker, "consumer-groups", "--delete", *of).strip().replace(group, "GROUP")
    absent = exception(tool(broker, "consumer-groups", "--delete", *of))
    return f"before={before} after={after} fewer={fewer} {removed} absent={absent}"


@case
def group_with_members(broker):
    topic, group = broker.topic("members"), broker.name("members")
    reader = broker.consumer(group, client_id="someone")
    owned = []
    reader.subscribe([topic], on_assign=lambda _, parts: owned.extend(parts))
    wait_for("a share", lambda: reader.poll(0.1) or owned)
    rows = table(tool(broker, "consumer-groups", "--describe", "--group", group, "--members", "--verbose"))
    listed = [line for line in tool(broker, "groups", "--list").splitlines() if line.startswith(group)]
    busy = exception(tool(broker, "consumer-groups", "--delete", "--group", group))
    reader.close()
    row = rows[0]
    return f"{row[2]} {row[3]} {row[4]} {row[-1].replace(topic, 'TOPIC')} listed={listed[0].split()[1:]} delete={busy}"


@case
def get_offsets(broker):
    topic = broker.topic("offsets", partitions=2, retention_ms=-1)
    broker.send(topic, [{"value": b"v", "partition": 1, "timestamp": 1_700_000_000_000 + at} for at in range(5)])
    shown = {}
    for when in ("-1", "-2", "-3", "1700000000002"):
        shown[when] = [line.replace(topic, "TOPIC") for line in tool(broker, "get-offsets", "--topic", topic, "--time", when).split()]
    return " ".join(f"{when}={lines}" for when, lines in shown.items())


@case
def delete_records(broker):
    topic = broker.topic("records")
    broker.send(topic, [{"value": b"v"} for _ in range(10)])
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"partitions": [{"topic": topic, "partition": 0, "offset": 6}], "version": 1}, file)
        file.flush()
        said = tool(broker, "delete-records", "--offset-json-file", file.name)
    return f"{said.splitlines()[-1].replace(topic, 'TOPIC').strip()} left={len(broker.read(topic))}"


@case
def transactions(broker):
    topic = broker.topic("transactions")
    one = broker.producer(transactional_id=topic, transaction_timeout_ms=60_000)
    one.init_transactions(30)
    one.begin_transaction()
    one.produce(topic, value=b"v")
    one.flush(30)
    listed = [row for row in table(tool(broker, "transactions", "list")) if row[0] == topic]
    described = table(tool(broker, "transactions", "describe", "--transactional-id", topic))
    producers = table(tool(broker, "transactions", "describe-producers", "--topic", topic, "--partition", "0"))
    hanging = table(tool(broker, "transactions", "find-hanging", "--broker-id", "1", "--max-transaction-timeout", "0"))
    hanging = [row for row in hanging if row and row[0] == topic]
    start = ["--topic", topic, "--partition", "0", "--start-offset", "0"]
    tool(broker, "transactions", "abort", *start)
    broker.send(topic, [{"value": b"after"}])
    row = described[0]
    state = [row[0], row[3], row[4], row[5], row[8]] if len(row) > 8 else row
    return (
        f"state={listed[0][-1]} described={[each.replace(topic, 'TOPIC') for each in state if not each.isdigit() or len(each) < 6]} "
        f"producer={producers[0][1:3]} open_since={producers[0][-1]} hanging={len(hanging)} read={broker.values(topic, committed=True)}"
    )


@case
def perf_tests(broker):
    topic = broker.topic("perf", partitions=2)
    sent = tool(
        broker,
        "producer-perf-test",
        *("--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1"),
        *("--command-property", "acks=all", "--command-property", "compression.type=lz4"),
    )
    read = tool(broker, "consumer-perf-test", "--topic", topic, "--num-records", "20000", "--timeout", "20000", "--hide-header")
    return f"{sent.splitlines()[-1].split(',')[0]} read={read.split(',')[4].strip()}"


@case
def perf_test_with_transactions(broker):
    topic = broker.topic("perf-transactions")
    tool(
        broker,
        "producer-perf-test",
        *("--topic", topic, "--num-records", "5000", "--record-size", "100", "--throughput", "-1"),
        *("--transaction-duration-ms", "20", "--transactional-id", topic),
    )
    return f"committed={len(broker.read(topic, committed=True))}"


@case
def verifiable_producer(broker):
    topic = broker.topic("verifiable", partitions=2)
    lines = tool(broker, "verifiable-producer", "--topic", topic, "--max-messages", "500", "--acks", "-1").splitlines()
    events = [json.loads(line) for line in lines]
    acked = sorted(int(each["value"]) for each in events if each["name"] == "producer_send_success")
    expect("acknowledged", acked, list(range(500)))
    total = [each for each in events if each["name"] == "tool_data"][0]
    return f"sent={total['sent']} acked={total['acked']} read={len(broker.read(topic))}"


@case
def verifiable_consumer(broker):
    topic, group = broker.topic("consumed", partitions=2), broker.name("consumed")
    broker.send(topic, [{"value": b"%d" % at, "partition": at % 2} for at in range(500)])
    arguments = ["--topic", topic, "--group-id", group, "--max-messages", "500", "--session-timeout", "6000", "--reset-policy", "earliest"]
    events = [json.loads(line) for line in tool(broker, "verifiable-consumer", *arguments).splitlines()]
    read = sum(each["count"] for each in events if each["name"] == "records_consumed")
    committed = [each for each in events if each["name"] == "offsets_committed"]
    return f"read={read} committed={all(each['success'] for each in committed) and len(committed) > 0}"


@case
def verifiable_consumers_share(broker):
    """The second takes over what the first, killed without a word, held."""
    topic, group = broker.topic("shared", partitions=4), broker.name("shared")
    arguments = ["--topic", topic, "--group-id", group, "--session-timeout", "6000", "--reset-policy", "earliest"]
    started = []

    def start():
        out = tempfile.TemporaryFile("w+")
        child = subprocess.Popen(command(broker, "verifiable-consumer", *arguments), stdout=out, stderr=subprocess.DEVNULL)
        started.append((child, out))

    def held(at):
        parts = set()
        out = started[at][1]
        out.seek(0)
        for line in out.read().splitlines():
            event = json.loads(line) if line.endswith("}") else {}
            moved = {each["partition"] for each in event.get("partitions", [])}
            if event.get("name") == "partitions_assigned":
                parts |= moved
            elif event.get("name") == "partitions_revoked":
                parts -= moved
        return len(parts)

    try:
        start()
        wait_for("all for one", lambda: held(0) == 4)
        start()
        wait_for("two shares", lambda: held(0) == 2 and held(1) == 2)
        started[0][0].send_signal(signal.SIGKILL)
        wait_for("the share of the dead", lambda: held(1) == 4)
    finally:
        for child, out in started:
            child.kill()
            child.wait()
            out.close()
    return "shares=4 2+2 4"


@case
def cluster_and_features(broker):
    id_line = tool(broker, "cluster", "cluster-id").strip()
    features = [line for line in tool(broker, "features", "describe").splitlines() if "transaction.version" in line]
    level = re.search(r"FinalizedVersionLevel: (\d+)", features[0]).group(1) if features else "none"
    asked = tool(broker, "api-versions")
    return f"{re.sub(r'[A-Za-z0-9_-]{22}$', 'ID', id_line)} transaction.version={level} api_versions={'Produce(0)' in asked}"


@case
def log_dirs_and_elections(broker):
    topic = broker.topic("dirs")
    broker.send(topic, [{"value": b"v"}])
    said = tool(broker, "log-dirs", "--describe", "--topic-list", topic).splitlines()[-1]
    parts = [part for dirs in json.loads(said)["brokers"] for each in dirs["logDirs"] for part in each["partitions"]]
    elected = tool(broker, "leader-election", "--election-type", "preferred", "--topic", topic, "--partition", "0")
    return f"partitions={len(parts)} size={parts[0]['size'] > 0} election={elected.strip().replace(topic, 'TOPIC')}"


read_classes(sys.argv[1])
suite.run("tools", sys.argv[1], sys.argv[2:], parallel=3)
