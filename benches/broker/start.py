"""Fills the embedded broker, kills it and times its start, again and again. Started by benches/broker/start."""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, PARTITIONS, RECORD = "start", 8, 1000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    def __init__(self, program, folder):
        self.program, self.folder, self.port, self.process = program, folder, free_port(), None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Seconds from the start of the process until a new client has the topics."""
        command = [self.program, "--listen", self.bootstrap, "--data", self.folder]
        begin = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if not self.process.stdout.readline().strip():
            sys.exit("the broker did not come up")
        AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(timeout=30)
        return time.monotonic() - begin

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def produce(broker, megabytes, then):
    """Writes so much, evenly to all partitions, and calls `then` while the last of it is on its way."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 5,
                         "queue.buffering.max.messages": 500000, "log_level": 0})  # fmt: skip
    count, value = megabytes * 1_000_000 // RECORD, os.urandom(RECORD - 10)
    for i in range(count):
        while True:
            try:
                producer.produce(TOPIC, value, partition=i // 100 % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
        if i % 1000 == 0:
            producer.poll(0)
        if i == count - count // 100:
            producer.flush()
    producer.poll(0.02)
    then()
    producer.purge()


def size(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1000)
    given = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="weir-start-")
    broker = Broker(given.broker, folder)
    try:
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        took, megabytes = [], given.megabytes
        for turn in range(given.starts):
            produce(broker, megabytes, broker.kill)
            took.append(broker.start())
            print(f"start {turn + 1}: {took[-1]:.3f} s with {size(folder) / 1e6:,.0f} MB", file=sys.stderr, flush=True)
            megabytes = given.megabytes // 10
        took.sort()
        detail = f"slowest of {len(took)} {took[-1]:.2f} s, median {took[len(took) // 2]:.2f} s"
        print(f"bench broker_start_1GB_after_kill_vs_2s ratio={took[-1] / 2:.3f} goal=<=1 ({detail})")
    finally:
        if broker.process and broker.process.poll() is None:
            broker.kill()
        shutil.rmtree(folder)


main()
