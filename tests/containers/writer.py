"""Writes without a pause, and remembers what was acknowledged."""

import itertools
import json
import threading
import time

from cluster import PORT, client, wait_until

# A try is given up soon, and made again: a member that is cut off does not answer.
TRY = "--timeout=2s"
UNAVAILABLE = 4
# How many writes show that the cluster goes on.
SOME_WRITES = 10


class Writer(threading.Thread):
    """A client of the whole cluster. Used as `with Writer(cluster, "name") as writer`; the end of the
    block checks that each member has all that was acknowledged."""

    def __init__(self, cluster, prefix):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.prefix = prefix
        self.acknowledged = {}
        self.longest_gap_s = 0.0
        self.fault = None
        self.is_over = threading.Event()

    def run(self):
        last = time.monotonic()
        for number in itertools.count():
            key, value = f"{self.prefix}-{number}", f"value {number}"
            if not self.write(key, value):
                return
            self.acknowledged[key] = value
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - last)
            last = now

    def write(self, key, value):
        """Whether the write was acknowledged, at the first try or later."""
        while not self.is_over.is_set():
            answer = client("set", key, value, TRY, endpoints=self.cluster.endpoints())
            if answer.returncode == 0:
                return True
            if answer.returncode != UNAVAILABLE:
                self.fault = answer.stderr
                return False
        return False

    def wait_for_some(self):
        """Returns once some more writes were acknowledged."""
        goal = len(self.acknowledged) + SOME_WRITES
        wait_until(
            lambda: self.fault or len(self.acknowledged) >= goal,
            lambda: f"{SOME_WRITES} writes were acknowledged",
        )

    def __enter__(self):
        self.start()
        self.wait_for_some()
        return self

    def __exit__(self, kind, *_):
        self.is_over.set()
        self.join()
        if kind is None:
            self.check()

    def check(self):
        assert self.fault is None, self.fault
        for member in self.cluster.members:
            answer = client("list", f"--prefix={self.prefix}-", "-o", "json", endpoints=f"{member.address}:{PORT}")
            assert answer.returncode == 0, f"{member.name}: {answer.stderr}"
            found = {item["key"]: item["value"] for item in map(json.loads, answer.stdout.splitlines())}
            lost = [key for key, value in self.acknowledged.items() if found.get(key) != value]
            assert not lost, f"{member.name} lacks acknowledged writes: {lost[:10]}"
        print(f"{len(self.acknowledged)} writes, none lost, longest gap {self.longest_gap_s:.1f} s ... ", end="", flush=True)
