"""Runs the perf tools on both brokers in turns and prints the ratios of their medians. Started by benches/broker/run.

Rates are records per second as the tools themselves state them; a consumer's is that of fetching, without the time to join.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

SIZES = {"160": 160, "1k": 1024}
CODECS = ("none", "lz4")
MEMORY_GOAL = 0.2


class Broker:
    def __init__(self, name, bootstrap, pid):
        self.name, self.bootstrap, self.pid = name, bootstrap, int(pid)
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.rates, self.resident = {}, []

    def create(self, topic):
        self.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)

    def delete(self, topic):
        self.admin.delete_topics([topic])[topic].result(30)

    def look(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        self.resident.append(int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) / 1024)


def warm(folder, megabytes):
    """Has the machine's page cache take as much as a run will: on a virtual machine the first touch of a page costs several times the write,
    and a broker that keeps deleted files for a while would leave that to the other."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(megabytes):
            file.write(bytes(1_000_000))


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def rate(pattern, text, count):
    """The last rate in a tool's words; a run that lost a record must not pass for a fast one."""
    found = re.findall(pattern, text)
    if not found or not any(str(count) in re.split(r"\D+", line) for line in text.splitlines()):
        sys.exit(f"{count} records were asked for, the tool says:\n{text}")
    return float(found[-1])


def librdkafka(tool, broker, topic, size, codec, count):
    at = [tool, "-b", broker.bootstrap, "-t", topic, "-p", "0", "-c", str(count), "-q"]
    sent = run(*at, "-P", "-s", str(size), "-a", "-1", "-z", codec, "-X", "linger.ms=5", "-X", "queue.buffering.max.messages=500000")
    yield "produce", rate(r"(\d+) msgs/s", sent, count)
    # Without the last one the client stands still for a second whenever its queue is full.
    read = run(*at, "-C", "-o", "beginning", "-X", "fetch.wait.max.ms=100", "-X", "fetch.queue.backoff.ms=1")
    yield "fetch", rate(r"(\d+) msgs/s", read, count)


def java(libs, broker, topic, size, codec, count):
    base = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-Xlog:disable", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", f"{libs}/*"]
    sent = run(
        *base,
        *("org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", broker.bootstrap, "--topic", topic),
        *("--num-records", str(count), "--record-size", str(size), "--throughput", "-1"),
        *("--command-property", "acks=all", "--command-property", f"compression.type={codec}"),
    )
    yield "produce", rate(r"([\d.]+) records/sec", sent, count)
    read = run(
        *base,
        *("org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", broker.bootstrap, "--topic", topic),
        *("--num-records", str(count), "--timeout", "60000", "--hide-header"),
    )
    columns = read.strip().splitlines()[-1].split(",")
    if int(columns[4]) < count:
        sys.exit(f"{count} records were asked for, the tool read {columns[4]}")
    yield "fetch", float(columns[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--rdkafka", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--apache", nargs=2, required=True)
    parser.add_argument("--embedded", nargs=2, required=True)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    brokers = [Broker("apache", *given.apache), Broker("embedded", *given.embedded)]
    tools = {"librdkafka": (librdkafka, given.rdkafka), "java": (java, given.tools)}
    for turn in range(given.rounds):
        for label, size in SIZES.items():
            for codec in CODECS:
                for client, (measure, path) in tools.items():
                    if given.only not in ("", f"{client}_{label}_{codec}"):
                        continue
                    for broker in brokers if turn % 2 == 0 else reversed(brokers):
                        warm(given.folder, given.megabytes * 5 // 4)
                        topic = f"bench-{client}-{label}-{codec}-{turn}"
                        broker.create(topic)
                        for what, value in measure(path, broker, topic, size, codec, given.megabytes * 1_000_000 // size):
                            name = f"{what}_{client}_{label}_{codec}"
                            broker.rates.setdefault(name, []).append(value)
                            print(f"round {turn} {broker.name} {name}: {value:,.0f} records/s", file=sys.stderr, flush=True)
                        broker.look()
                        broker.delete(topic)
    apache, embedded = brokers
    for name, rates in apache.rates.items():
        theirs, ours = statistics.median(rates), statistics.median(embedded.rates[name])
        print(f"bench broker_{name} ratio={ours / theirs:.3f} goal=>=1 ({ours:,.0f} : {theirs:,.0f} records/s)")
    # The largest after any run, so that what a broker gives back before the end does not count for it.
    theirs, ours = max(apache.resident), max(embedded.resident)
    print(f"bench broker_memory ratio={ours / theirs:.3f} goal=<={MEMORY_GOAL} ({ours:.0f} : {theirs:.0f} MB resident)")


main()
