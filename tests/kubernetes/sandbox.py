"""What the containers of a pod share: a network, and the files and variables that the control plane
has for them. Used by kubelet.py and errand.py.
"""

import asyncio
import itertools
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import network
from container import DEVICES, Container, Image, Root
from network import Network
from podspec import ContainerSpec, Object, PodSpec, Unplayable, expand


class ControlPlane(Protocol):
    """What a kubelet asks for to run a pod, all of it in the pod's namespace."""

    async def config_map(self, name: str) -> Mapping[str, str]: ...

    async def token(self, manifest: Object) -> str:
        """For the service account of the pod."""
        ...

    async def volume(self, claim: str) -> pathlib.Path:
        """The directory that is bound to a claim."""
        ...


@dataclass(frozen=True)
class Node:
    """What all pods of this machine share."""

    image: Image
    network: Network
    # Where root directories and logs go.
    directory: pathlib.Path
    control_plane: ControlPlane


class Sandbox:
    """Of one run of a pod; containers can run while it is open."""

    _numbers = itertools.count()

    def __init__(self, manifest: Object, node: Node, address: str) -> None:
        self.name = manifest["metadata"]["name"]
        self.address = address
        self.log = node.directory / "logs" / f"{self.name}.log"
        self._manifest = manifest
        self._node = node
        self._volumes = PodSpec.read(manifest["spec"]).volumes

    async def open(self) -> None:
        await self._node.network.attach(self.name, self.address)

    async def close(self) -> None:
        await self._node.network.detach(self.name, self.address)

    async def start(self, spec: ContainerSpec, root: Root) -> Container:
        """Runs a container in its root directory."""
        environment = await self._environment(spec)
        container = Container(spec, environment, self.log)
        argv = [expand(argument, environment) for argument in spec.argv]
        await container.start(argv, self.name, root)
        return container

    async def root(self, spec: ContainerSpec) -> Root:
        """Mounts what a container sees, to be unmounted by who asked for it."""
        read_only = self._node.image.files() | {"/sys": "/sys"}
        read_only |= {device: device for device in DEVICES}
        texts = self._texts()
        volumes = {}
        for name, target in spec.mounts.items():
            match self._volumes[name]:
                case {"persistentVolumeClaim": {"claimName": claim}}:
                    volumes[target] = str(await self._claimed(claim, spec.volume_group))
                case {"projected": {"sources": sources}}:
                    for source in sources:
                        texts |= await self._projected(source, target)
                case volume:
                    raise Unplayable(f"a volume of the pod: {volume}")
        root = Root(self._node.directory / "roots" / f"{self.name}-{next(self._numbers)}")
        await asyncio.to_thread(root.mount, read_only, volumes, texts, spec.read_only)
        return root

    async def _environment(self, spec: ContainerSpec) -> dict[str, str]:
        """What a container finds: the runtime's variables, the API's, and the manifest's."""
        control_plane = self._node.control_plane
        config_maps = {name: await control_plane.config_map(name) for name in spec.config_maps()}
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": network.API,
            "KUBERNETES_SERVICE_PORT": "443",
        } | spec.environment(self._fields, config_maps)

    async def _claimed(self, claim: str, group: int) -> pathlib.Path:
        """The directory of a claim, which the pod's group may write to."""
        volume = await self._node.control_plane.volume(claim)
        volume.mkdir(parents=True, exist_ok=True)
        os.chown(volume, -1, group)
        volume.chmod(0o2775)
        return volume

    async def _projected(self, source: Object, target: str) -> dict[str, str]:
        """The files below `target` that a source of a projected volume makes."""
        match source:
            case {"serviceAccountToken": {"path": path}}:
                return {f"{target}/{path}": await self._node.control_plane.token(self._manifest)}
            case {"configMap": {"name": name, "items": items}}:
                data = await self._node.control_plane.config_map(name)
                return {f"{target}/{item['path']}": data[item["key"]] for item in items}
            case {"downwardAPI": {"items": items}}:
                fields = {item["path"]: item["fieldRef"]["fieldPath"] for item in items}
                return {f"{target}/{path}": self._fields[name] for path, name in fields.items()}
            case _:
                raise Unplayable(f"a source of a volume: {source}")

    @property
    def _fields(self) -> dict[str, str]:
        """What the manifest may refer to."""
        return {
            "metadata.name": self.name,
            "metadata.namespace": self._manifest["metadata"]["namespace"],
            "status.podIP": self.address,
        }

    def _texts(self) -> dict[str, str]:
        """The files that a kubelet writes for every pod."""
        domain = f"{self._fields['metadata.namespace']}.svc.cluster.local"
        searched = f"{domain} svc.cluster.local cluster.local"
        subdomain = self._manifest["spec"].get("subdomain")
        names = f"{self.name}.{subdomain}.{domain} {self.name}" if subdomain else self.name
        return {
            "/etc/resolv.conf": f"nameserver {network.DNS}\nsearch {searched}\noptions ndots:5\n",
            "/etc/hosts": f"127.0.0.1 localhost\n{self.address} {names}\n",
            "/etc/hostname": f"{self.name}\n",
        }
