"""The rendered objects: that Kubernetes would take them, and what an upgrade changes."""

import copy
import functools
import json
import os
import pathlib
import unittest

import jsonschema
import kubernetes_validate
import yaml

from rendering import EVERYTHING, NOTHING, render
from values import CHART

VERSIONS = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34"]
# The schemas of the Prometheus operator's objects, and another Helm; empty where they are missing.
OPERATOR_SCHEMAS = os.environ.get("OPERATOR_SCHEMAS")
OTHER_HELM = os.environ.get("OTHER_HELM")

# What each object's labels look like.
RELEASE_LABELS = {
    "app.kubernetes.io/name": "mokv",
    "app.kubernetes.io/instance": "kv",
    "app.kubernetes.io/version": r"\d+\.\d+\.\d+",
    "app.kubernetes.io/managed-by": "Helm",
    "helm.sh/chart": r"mokv-\d+\.\d+\.\d+",
}
SETS = {"defaults": {}, "everything": EVERYTHING, "nothing": NOTHING}


class Objects(unittest.TestCase):
    def test_kubernetes_takes_them(self):
        for name, values in SETS.items():
            for key, item in render(values).items():
                if item["apiVersion"].startswith("monitoring.coreos.com/"):
                    continue
                for version in VERSIONS:
                    with self.subTest(values=name, object=key, kubernetes=version):
                        used = kubernetes_validate.validate(item, version, strict=True)
                        self.assertEqual(used, version, "no schema of this version")

    def test_kubernetes_schemas_find_a_misspelt_field(self):
        service = copy.deepcopy(render()["Service", "kv-mokv"])
        service["spec"]["selectors"] = {}
        for version in VERSIONS:
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(service, version, strict=True)

    @unittest.skipUnless(OPERATOR_SCHEMAS, "the Prometheus operator's schemas are missing")
    def test_the_prometheus_operator_takes_them(self):
        objects = render(EVERYTHING)
        for kind in ["ServiceMonitor", "PrometheusRule"]:
            with self.subTest(kind):
                # The schema itself is not checked: its patterns are Go's, not Python's.
                validator = jsonschema.Draft202012Validator(operator_schema(kind))
                validator.validate(objects[kind, "kv-mokv"])

    def test_alerts_and_dashboard_arrive_as_they_are_in_their_files(self):
        objects = render(EVERYTHING)
        alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
        self.assertEqual(objects["PrometheusRule", "kv-mokv"]["spec"], alerts)
        dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
        installed = objects["ConfigMap", "kv-mokv-dashboard"]["data"]["mokv.json"]
        self.assertEqual(json.loads(installed), dashboard)

    def test_everything_has_every_kind(self):
        kinds = [kind for kind, _ in render(EVERYTHING)]
        self.assertEqual(
            sorted(kinds),
            ["ConfigMap", "ConfigMap", "NetworkPolicy", "Pod", "PodDisruptionBudget"]
            + ["PrometheusRule", "Role", "RoleBinding", "Service", "Service", "ServiceAccount"]
            + ["ServiceMonitor", "StatefulSet"],
        )

    def test_all_are_in_the_releases_namespace_and_carry_its_labels(self):
        for key, item in render(EVERYTHING).items():
            with self.subTest(object=key):
                self.assertEqual(item["metadata"]["namespace"], "shop")
                labels = item["metadata"]["labels"]
                for name, value in RELEASE_LABELS.items():
                    self.assertRegex(labels[name], f"^{value}$")

    def test_prometheus_finds_the_members_through_one_service(self):
        objects = render(EVERYTHING)
        monitor = objects["ServiceMonitor", "kv-mokv"]["spec"]
        wanted = monitor["selector"]["matchLabels"].items()
        services = [item for (kind, _), item in objects.items() if kind == "Service"]
        found = [item for item in services if wanted <= item["metadata"]["labels"].items()]
        self.assertEqual([item["metadata"]["name"] for item in found], ["kv-mokv-headless"])
        ports = [port["name"] for port in found[0]["spec"]["ports"]]
        self.assertIn(monitor["endpoints"][0]["port"], ports)

    def test_scaling_changes_two_numbers_and_no_pod(self):
        before, after = render({"replicas": 3}), render({"replicas": 5})
        self.assertEqual(after["StatefulSet", "kv-mokv"]["spec"].pop("replicas"), 5)
        self.assertEqual(before["StatefulSet", "kv-mokv"]["spec"].pop("replicas"), 3)
        self.assertEqual(after["ConfigMap", "kv-mokv"].pop("data"), {"bootstrap-expect": "5"})
        self.assertEqual(before["ConfigMap", "kv-mokv"].pop("data"), {"bootstrap-expect": "3"})
        # The pod of `helm test` names every member; it is not part of the release.
        for objects in [before, after]:
            del objects["Pod", "kv-mokv-test"]
        self.assertEqual(before, after)

    @unittest.skipUnless(OTHER_HELM, "no other Helm is given")
    def test_another_helm_renders_the_same(self):
        for name, values in SETS.items():
            with self.subTest(values=name):
                self.assertEqual(render(values, OTHER_HELM), render(values))


@functools.cache
def operator_schema(kind):
    file = f"monitoring.coreos.com_{kind.lower()}s.yaml"
    definition = yaml.safe_load(pathlib.Path(OPERATOR_SCHEMAS, file).read_text())
    (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    return closed(version["schema"]["openAPIV3Schema"])


def closed(schema):
    """The same schema, but with no fields that it does not list: Kubernetes would drop them."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        # An object without listed fields, such as metadata's, is open.
        parts.setdefault("additionalProperties", False)
    return parts


if __name__ == "__main__":
    unittest.main()
