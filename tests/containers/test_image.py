"""The image, and one container of it: what is in it, and how it starts and refuses to."""

import io
import json
import os
import subprocess
import tarfile
import tempfile
import unittest

from cluster import client, wait_until
from docker import DEPLOY, IMAGE, LABEL, attempt, confined, docker, inspect

# What Docker puts into every container.
MADE_BY_DOCKER = {"dev", "etc", "proc", "sys", ".dockerenv"}
MAX_IMAGE_BYTES = 16 << 20


class Image(unittest.TestCase):
    def test_it_is_the_same_when_it_is_built_again(self):
        environment = {**os.environ, "IMAGE": "mokv:built-again"}
        subprocess.run([DEPLOY / "build"], env=environment, capture_output=True, check=True)
        again = inspect("mokv:built-again")["Id"]
        docker("image", "rm", "mokv:built-again")
        self.assertEqual(again, inspect(IMAGE)["Id"])

    def test_it_has_the_binary_and_an_empty_data_directory(self):
        container = docker("create", *LABEL, IMAGE)
        archive = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            found = {
                entry.name: (oct(entry.mode & 0o7777), entry.uid, entry.gid)
                for entry in files
                if entry.name.split("/")[0] not in MADE_BY_DOCKER
            }
        self.assertEqual(set(found), {"mokv", "var", "var/lib", "var/lib/mokv"})
        self.assertEqual(found["mokv"], ("0o755", 0, 0))
        self.assertEqual(found["var/lib/mokv"], ("0o755", 65532, 65532))
        self.assertLess(inspect(IMAGE)["Size"], MAX_IMAGE_BYTES)

    def test_it_says_what_it_is(self):
        config = inspect(IMAGE)["Config"]
        self.assertEqual(config["User"], "65532:65532")
        labels = {name.removeprefix("org.opencontainers.image.") for name in config["Labels"]}
        self.assertLessEqual({"version", "revision", "created", "licenses", "title"}, labels)


class Container(unittest.TestCase):
    def run_confined(self, *arguments, profile=DEPLOY / "seccomp.json", options=()):
        return attempt("run", "--rm", *LABEL, *confined(profile), *options, IMAGE, *arguments)

    def test_confined_it_finds_nothing_in_its_way(self):
        done = self.run_confined("doctor", "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        outcomes = {check["name"]: check["outcome"] for check in json.loads(done.stdout)}
        self.assertEqual(set(outcomes.values()), {"ok"}, outcomes)

    def test_one_by_itself_serves_whoever_is_inside_or_outside(self):
        container = docker("run", "--detach", *LABEL, *confined(), "--publish=127.0.0.1::8400", IMAGE, "--bootstrap")
        # At once: what it has locked counts for the limits of the others.
        self.addCleanup(docker, "rm", "--force", "--volumes", container)
        wait_until(
            lambda: attempt("exec", container, "/mokv", "set", "key", "value").returncode == 0,
            lambda: "the server takes a write",
        )
        answer = client("get", "key", endpoints=docker("port", container, "8400"))
        self.assertEqual(answer.stdout, "value", answer.stderr)

    def test_without_io_uring_it_says_what_to_allow(self):
        profile = json.loads((DEPLOY / "seccomp.json").read_text())
        profile["syscalls"] = [rule for rule in profile["syscalls"] if "io_uring_setup" not in rule["names"]]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as default:
            json.dump(profile, default)
            default.flush()
            done = self.run_confined(profile=default.name)
        self.assertEqual(done.returncode, 1, done.stderr)
        for words in ("a seccomp profile forbids it", "io_uring_setup, io_uring_enter and io_uring_register"):
            self.assertIn(words, done.stderr)

    def test_with_too_little_locked_memory_it_says_what_to_raise(self):
        done = self.run_confined(options=["--ulimit=memlock=65536"])
        self.assertEqual(done.returncode, 1, done.stderr)
        for words in ("memlock: the limit is 64 KiB, and 512 KiB are needed", "--ulimit memlock=-1 in Docker"):
            self.assertIn(words, done.stderr)

    def test_where_it_may_not_write_it_says_which_directory(self):
        done = self.run_confined(options=["--tmpfs=/var/lib/mokv:ro"])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("/var/lib/mokv", done.stderr)


if __name__ == "__main__":
    unittest.main()
