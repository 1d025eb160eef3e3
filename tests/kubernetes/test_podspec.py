"""What is read out of a pod."""

import unittest

import yaml

from podspec import PodSpec, Unplayable, expand

CONTAINER = """
    name: server
    command: [/mokv]
    args: [serve, --node-name=$(POD_NAME)]
    volumeMounts: [{name: data, mountPath: /data}]
    startupProbe: {grpc: {port: 1, service: startup}, failureThreshold: 9}
    readinessProbe: {grpc: {port: 1, service: readiness}, periodSeconds: 5}
    livenessProbe: {grpc: {port: 1}}
    lifecycle: {preStop: {exec: {command: [/mokv, leave]}}}
    securityContext: {readOnlyRootFilesystem: true}
"""


def spec(**more):
    context = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3}
    container = yaml.safe_load(CONTAINER)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-a-0"}}
    return {"containers": [container], "volumes": [volume], "securityContext": context, **more}


class Expansion(unittest.TestCase):
    def test_a_known_variable_is_replaced_and_an_unknown_one_stays(self):
        self.assertEqual(expand("$(A).x $(B)", {"A": "1"}), "1.x $(B)")

    def test_a_doubled_dollar_is_one_dollar_and_names_nothing(self):
        self.assertEqual(expand("$$(A) $A 5$", {"A": "1"}), "$(A) $A 5$")

    def test_a_value_is_not_expanded_again(self):
        self.assertEqual(expand("$(A)", {"A": "$(B)", "B": "1"}), "$(B)")


class Environment(unittest.TestCase):
    def environment(self, *entries):
        pod = spec()
        pod["containers"][0]["env"] = list(entries)
        read = PodSpec.read(pod).container
        maps = {name: {"expect": "3"} for name in read.config_maps()}
        return read.environment({"metadata.name": "a-0"}, maps)

    def test_variables_come_from_fields_maps_and_those_before_them(self):
        entries = yaml.safe_load("""
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: EXPECT, valueFrom: {configMapKeyRef: {name: sizes, key: expect}}}
            - {name: BOTH, value: $(POD) of $(EXPECT)}
        """)
        expected = {"POD": "a-0", "EXPECT": "3", "BOTH": "a-0 of 3"}
        self.assertEqual(self.environment(*entries), expected)

    def test_a_source_that_is_not_played_is_refused(self):
        with self.assertRaises(Unplayable):
            self.environment({"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}})


class Pods(unittest.TestCase):
    def test_a_pod_is_read_with_kubernetes_defaults(self):
        pod = PodSpec.read(spec())
        server = pod.container
        self.assertEqual(server.argv, ["/mokv", "serve", "--node-name=$(POD_NAME)"])
        self.assertEqual(server.mounts, {"data": "/data"})
        self.assertEqual(server.pre_stop, ["/mokv", "leave"])
        startup, liveness = server.probes["startupProbe"], server.probes["livenessProbe"]
        self.assertEqual((startup.failure_threshold, startup.period_s), (9, 10))
        self.assertEqual((liveness.service, liveness.timeout_s), ("", 1))
        self.assertEqual(pod.grace_s, 30)

    def test_a_field_that_is_not_played_is_refused(self):
        with self.assertRaisesRegex(Unplayable, "hostNetwork"):
            PodSpec.read(spec(hostNetwork=True))
