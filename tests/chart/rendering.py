"""Renders the chart with the Helm that the variable HELM names. Used by the tests beside it."""

import os
import subprocess
import tempfile

import yaml

from values import CHART

HELM = os.environ["HELM"]
# What `helm template`, which asks no cluster, takes for the cluster's version.
KUBERNETES = "1.34.0"

# Everything that can be switched on, for tests that want to see every object and field.
EVERYTHING = {
    "imagePullSecrets": [{"name": "pull"}],
    "storageClass": "fast",
    "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
    "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/mokv.json"},
    "serviceAccount": {"annotations": {"note": "hello"}},
    "service": {"type": "LoadBalancer", "annotations": {"note": "hello"}},
    "networkPolicy": {
        "clients": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
        "metrics": [{"namespaceSelector": {}}],
    },
    "antiAffinity": "required",
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "store", "operator": "Exists"}],
    "priorityClassName": "high",
    "podAnnotations": {"note": "hello"},
    "podLabels": {"team": "shop"},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"team": "shop"}},
        "prometheusRule": {"enabled": True, "labels": {"team": "shop"}},
        "dashboard": {"enabled": True, "annotations": {"folder": "stores"}},
    },
}
# The least of it.
NOTHING = {
    "replicas": 1,
    "leaveOnScaleDown": False,
    "serviceAccount": {"create": False},
    "resources": {},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "antiAffinity": "none",
    "topologySpreadConstraints": [],
}


class Refused(Exception):
    """Helm did not render the chart; its text is what Helm said."""


def render(values=None, helm=HELM):
    """The objects of a release `kv` in the namespace `shop`, by their kind and name."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        file.flush()
        done = subprocess.run(
            [helm, "template", "kv", CHART, "--namespace=shop", f"--kube-version={KUBERNETES}"]
            + [f"--values={file.name}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    if done.returncode != 0:
        raise Refused(done.stderr)
    objects = [item for item in yaml.safe_load_all(done.stdout) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}
