"""Records what every panel of the dashboard shows of a cluster that lives through something.

Three members are scraped once a second by a Prometheus, while ghz writes and reads. The leader is
killed, and started again later. At the end each panel's queries are asked of Prometheus, as Grafana
would ask them, and the answers are written to a file for draw.py.

usage: record.py FILE; needs MOKV, GHZ and PROMETHEUS in the environment
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import dashboard
from cluster import Cluster, free_ports

# How long clients load the cluster, in seconds: before the leader is killed, while it is down, after it is back.
PHASES_S = (100, 40, 120)
# Calls a second to each member: little enough for two cores to also draw and scrape.
SETS_PER_S, GETS_PER_S = 200, 400
STEP_S = 2
RATE_INTERVAL = "15s"
PATIENCE_S = 30
# What Prometheus answers while it starts.
NOT_READY = 503

CONFIGS = dashboard.ROOT / "benches/ghz"


def main(file):
    cluster = Cluster(os.environ["MOKV"])
    try:
        cluster.wait_until_ready()
        with tempfile.TemporaryDirectory(prefix="mokv-prometheus-") as directory:
            with Prometheus(pathlib.Path(directory), cluster) as prometheus:
                started = time.time()
                live_through(cluster, prometheus)
                recording = record(prometheus, started, time.time())
    finally:
        cluster.stop()
    pathlib.Path(file).write_text(json.dumps(recording))


def live_through(cluster, prometheus):
    """Clients write and read through every member; their leader is killed, and comes back."""
    before, down, after = PHASES_S
    loads = [
        start_load(config, address, rate, before + down + after)
        for address in cluster.addresses
        for config, rate in (("set.json", SETS_PER_S), ("get.json", GETS_PER_S))
    ]
    watched = loads[0]
    still_runs_after(before, watched)
    leader = prometheus.leader()
    cluster.kill(leader)
    still_runs_after(down, watched)
    cluster.restart(leader)
    for process in loads:
        process.wait()


def start_load(config, address, rate, seconds):
    command = [os.environ["GHZ"], "--config", CONFIGS / config, "--duration", f"{seconds}s"]
    command += ["--rps", str(rate), address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def still_runs_after(seconds, process):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError("ghz ended too soon")


def record(prometheus, start, end):
    panels = []
    for panel in dashboard.panels(dashboard.load()):
        lines = []
        for expression, legend in dashboard.queries(panel, RATE_INTERVAL):
            for series in prometheus.query_range(expression, start, end):
                values = [(float(at) - start, float(value)) for at, value in series["values"]]
                lines.append({"name": named(legend, series["metric"]), "values": values})
        panels.append({"id": panel["id"], "lines": lines})
    return {"seconds": end - start, "panels": panels}


def named(legend, labels):
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return legend


class Prometheus:
    """Scrapes the cluster for as long as it is open."""

    def __init__(self, directory, cluster):
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        targets = [
            {"targets": [urllib.parse.urlsplit(url).netloc], "labels": {"instance": f"node-{number}"}}
            for number, url in enumerate(cluster.metrics_urls)
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "mokv", "static_configs": targets}],
        }
        path = directory / "prometheus.json"
        path.write_text(json.dumps(config))
        self.command = [
            os.environ["PROMETHEUS"],
            f"--config.file={path}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        self.once("mokv_build_info")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def leader(self):
        """The number of the member that leads."""
        series = self.once('mokv_raft_role{role="leader"} == 1')[0]
        return int(series["metric"]["instance"].removeprefix("node-"))

    def once(self, expression):
        """The answer, once there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.ask("query", query=expression)):
            assert self.process.poll() is None, "Prometheus ended"
            assert time.monotonic() < deadline, f"nothing is found for {expression}"
        return found

    def query_range(self, expression, start, end):
        return self.ask("query_range", query=expression, start=start, end=end, step=STEP_S)

    def ask(self, kind, **parameters):
        url = f"{self.url}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == NOT_READY:
                return []
            raise AssertionError(f"{parameters['query']}: {error.read().decode()}") from error
        except urllib.error.URLError:
            # It does not listen yet.
            return []


if __name__ == "__main__":
    main(*sys.argv[1:])
