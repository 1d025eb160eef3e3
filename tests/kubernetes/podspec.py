"""What a kubelet reads out of a pod: commands, variables, files, probes and users.

Only what the chart uses is understood. Anything else is refused, so that a chart that grows is not
played without what it grew by. Used by those who run pods and their containers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Fields that are played, or that change nothing here: others find the node, and there is one image.
POD_FIELDS = {
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsPolicy",
    "enableServiceLinks",
    "hostname",
    "nodeName",
    "preemptionPolicy",
    "priority",
    "restartPolicy",
    "schedulerName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
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
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
}
PROBES = ["startupProbe", "readinessProbe", "livenessProbe"]
PROBE_FIELDS = {"grpc", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"}

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
        _only(probe, PROBE_FIELDS, "a probe")
        if probe.get("successThreshold", 1) != 1:
            raise Unplayable("a probe that must succeed more than once")
        return cls(
            port=probe["grpc"]["port"],
            service=probe["grpc"].get("service", ""),
            period_s=probe.get("periodSeconds", cls.period_s),
            timeout_s=probe.get("timeoutSeconds", cls.timeout_s),
            failure_threshold=probe.get("failureThreshold", cls.failure_threshold),
        )


@dataclass(frozen=True)
class ContainerSpec:
    """What a container runs and sees, and as whom."""

    name: str
    argv: list[str]
    env: list[Object]
    # Where it sees the volumes, by their names.
    mounts: dict[str, str]
    # By the names of their fields.
    probes: dict[str, Probe]
    pre_stop: list[str]
    user: int
    group: int
    volume_group: int
    read_only: bool

    @classmethod
    def read(cls, container: Object, pod_context: Object) -> "ContainerSpec":
        _only(container, CONTAINER_FIELDS, "a container")
        hook = container.get("lifecycle", {}).get("preStop", {})
        _only(hook, {"exec"}, "the preStop hook")
        mounts = container.get("volumeMounts", [])
        return cls(
            name=container["name"],
            argv=container["command"] + container.get("args", []),
            env=container.get("env", []),
            mounts={mount["name"]: mount["mountPath"] for mount in mounts},
            probes={name: Probe.read(container[name]) for name in PROBES if name in container},
            pre_stop=hook.get("exec", {}).get("command", []),
            user=pod_context["runAsUser"],
            group=pod_context["runAsGroup"],
            volume_group=pod_context["fsGroup"],
            read_only=container["securityContext"]["readOnlyRootFilesystem"],
        )

    def config_maps(self) -> set[str]:
        """The names of those that `environment` needs."""
        references = (entry.get("valueFrom", {}).get("configMapKeyRef") for entry in self.env)
        return {reference["name"] for reference in references if reference}

    def environment(
        self, fields: Mapping[str, str], config_maps: Mapping[str, Mapping[str, str]]
    ) -> dict[str, str]:
        """The variables of the container; `fields` are what a fieldRef may name."""
        variables: dict[str, str] = {}
        for entry in self.env:
            match entry:
                case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                    value = fields[path]
                case {"valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}:
                    value = config_maps[name][key]
                case {"value": text}:
                    value = expand(text, variables)
                case _:
                    raise Unplayable(f"a variable of the container: {entry}")
            variables[entry["name"]] = value
        return variables


@dataclass(frozen=True)
class PodSpec:
    """A pod with one container."""

    volumes: dict[str, Object]
    container: ContainerSpec
    grace_s: float

    @classmethod
    def read(cls, spec: Object) -> "PodSpec":
        _only(spec, POD_FIELDS, "the pod")
        (container,) = spec["containers"]
        return cls(
            volumes={volume["name"]: volume for volume in spec.get("volumes", [])},
            container=ContainerSpec.read(container, spec["securityContext"]),
            grace_s=spec.get("terminationGracePeriodSeconds", 30),
        )


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
