"""deploy/kind/local: which commands it runs, in which order, and what it says when one is missing or
fails. The commands are stand-ins: that a real kind does what they ask is not checked here."""

from stand_ins import ScriptTest

TAG = "mokv:local-0123456789ab"


class Kind(ScriptTest):
    script = "deploy/kind/local"
    system = ("cat", "dirname", "grep")
    stand_ins = {
        "docker": '[[ $call != "docker image inspect"* ]] || echo sha256:0123456789abcdef',
        "kind": '[[ $call != "kind get clusters" ]] || echo "${CLUSTERS:-}"',
        "kubectl": "",
        "helm": "",
        "make": "",
    }

    def test_it_makes_a_cluster_and_brings_image_and_chart_there(self):
        done = self.run_script("up", CLUSTERS="mokv-other")
        self.assert_done(done)
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
        self.assert_done(self.run_script("up", CLUSTERS="other\nmokv"))
        self.assertFalse([call for call in self.made_calls() if call.startswith("kind create")])

    def test_its_settings_reach_every_call(self):
        done = self.run_script("up", KIND_CLUSTER="c", NAMESPACE="n", WAIT="9m", HELM_ARGS="--set replicas=5")
        self.assert_done(done)
        calls = self.calls.read_text()
        self.assertIn("kind create cluster --name c --config deploy/kind/cluster.yaml --wait 9m\n", calls)
        self.assertIn(f"kind load docker-image {TAG} --name c\n", calls)
        self.assertIn("--kube-context kind-c --namespace n ", calls)
        self.assertIn("--wait --timeout 9m --set replicas=5\n", calls)
        self.assertIn("kubectl --context kind-c --namespace n rollout", calls)

    def test_a_redeploy_needs_a_cluster(self):
        done = self.run_script("redeploy", CLUSTERS="other")
        self.assert_fails(done, 'there is no cluster "mokv": make it with `make kind`')

    def test_a_redeploy_brings_the_new_image(self):
        self.assert_done(self.run_script("redeploy", CLUSTERS="mokv"))
        tools = [call.split()[0] for call in self.made_calls()]
        self.assertEqual(tools, ["docker", "kind", "make", "docker", "docker", "kind", "helm", "kubectl"])

    def test_a_cleanup_removes_the_cluster_and_needs_no_client_tools(self):
        for tool in ("kubectl", "helm"):
            (self.bin / tool).unlink()
        self.assert_done(self.run_script("clean", CLUSTERS="mokv"))
        self.assertEqual(self.made_calls(), ["docker version", "kind delete cluster --name mokv"])

    def test_a_tool_that_is_missing_is_named_with_where_it_comes_from(self):
        sources = {
            "docker": "https://docs.docker.com/engine/install",
            "kind": "https://kind.sigs.k8s.io",
            "kubectl": "https://kubernetes.io/docs/tasks/tools",
            "helm": "https://helm.sh/docs/intro/install",
        }
        self.assert_names_what_is_missing(sources, "up")

    def test_a_daemon_that_does_not_answer_is_told_apart_from_a_missing_docker(self):
        for verb in ("up", "redeploy", "clean"):
            with self.subTest(verb):
                done = self.run_script(verb, fails="docker version")
                self.assert_fails(done, "the Docker daemon does not answer: start it")

    def test_nothing_goes_on_after_a_step_that_failed(self):
        for step in ("kind get clusters", "kind create", "make", "docker tag", "kind load", "helm", "kubectl"):
            with self.subTest(step):
                done = self.run_script("up", fails=step)
                self.assertEqual(done.returncode, 1)
                self.assertTrue(self.made_calls()[-1].startswith(step), self.made_calls())
                self.assertNotIn("Try:", done.stdout)
