"""A real cluster under load: what it exports is what the dashboard, the alerts and the docs name."""

import os
import re
import subprocess
import time
import unittest
import urllib.request

import contract_pb2 as pb
import contract_pb2_grpc
import grpc

import dashboard
from cluster import Cluster
from test_files import ALERTS

METRICS_DOC = dashboard.ROOT / "docs/metrics.md"
WRITES = 500
PUBLISH_DEADLINE_S = 10


def scrape(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def samples(text):
    """Every sample of a scrape, by its name and labels."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def names(text):
    return set(re.findall(r"\b(?:mokv|process)_[a-z0-9_]+", text))


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(os.environ["MOKV"])
        try:
            cls.cluster.wait_until_ready()
            cls.load()
            cls.wait_until_published()
        except BaseException:
            cls.cluster.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    @classmethod
    def load(cls):
        """Writes and reads through every member."""
        for address in cls.cluster.addresses:
            with grpc.insecure_channel(address) as channel:
                client = contract_pb2_grpc.KVStub(channel)
                writes = [
                    client.Set.future(pb.SetRequest(key=f"key-{number}", value=b"value"), timeout=10)
                    for number in range(WRITES)
                ]
                for write in writes:
                    write.result()
                client.Get(pb.GetRequest(key="key-0"), timeout=10)

    @classmethod
    def wait_until_published(cls):
        """Executors publish what they count a few times a second, so a scrape may come too early."""
        deadline = time.monotonic() + PUBLISH_DEADLINE_S
        while True:
            cls.scrapes = [scrape(url) for url in cls.cluster.metrics_urls]
            done = [samples(text).get('mokv_rpc_requests_total{code="OK",method="Get"}') for text in cls.scrapes]
            if all(done):
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"no reads are counted: {done}")

    def test_promtool_finds_no_fault_with_a_scrape(self):
        for text in self.scrapes:
            check = [os.environ["PROMTOOL"], "check", "metrics"]
            done = subprocess.run(check, input=text, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_everything_that_the_dashboard_and_the_alerts_ask_for_is_there(self):
        exported = set()
        for text in self.scrapes:
            exported |= {sample.split("{")[0] for sample in samples(text)}
        asked = names(ALERTS.read_text())
        for panel in dashboard.panels(dashboard.load()):
            for expression, _ in dashboard.queries(panel, "1m"):
                asked |= names(expression)
        self.assertEqual(asked - exported, set())

    def test_the_docs_list_every_metric_and_no_other(self):
        exported = set()
        for text in self.scrapes:
            exported |= set(re.findall(r"^# HELP (\S+)", text, re.M))
        listed = set(re.findall(r"^\| `(\w+)`", METRICS_DOC.read_text(), re.M))
        self.assertEqual(listed, exported)

    def test_what_clients_did_is_counted_where_they_did_it(self):
        for text in self.scrapes:
            found = samples(text)
            self.assertEqual(found['mokv_rpc_requests_total{code="OK",method="Set"}'], WRITES)
            self.assertEqual(found["mokv_raft_proposals_committed_total"], WRITES)
            self.assertEqual(found['mokv_rpc_request_duration_seconds_count{method="Set"}'], WRITES)
            self.assertEqual(found["mokv_store_keys"], WRITES)
            self.assertGreater(found["mokv_wal_fsync_duration_seconds_count"], 0)

    def test_one_server_leads_and_sees_the_two_others(self):
        found = [samples(text) for text in self.scrapes]
        leaders = [each for each in found if each['mokv_raft_role{role="leader"}'] == 1]
        self.assertEqual(len(leaders), 1)
        self.assertEqual(leaders[0]["mokv_raft_failures_tolerated"], 1)
        lags = [sample for sample in leaders[0] if sample.startswith("mokv_raft_follower_lag_entries")]
        self.assertEqual(len(lags), 2)
        for each in found:
            self.assertEqual(each["mokv_raft_has_leader"], 1)
            self.assertEqual(each['mokv_gossip_members{state="alive"}'], 3)
