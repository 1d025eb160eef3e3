#!/usr/bin/env python3
"""Runs deploy/kind/local with stand-ins for docker, kind, kubectl, helm and make, which write down how
they were called. So this checks which commands are run, in which order, and what is said when one is
missing or fails. It does not check that a real kind does what they ask. Used by `make kind-test`.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

LOCAL = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "kind" / "local"
TOOLS = ("docker", "kind", "kubectl", "helm", "make")
# What the script needs of the system.
SYSTEM = ("bash", "cat", "dirname", "env", "grep")
DEADLINE_S = 20
TAG = "mokv:local-0123456789ab"

# Answers as the real ones do, as far as the script looks; fails where FAILS names the call's beginning.
STAND_IN = """#!/usr/bin/env bash
call="${0##*/} $*"
echo "$call" >>"$CALLS"
[[ -z $FAILS || $call != "$FAILS"* ]] || exit 1
case $call in
    "kind get clusters") echo "$CLUSTERS" ;;
    "docker image inspect"*) echo sha256:0123456789abcdef ;;
esac
"""


class Local(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.bin = pathlib.Path(directory.name) / "bin"
        self.bin.mkdir()
        self.calls = pathlib.Path(directory.name) / "calls"
        for tool in SYSTEM:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for tool in TOOLS:
            (self.bin / tool).write_text(STAND_IN)
            (self.bin / tool).chmod(0o755)

    def local(self, verb, clusters="", fails="", **settings):
        """Runs the script. `clusters` are there already; the call that begins with `fails` fails."""
        environment = {
            "PATH": str(self.bin),
            "CALLS": str(self.calls),
            "CLUSTERS": clusters,
            "FAILS": fails,
            **settings,
        }
        return subprocess.run(
            [LOCAL, verb], env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    def made_calls(self):
        return self.calls.read_text().splitlines()

    def test_it_makes_a_cluster_and_brings_image_and_chart_there(self):
        done = self.local("up", clusters="mokv-other")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            self.made_calls(),
            [
                "docker version",
                "kind get clusters",
                "kind create cluster --name mokv --config deploy/kind/cluster.yaml --wait 5m",
                "make --no-print-directory image IMAGE=mokv:local",
                "docker image inspect --format {{.Id}} mokv:local",
                f"docker tag mokv:local {TAG}",
                f"kind load docker-image {TAG} --name mokv",
                "helm upgrade --install mokv deploy/mokv --kube-context kind-mokv --namespace default --create-namespace"
                " --set image.repository=mokv --set image.tag=local-0123456789ab --wait --timeout 5m",
                "kubectl --context kind-mokv --namespace default rollout status statefulset/mokv --timeout 5m",
            ],
        )
        self.assertIn("kubectl --context kind-mokv --namespace default exec mokv-0 -- /mokv set", done.stdout)

    def test_it_keeps_a_cluster_that_is_there(self):
        done = self.local("up", clusters="other\nmokv")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("kind create", self.calls.read_text())

    def test_its_settings_reach_every_call(self):
        done = self.local("up", KIND_CLUSTER="c", NAMESPACE="n", WAIT="9m", HELM_ARGS="--set replicas=5")
        self.assertEqual(done.returncode, 0, done.stderr)
        calls = self.calls.read_text()
        self.assertIn("kind create cluster --name c --config deploy/kind/cluster.yaml --wait 9m\n", calls)
        self.assertIn(f"kind load docker-image {TAG} --name c\n", calls)
        self.assertIn("--kube-context kind-c --namespace n ", calls)
        self.assertIn("--wait --timeout 9m --set replicas=5\n", calls)
        self.assertIn("kubectl --context kind-c --namespace n rollout", calls)

    def test_a_redeploy_needs_a_cluster(self):
        done = self.local("redeploy", clusters="other")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, 'kind: there is no cluster "mokv": make it with `make kind`\n')

    def test_a_redeploy_brings_the_new_image(self):
        done = self.local("redeploy", clusters="mokv")
        self.assertEqual(done.returncode, 0, done.stderr)
        verbs = [" ".join(call.split()[:2]) for call in self.made_calls()[2:]]
        self.assertEqual(
            verbs,
            [
                "make --no-print-directory",
                "docker image",
                "docker tag",
                "kind load",
                "helm upgrade",
                "kubectl --context",
            ],
        )

    def test_a_cleanup_removes_the_cluster_and_needs_no_client_tools(self):
        for tool in ("kubectl", "helm"):
            (self.bin / tool).unlink()
        done = self.local("clean", clusters="mokv")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.made_calls()[-1], "kind delete cluster --name mokv")

    def test_a_tool_that_is_missing_is_named_with_where_it_comes_from(self):
        sources = {
            "docker": "docs.docker.com",
            "kind": "kind.sigs.k8s.io",
            "kubectl": "kubernetes.io/docs/tasks/tools",
            "helm": "helm.sh/docs",
        }
        for tool, source in sources.items():
            with self.subTest(tool):
                (self.bin / tool).rename(self.bin / "away")
                done = self.local("up")
                (self.bin / "away").rename(self.bin / tool)
                self.assertEqual(done.returncode, 1)
                self.assertTrue(done.stderr.startswith(f"kind: {tool} is missing: "), done.stderr)
                self.assertIn(source, done.stderr)

    def test_a_daemon_that_does_not_answer_is_told_apart_from_a_missing_docker(self):
        for verb in ("up", "redeploy", "clean"):
            with self.subTest(verb):
                done = self.local(verb, fails="docker version")
                self.assertEqual(done.returncode, 1)
                self.assertTrue(done.stderr.startswith("kind: the Docker daemon does not answer: start it"), done.stderr)

    def test_nothing_goes_on_after_a_step_that_failed(self):
        for step in ("kind get clusters", "kind create", "make", "docker tag", "kind load", "helm", "kubectl"):
            with self.subTest(step):
                self.calls.unlink(missing_ok=True)
                done = self.local("up", fails=step)
                self.assertEqual(done.returncode, 1)
                self.assertTrue(self.made_calls()[-1].startswith(step), self.made_calls())
                self.assertNotIn("Try:", done.stdout)


if __name__ == "__main__":
    unittest.main()
