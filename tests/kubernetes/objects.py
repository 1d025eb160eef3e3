"""The objects of the chart, as Helm renders them, and what the control plane that is played would
read out of them. Used by cluster.py; real/
needs only the names.
"""

import hashlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

import yaml

from podspec import Object, Unplayable

CHART = pathlib.Path(__file__).parents[2] / "deploy" / "mokv"
NAME = "mokv"
NAMESPACE = "kv"
# What `helm template`, which asks no cluster, takes for the cluster's version.
KUBERNETES = "1.34.0"
HELM_LIMIT_S = 60

# The volume that has what a pod asks the API with. The real one has some letters more in its name.
API_ACCESS = "kube-api-access"
API_ACCESS_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Release:
    """All objects of the chart, by their kind and name."""

    objects: dict[tuple[str, str], Object] = field(repr=False)

    @classmethod
    def render(cls, values: Object) -> "Release":
        """What `helm template` makes of the chart with `values`."""
        done = subprocess.run(
            [os.environ["HELM"], "template", NAME, str(CHART), f"--namespace={NAMESPACE}"]
            + [f"--kube-version={KUBERNETES}", "--values=-"],
            input=yaml.safe_dump(dict(values)),
            capture_output=True,
            text=True,
            timeout=HELM_LIMIT_S,
        )
        if done.returncode != 0:
            raise Unplayable(f"helm does not render the chart: {done.stderr}")
        return cls.read(done.stdout)

    @classmethod
    def read(cls, manifests: str) -> "Release":
        objects = (item for item in yaml.safe_load_all(manifests) if item)
        return cls({(item["kind"], item["metadata"]["name"]): item for item in objects})

    @property
    def stateful_set(self) -> Object:
        (found,) = self._all("StatefulSet")
        if found["spec"]["podManagementPolicy"] != "Parallel":
            raise Unplayable("only a podManagementPolicy of Parallel is played")
        return found

    @property
    def replicas(self) -> int:
        return self.stateful_set["spec"]["replicas"]

    @property
    def template(self) -> Object:
        return self.stateful_set["spec"]["template"]

    @property
    def revision(self) -> str:
        """What tells one pod template from another."""
        text = json.dumps(self.template, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def pod(self, name: str) -> Object:
        """The pod of that name, as a StatefulSet's controller and the API's admission make it."""
        metadata, spec = (json.loads(json.dumps(self.template[key])) for key in ("metadata", "spec"))
        metadata |= {"name": name, "namespace": NAMESPACE}
        metadata["labels"]["controller-revision-hash"] = self.revision
        spec |= {"hostname": name, "subdomain": self.stateful_set["spec"]["serviceName"]}
        spec["volumes"] = [
            {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}}
            for claim in self._claim_templates()
        ]
        if spec.get("automountServiceAccountToken", True):
            spec["volumes"].append(_api_access())
            mount = {"name": API_ACCESS, "mountPath": API_ACCESS_DIRECTORY}
            spec["containers"][0]["volumeMounts"].append(mount)
        return {"metadata": metadata, "spec": spec}

    def claims(self, pod: str) -> list[str]:
        """The claims of the volumes that a pod has for itself."""
        return [f"{claim}-{pod}" for claim in self._claim_templates()]

    @property
    def tests(self) -> list[Object]:
        """The pods that `helm test` runs."""
        return list(self._all("Pod"))

    @property
    def deletes_volumes_when_scaled(self) -> bool:
        policy = self.stateful_set["spec"]["persistentVolumeClaimRetentionPolicy"]
        return policy["whenScaled"] == "Delete"

    @property
    def max_unavailable(self) -> int:
        """How many pods an eviction may leave unavailable."""
        budgets = list(self._all("PodDisruptionBudget"))
        return min((budget["spec"]["maxUnavailable"] for budget in budgets), default=self.replicas)

    def service(self, headless: bool) -> Object:
        """The one service of the members that is headless, or the one that is not."""
        members = self.template["metadata"]["labels"].items()
        (found,) = (
            service
            for service in self._all("Service")
            if (service["spec"].get("clusterIP") == "None") == headless
            and service["spec"]["selector"].items() <= members
        )
        return found

    def port(self, service: Object, name: str) -> int:
        """The pods' port that a service's port leads to."""
        (container,) = self.template["spec"]["containers"]
        target = next(port["targetPort"] for port in service["spec"]["ports"] if port["name"] == name)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        return ports.get(target, target)

    def readable(self) -> list[str]:
        """The paths of the API that the pods' service account may get."""
        account = self.template["spec"]["serviceAccountName"]
        bound = {
            binding["roleRef"]["name"]
            for binding in self._all("RoleBinding")
            for subject in binding["subjects"]
            if subject["name"] == account
        }
        return [
            f"/apis/{group}/v1/namespaces/{NAMESPACE}/{resource}/{name}"
            for role in self._all("Role")
            if role["metadata"]["name"] in bound
            for rule in role["rules"]
            if "get" in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule["resourceNames"]
        ]

    def with_annotation(self, key: str, value: str) -> "Release":
        """The same with another annotation of the pods, as `kubectl rollout restart` sets one."""
        changed = json.loads(json.dumps(self.stateful_set))
        metadata = changed["spec"]["template"]["metadata"]
        metadata.setdefault("annotations", {})[key] = value
        return Release(self.objects | {("StatefulSet", changed["metadata"]["name"]): changed})

    def _claim_templates(self) -> list[str]:
        templates = self.stateful_set["spec"]["volumeClaimTemplates"]
        return [claim["metadata"]["name"] for claim in templates]

    def _all(self, kind: str) -> Iterable[Object]:
        return (item for (other, _), item in self.objects.items() if other == kind)


def _api_access() -> Object:
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    return {"name": API_ACCESS, "projected": {"sources": sources}}
