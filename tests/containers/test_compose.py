"""compose.yaml: its three members, as it starts them. Prometheus and Grafana are not started: their
images would have to be pulled."""

import os
import shutil
import subprocess
import unittest

from cluster import client, wait_until
from docker import DEPLOY, IMAGE, PROJECT, attempt, inspect

MEMBERS = ("mokv-0", "mokv-1", "mokv-2")
DEADLINE_S = 120
NO_SUCH_KEY = 3


def find_compose():
    """The command, of either generation, or nothing."""
    if attempt("compose", "version").returncode == 0:
        return ["docker", "compose"]
    old = shutil.which("docker-compose")
    return [old] if old else None


class Compose(unittest.TestCase):
    command = find_compose()

    def setUp(self):
        if self.command is None:
            print("\nSKIPPED the compose file: there is neither docker compose nor docker-compose")
            self.skipTest("no compose")

    def compose(self, *arguments):
        # Any free port, so that nothing else on this machine is in the way.
        ports = {f"CLIENT_PORT_{number}": "0" for number in range(len(MEMBERS))}
        environment = {**os.environ, **ports, "COMPOSE_PROJECT_NAME": PROJECT, "MOKV_IMAGE": IMAGE}
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=DEPLOY, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def endpoint(self, member):
        return self.compose("port", member, "8400")

    def test_it_is_valid_and_names_the_image_of_this_version(self):
        self.compose("config", "--quiet")
        version = inspect(IMAGE)["Config"]["Labels"]["org.opencontainers.image.version"]
        self.assertIn(f"MOKV_IMAGE=mokv:{version}\n", (DEPLOY / ".env").read_text())

    def test_its_members_form_a_cluster(self):
        self.addCleanup(self.compose, "down", "--volumes", "--timeout=30")
        self.compose("up", "--detach", *MEMBERS)
        endpoints = [self.endpoint(member) for member in MEMBERS]
        for endpoint in endpoints:
            wait_until(
                lambda: client("get", "key", "--timeout=1s", endpoints=endpoint).returncode == NO_SUCH_KEY,
                lambda: f"{endpoint} serves:\n{self.compose('logs', '--tail=30')}",
            )
        self.assertEqual(client("set", "key", "value", endpoints=endpoints[0]).returncode, 0)
        for endpoint in endpoints:
            self.assertEqual(client("get", "key", endpoints=endpoint).stdout, "value")


if __name__ == "__main__":
    unittest.main()
