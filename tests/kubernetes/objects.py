"""The objects of the chart, as Helm renders them, and what Kubernetes would read out of them.

Only what the chart uses is understood. Anything else is refused, so that a chart that grows is not
played without what it grew by. Used by cluster.py and kubelet.py.
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

CHART = pathlib.Path(__file__).parents[2] / "deploy" / "mokv"
NAME = "mokv"
NAMESPACE = "kv"
# What `helm template`, which asks no cluster, takes for the cluster's version.
KUBERNETES = "1.34.0"
HELM_LIMIT_S = 60

# Fields that are played, or that change nothing here: every pod finds room, and there is one image.
POD_FIELDS = {
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "topologySpreadConstraints",
}
CONTAINER_FIELDS = {
    "args",
    "command",
    "env",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "volumeMounts",
}

Object = Mapping[str, Any]


class Unplayable(Exception):
    """The chart uses something that these programs do not play."""


@dataclass(frozen=True)
class Probe:
    """A gRPC probe."""

    port: int
    service: str
    period_s: float = 10
    timeout_s: float = 1
    failure_threshold: int = 3

    @classmethod
    def read(cls, probe: Object) -> "Probe":
        _only(probe, {"grpc", "periodSeconds", "timeoutSeconds", "failureThreshold"}, "a probe")
        return cls(
            port=probe["grpc"]["port"],
            service=probe["grpc"].get("service", ""),
            period_s=probe.get("periodSeconds", cls.period_s),
            timeout_s=probe.get("timeoutSeconds", cls.timeout_s),
            failure_threshold=probe.get("failureThreshold", cls.failure_threshold),
        )


@dataclass(frozen=True)
class PodSpec:
    """What a kubelet needs to know of a pod with one container."""

    argv: list[str]
    env: list[Object]
    mounts: dict[str, str]
    startup: Probe
    readiness: Probe
    liveness: Probe
    pre_stop: list[str]
    grace_s: float
    user: int
    group: int
    volume_group: int
    read_only: bool
    has_token: bool

    @classmethod
    def read(cls, spec: Object) -> "PodSpec":
        _only(spec, POD_FIELDS, "the pod")
        (container,) = spec["containers"]
        _only(container, CONTAINER_FIELDS, "the container")
        hook = container.get("lifecycle", {}).get("preStop", {})
        _only(hook, {"exec"}, "the preStop hook")
        return cls(
            argv=container["command"] + container.get("args", []),
            env=container.get("env", []),
            mounts={mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]},
            startup=Probe.read(container["startupProbe"]),
            readiness=Probe.read(container["readinessProbe"]),
            liveness=Probe.read(container["livenessProbe"]),
            pre_stop=hook.get("exec", {}).get("command", []),
            grace_s=spec.get("terminationGracePeriodSeconds", 30),
            user=spec["securityContext"]["runAsUser"],
            group=spec["securityContext"]["runAsGroup"],
            volume_group=spec["securityContext"]["fsGroup"],
            read_only=container["securityContext"]["readOnlyRootFilesystem"],
            has_token=spec.get("automountServiceAccountToken", True),
        )


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

    @property
    def claims(self) -> list[str]:
        """The names of the volumes that every pod has for itself."""
        templates = self.stateful_set["spec"]["volumeClaimTemplates"]
        return [claim["metadata"]["name"] for claim in templates]

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

    def environment(self, entries: Iterable[Object], fields: Mapping[str, str]) -> dict[str, str]:
        """The variables of a container; `fields` are what a fieldRef may name."""
        variables: dict[str, str] = {}
        for entry in entries:
            match entry:
                case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                    value = fields[path]
                case {"valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}:
                    value = self.objects["ConfigMap", name]["data"][key]
                case {"value": text}:
                    value = expand(text, variables)
                case _:
                    raise Unplayable(f"a variable of the container: {entry}")
            variables[entry["name"]] = value
        return variables

    def _all(self, kind: str) -> Iterable[Object]:
        return (item for (other, _), item in self.objects.items() if other == kind)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value where there is one; `$$` is a `$`."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)


def _only(found: Object, known: set[str], what: str) -> None:
    unknown = set(found) - known
    if unknown:
        raise Unplayable(f"{what} has fields that are not played: {', '.join(sorted(unknown))}")
