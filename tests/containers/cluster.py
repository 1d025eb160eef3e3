"""Members in containers on a private network, and a client on the host that talks to them."""

import json
import platform
import subprocess
import time

from docker import DEPLOY, IMAGE, LABEL, PROJECT, confined, docker, inspect

PORT = 8400
PEER_PORT = 8401
# Resolves to all members, as the name of a headless service does.
SHARED_NAME = "mokv"
DEADLINE_S = 40
POLL_S = 0.05
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The image's binary is static, so it runs here as well.
CLIENT = DEPLOY.parents[1] / "target" / "image" / ARCHITECTURES[platform.machine()] / "mokv"


class Member:
    """One server. Its volume and its name outlive its container and its address."""

    def __init__(self, name, volume):
        self.name = name
        self.volume = volume
        self.container = None
        self.address = None


class Cluster:
    """Members with the same settings but for the name that each is dialed by."""

    def __init__(self, size=3):
        self.network = docker("network", "create", *LABEL, PROJECT)
        self.members = [
            Member(f"mokv-{number}", docker("volume", "create", *LABEL)) for number in range(size)
        ]
        for member in self.members:
            self.run(member)

    def run(self, member):
        """Starts a member in a new container."""
        settings = {
            "MOKV_BIND_ADDR": f"{member.name}:{PEER_PORT}",
            "MOKV_START_JOIN_ADDRS": f"{SHARED_NAME}:{PEER_PORT}",
            "MOKV_BOOTSTRAP_EXPECT": str(len(self.members)),
        }
        member.container = docker(
            "run", "--detach", *LABEL, *confined(),
            f"--network={self.network}", f"--hostname={member.name}", *self.aliases(member),
            f"--volume={member.volume}:/var/lib/mokv",
            *(f"--env={name}={value}" for name, value in settings.items()),
            IMAGE,
        )  # fmt: skip
        self.find(member)

    def run_stranger(self):
        """Starts a server that is no member, with ports of its own, at the first free address."""
        return docker(
            "run", "--detach", *LABEL, *confined(), f"--network={self.network}", "--hostname=stranger",
            "--env=MOKV_BIND_ADDR=stranger:9401", "--env=MOKV_RPC_PORT=9400", "--env=MOKV_BOOTSTRAP=true", IMAGE,
        )  # fmt: skip

    def remove(self, member):
        """Stops a member and removes its container; the volume stays."""
        docker("stop", "--time=30", member.container)
        docker("rm", member.container)

    def stop(self):
        """Ends all members: what they have locked counts for the limits of other containers."""
        docker("rm", "--force", *(member.container for member in self.members))

    def start(self, member):
        docker("start", member.container)
        self.find(member)

    def cut_off(self, member):
        docker("network", "disconnect", self.network, member.container)

    def reconnect(self, member):
        docker("network", "connect", *self.aliases(member, "--alias"), self.network, member.container)
        self.find(member)

    def aliases(self, member, option="--network-alias"):
        return [f"{option}={name}" for name in (member.name, SHARED_NAME)]

    def find(self, member):
        """Learns the address, which each start may change."""
        [network] = inspect(member.container)["NetworkSettings"]["Networks"].values()
        member.address = network["IPAddress"]

    def endpoints(self):
        return ",".join(f"{member.address}:{PORT}" for member in self.members)

    def wait_until_all_serve(self):
        """Returns once every member answers linearizable reads."""
        for member in self.members:
            wait_until(lambda: self.serves(member), lambda: f"{member.name} serves:\n{self.log(member)}")

    def serves(self, member):
        answer = client("get", "no-such-key", "--timeout=1s", endpoints=f"{member.address}:{PORT}")
        return answer.returncode == 3

    def status(self, member):
        """What a member says of itself."""
        answer = docker("exec", member.container, "/mokv", "status", "-o", "json", f"--endpoints={member.name}:{PORT}")
        [own] = [line["status"] for line in json.loads(answer) if line["endpoint"] == f"{member.name}:{PORT}"]
        return own

    def log(self, member):
        done = subprocess.run(
            ["docker", "logs", "--tail=30", member.container], capture_output=True, text=True, check=False
        )
        return done.stderr


def client(*arguments, endpoints):
    """One command of mokv's command line, run on the host."""
    return subprocess.run(
        [CLIENT, *arguments, f"--endpoints={endpoints}"], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def wait_until(is_so, describe):
    """Returns once `is_so()`; fails at the deadline, saying what was waited for."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {DEADLINE_S} s in vain until {describe()}")
        time.sleep(POLL_S)
