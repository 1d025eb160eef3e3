"""A cluster of real processes on loopback, configured with the files of the Go program."""

import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_DEADLINE_S = 30
STOP_DEADLINE_S = 15


class Cluster:
    """`size` members; the first bootstraps and the others are told where it is."""

    def __init__(self, binary, size=3):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="mokv-conformance-"))
        self.binary = binary
        self.processes = []
        self.addresses = []
        self.metrics_urls = []
        ports = free_ports(3 * size)
        seed = f"127.0.0.1:{ports[1]}"
        for number in range(size):
            rpc, gossip, metrics = ports[3 * number : 3 * number + 3]
            self.config(number).write_text(
                f"data-dir: {self.directory}/node-{number}\n"
                f"node-name: node-{number}\n"
                f"bind-addr: 127.0.0.1:{gossip}\n"
                f"rpc-port: {rpc}\n"
                f"metrics-port: {metrics}\n"
                + (f"start-join-addrs:\n  - {seed}\n" if number else "bootstrap: true\n")
            )
            self.processes.append(self.start(number))
            self.addresses.append(f"127.0.0.1:{rpc}")
            self.metrics_urls.append(f"http://127.0.0.1:{metrics}/metrics")

    def start(self, number):
        """Starts the process of a member that has none."""
        with open(self.log(number), "ab") as log:
            command = [self.binary, f"--config-file={self.config(number)}"]
            return subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, number):
        """Kills a member, as a power cut would."""
        self.processes[number].kill()
        self.processes[number].wait()

    def restart(self, number):
        """Starts a member that was killed."""
        self.processes[number] = self.start(number)

    def config(self, number):
        return self.directory / f"node-{number}.yaml"

    def log(self, number):
        return self.directory / f"node-{number}.log"

    def wait_until_ready(self):
        """Returns once every member answers health checks with SERVING."""
        deadline = time.monotonic() + START_DEADLINE_S
        for number, address in enumerate(self.addresses):
            while not serving(address):
                if self.processes[number].poll() is not None:
                    raise AssertionError(f"node {number} ended:\n{self.log(number).read_text()}")
                if time.monotonic() > deadline:
                    raise AssertionError(f"node {number} is not ready:\n{self.log(number).read_text()}")
                time.sleep(0.05)

    def stop(self):
        """Stops every member and removes what they wrote."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory)


def serving(address):
    """Whether the member at `address` says that it serves."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=1
            )
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def free_ports(count):
    """Ports below those of outgoing connections on which nothing listens, neither TCP nor UDP."""
    candidates = range(12_000 + os.getpid() * 97 % 15_000, 32_000)
    return list(itertools.islice(filter(is_free, candidates), count))


def is_free(port):
    with socket.socket(type=socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
