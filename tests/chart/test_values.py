"""Values: what is refused, and that all places that describe them agree."""

import json
import re
import unittest

import values
from rendering import Refused, render

SCHEMA = json.loads((values.CHART / "values.schema.json").read_text())

# Bad values, and what the answer names.
REFUSED = [
    ({"unknown": 1}, "'unknown'"),
    ({"image": {"name": "mokv"}}, "'name'"),
    ({"replicas": 0}, "/replicas"),
    ({"replicas": 33}, "/replicas"),
    ({"replicas": "3"}, "/replicas"),
    ({"replicas": 2.5}, "/replicas"),
    ({"replicas": None}, "'replicas'"),
    ({"storage": 1}, "/storage"),
    ({"storage": "1 Gi"}, "/storage"),
    ({"storage": "0Gi"}, "/storage"),
    ({"storageClass": 1}, "/storageClass"),
    ({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}}, "whenScaled"),
    ({"persistentVolumeClaimRetentionPolicy": {"whenLost": "Retain"}}, "'whenLost'"),
    ({"rpcPort": 0}, "/rpcPort"),
    ({"serfPort": 65536}, "/serfPort"),
    ({"metricsPort": "4000"}, "/metricsPort"),
    ({"listenIP": "localhost"}, "/listenIP"),
    ({"clusterDomain": ".local"}, "/clusterDomain"),
    ({"image": {"repository": ""}}, "/image/repository"),
    ({"image": {"tag": 1.2}}, "/image/tag"),
    ({"image": {"tag": "a tag"}}, "/image/tag"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"imagePullSecrets": ["pull"]}, "/imagePullSecrets/0"),
    ({"nameOverride": "Store"}, "/nameOverride"),
    ({"fullnameOverride": "s" * 53}, "/fullnameOverride"),
    ({"shards": 0}, "/shards"),
    ({"shards": 257}, "/shards"),
    ({"shards": "2"}, "/shards"),
    ({"logLevel": "loud"}, "/logLevel"),
    ({"logFormat": "xml"}, "/logFormat"),
    ({"drainTimeoutMs": -1}, "/drainTimeoutMs"),
    ({"drainTimeoutMs": "10s"}, "/drainTimeoutMs"),
    ({"terminationGracePeriodSeconds": 0}, "/terminationGracePeriodSeconds"),
    ({"minVoters": 0}, "/minVoters"),
    ({"deadServerTimeoutMs": -1}, "/deadServerTimeoutMs"),
    ({"leaveOnScaleDown": "yes"}, "/leaveOnScaleDown"),
    ({"serviceAccount": {"create": "yes"}}, "/serviceAccount/create"),
    ({"serviceAccount": {"name": None}}, "'name'"),
    ({"serviceAccount": {"annotations": {"a": 1}}}, "/serviceAccount/annotations/a"),
    ({"resources": {"limit": {}}}, "'limit'"),
    ({"resources": {"limits": {"cpu": "two"}}}, "/resources/limits/cpu"),
    ({"resources": {"limits": {"cpu": "1.5m"}}}, "/resources/limits/cpu"),
    ({"resources": {"limits": {"cpu": 0}}}, "/resources/limits/cpu"),
    ({"resources": {"limits": {"memory": "1 GB"}}}, "/resources/limits/memory"),
    ({"startupProbe": {"grpc": {}}}, "'grpc'"),
    ({"readinessProbe": {"periodSeconds": 0}}, "/readinessProbe/periodSeconds"),
    ({"livenessProbe": {"failureThreshold": "6"}}, "/livenessProbe/failureThreshold"),
    ({"podSecurityContext": {"seccompProfile": {}}}, "/podSecurityContext"),
    ({"securityContext": {"seccompProfile": {}}}, "/securityContext"),
    ({"seccompProfile": {"type": "Locale"}}, "/seccompProfile/type"),
    ({"seccompProfile": {"type": "Localhost"}}, "'localhostProfile'"),
    ({"seccompProfile": {"localhostProfile": "mokv.json"}}, "/seccompProfile"),
    ({"seccompProfile": {"type": "Unconfined", "localhostProfile": "a"}}, "/seccompProfile"),
    ({"service": {"type": "ExternalName"}}, "/service/type"),
    ({"service": {"annotations": ["a"]}}, "/service/annotations"),
    ({"networkPolicy": {"enabled": "auto"}}, "/networkPolicy/enabled"),
    ({"networkPolicy": {"clients": [{}]}}, "/networkPolicy/clients/0"),
    ({"networkPolicy": {"metrics": [{"pods": {}}]}}, "/networkPolicy/metrics/0"),
    ({"podDisruptionBudget": {"maxUnavailable": 2}}, "'maxUnavailable'"),
    ({"podDisruptionBudget": {"enabled": 1}}, "/podDisruptionBudget/enabled"),
    ({"antiAffinity": "some"}, "/antiAffinity"),
    ({"affinity": {"antiAffinity": {}}}, "'antiAffinity'"),
    ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "/topologySpreadConstraints/0"),
    ({"nodeSelector": {"fast": True}}, "/nodeSelector/fast"),
    ({"tolerations": ["all"]}, "/tolerations/0"),
    ({"priorityClassName": 1}, "/priorityClassName"),
    ({"podLabels": {"a": 1}}, "/podLabels/a"),
    ({"podAnnotations": {"a": True}}, "/podAnnotations/a"),
    ({"monitoring": {"serviceMonitor": {"enabled": "yes"}}}, "/serviceMonitor/enabled"),
    ({"monitoring": {"serviceMonitor": {"interval": "soon"}}}, "/serviceMonitor/interval"),
    ({"monitoring": {"serviceMonitor": {"labels": {"a": 1}}}}, "/serviceMonitor/labels/a"),
    ({"monitoring": {"prometheusRule": {"enabled": "always"}}}, "/prometheusRule/enabled"),
    ({"monitoring": {"prometheusRule": {"labels": {"a": 1}}}}, "/prometheusRule/labels/a"),
    ({"monitoring": {"dashboard": {"enabled": "true"}}}, "/dashboard/enabled"),
    ({"monitoring": {"dashboard": {"labels": {"a": 1}}}}, "/dashboard/labels/a"),
    ({"monitoring": {"dashboard": {"annotations": {"a": 1}}}}, "/dashboard/annotations/a"),
    ({"monitoring": {"alerts": {}}}, "'alerts'"),
    ({"tls": {"enabled": "auto"}}, "/tls/enabled"),
    ({"tls": {"existingSecret": {"name": "certificates"}}}, "/tls/existingSecret"),
    ({"tls": {"certManager": {"enabled": "auto"}}}, "/tls/certManager/enabled"),
    ({"tls": {"certManager": {"issuerRef": "ca"}}}, "/tls/certManager/issuerRef"),
]
# Values that are a little unusual, and right.
ACCEPTED = [
    {"global": {"shared": True}},
    {"replicas": 32},
    {"listenIP": "::"},
    {"resources": {"limits": {"cpu": 2, "memory": 1073741824, "hugepages-2Mi": "4Mi"}}},
    {"resources": {"limits": {"cpu": "0.25"}, "requests": {"cpu": 0.1, "memory": "1.5Gi"}}},
    {"seccompProfile": {"type": "RuntimeDefault"}},
    {"networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
    {"tls": {"certManager": {"issuerRef": {"name": "ca", "kind": "Issuer"}}}},
]


class Values(unittest.TestCase):
    def test_bad_values_are_refused_by_their_place(self):
        for group in groups_about_different_values(REFUSED):
            together = {key: value for bad, _ in group for key, value in bad.items()}
            with self.assertRaises(Refused) as refused:
                render(together)
            self.assertIn("schema", str(refused.exception))
            for bad, place in group:
                with self.subTest(bad):
                    self.assertIn(place, str(refused.exception))

    def test_of_every_value_a_bad_one_is_tried(self):
        tried = {path for bad, _ in REFUSED for path in values.leaves(bad)}
        for path in values.ends(values.descriptions()):
            self.assertTrue(any(f"{other}.".startswith(f"{path}.") for other in tried), path)

    def test_unusual_values_are_taken(self):
        for good in ACCEPTED:
            with self.subTest(good):
                render(good)

    def test_every_value_is_described_in_its_file(self):
        described = values.descriptions()
        for path in values.leaves(values.defaults()):
            parts = path.split(".")
            ways_up = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
            self.assertTrue(ways_up & described.keys(), f"{path} has no comment above it")

    def test_the_schema_describes_values_as_their_file_does(self):
        self.assertEqual(dict(schema_descriptions(SCHEMA)), values.descriptions())

    def test_the_readme_lists_all_values(self):
        readme = (values.CHART / "README.md").read_text()
        again = "run: tests/chart/values.py deploy/mokv/README.md"
        self.assertEqual(readme, values.with_table(readme), again)

    def test_the_chart_installs_the_version_that_is_built(self):
        cargo = (values.CHART.parents[1] / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.*)"', cargo, re.MULTILINE)[1]
        chart = (values.CHART / "Chart.yaml").read_text()
        self.assertIn(f"\nappVersion: {version}\n", chart)


def groups_about_different_values(cases):
    """The cases in as few groups as need be: Helm names all that it refuses in one run."""
    groups = []
    for bad, place in cases:
        for group in groups:
            if not any(bad.keys() & other.keys() for other, _ in group):
                group.append((bad, place))
                break
        else:
            groups.append([(bad, place)])
    return groups


def schema_properties(node, path=""):
    """Every property that a schema lists, with its own schema; `$ref`s are not followed."""
    for key, inner in node.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield here, inner
        yield from schema_properties(inner, here)


def schema_descriptions(schema):
    for path, node in schema_properties(schema):
        if "description" in node and path != "global":
            yield path, node["description"]


if __name__ == "__main__":
    unittest.main()
