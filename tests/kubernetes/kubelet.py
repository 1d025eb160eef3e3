"""The life of a pod on its node: network, volumes, containers that are probed and restarted, and an
orderly end. Used by cluster.py and real/nodes.py.
"""

import asyncio
import itertools
import logging
import os
import pathlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import network
from container import DEVICES, Container, Image, Root
from network import Network
from podspec import Object, PodSpec, Unplayable, expand
from probes import verdicts

# A container that ends is started again after this long, and after twice that when it ends again: a
# tenth of what Kubernetes waits.
FIRST_BACK_OFF_S = 1
LONGEST_BACK_OFF_S = 30

log = logging.getLogger("kubelet")


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


class Pod:
    """A pod as the control plane describes it, on the node with the number `place`."""

    _numbers = itertools.count()

    def __init__(self, manifest: Object, node: Node, place: int, address: str) -> None:
        self.name = manifest["metadata"]["name"]
        self.place = place
        self.revision = manifest["metadata"]["labels"]["controller-revision-hash"]
        self.address = address
        self.ready = False
        self.ended = False
        self.restarts = 0
        # What must not have happened by the end of a run.
        self.problems: list[str] = []
        self.manifest = manifest
        self._node = node
        self._spec = PodSpec.read(manifest["spec"])
        self._id = f"{self.name}-{next(self._numbers)}"
        self._log = node.directory / "logs" / f"{self.name}.log"
        self._deleted = asyncio.Event()
        self._failed = False
        self._container: Container | None = None

    @property
    def deleting(self) -> bool:
        return self._deleted.is_set()

    @property
    def available(self) -> bool:
        return self.ready and not self.deleting

    def delete(self) -> None:
        """Has the pod end within its grace period; it gets no new clients from now on."""
        log.info("%s is deleted", self.name)
        self._deleted.set()

    def fail(self) -> None:
        """Has the pod end at once, as when its node fails."""
        log.info("%s fails", self.name)
        self._failed = True
        self._deleted.set()

    async def execute(self, argv: list[str]) -> tuple[int, str]:
        if self._container is None:
            raise OSError(f"{self.name} has no container yet")
        return await self._container.execute(argv)

    async def run(self) -> None:
        """From the pod's network to the end of its last container."""
        log.info("%s starts on node %d at %s", self.name, self.place, self.address)
        await self._node.network.attach(self.name, self.address)
        root = Root(self._node.directory / "roots" / self._id)
        await self._mount(root)
        back_off = FIRST_BACK_OFF_S
        while not self.deleting:
            code = await self._run_container(root)
            log.info("%s: its container ended with %d", self.name, code)
            if code != 0 and not self._failed:
                self._note(f"ended with {code}: {self._last_words()}")
            if not self.deleting:
                self.restarts += 1
                await self._wait_or_be_deleted(back_off)
                back_off = min(2 * back_off, LONGEST_BACK_OFF_S)
        await asyncio.to_thread(root.unmount)
        await self._node.network.detach(self.name, self.address)
        self.ended = True

    async def _run_container(self, root: Root) -> int:
        environment = await self._environment()
        container = Container(self._spec, environment, self._log)
        argv = [expand(argument, environment) for argument in self._spec.argv]
        await container.start(argv, self.name, root)
        self._container = container
        watchers = [
            asyncio.create_task(self._probe(container)),
            asyncio.create_task(self._stop_when_deleted(container)),
        ]
        code = await container.wait()
        self.ready = False
        if not self.deleting:
            watchers[1].cancel()
        watchers[0].cancel()
        for outcome in await asyncio.gather(*watchers, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        return code

    async def _probe(self, container: Container) -> None:
        async for passed in verdicts(self._spec.startup, self.address):
            if not passed:
                await self._restart(container, "has not started")
            break
        await asyncio.gather(self._watch_readiness(), self._watch_liveness(container))

    async def _watch_readiness(self) -> None:
        async for passed in verdicts(self._spec.readiness, self.address):
            if passed != self.ready:
                log.info("%s is %s", self.name, "ready" if passed else "not ready")
            self.ready = passed

    async def _watch_liveness(self, container: Container) -> None:
        async for passed in verdicts(self._spec.liveness, self.address):
            if not passed:
                await self._restart(container, "is not alive")

    async def _restart(self, container: Container, why: str) -> None:
        self._note(f"{why}, say its probes")
        await self._stop(container)

    async def _stop_when_deleted(self, container: Container) -> None:
        await self._deleted.wait()
        if self._failed:
            container.signal(signal.SIGKILL)
        else:
            await self._stop(container)

    async def _stop(self, container: Container) -> None:
        problem = await container.stop(self._spec.grace_s)
        if problem:
            self._note(problem)

    async def _wait_or_be_deleted(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._deleted.wait(), seconds)
        except TimeoutError:
            pass

    def _note(self, problem: str) -> None:
        log.warning("%s %s", self.name, problem)
        self.problems.append(f"{self.name} {problem}")

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").rpartition("\n")[0].rpartition("\n")[2]

    @property
    def _fields(self) -> dict[str, str]:
        """What the manifest may refer to."""
        return {
            "metadata.name": self.name,
            "metadata.namespace": self.manifest["metadata"]["namespace"],
            "status.podIP": self.address,
        }

    async def _environment(self) -> dict[str, str]:
        """What a container finds: the runtime's variables, the API's, and the manifest's."""
        control_plane = self._node.control_plane
        config_maps = {name: await control_plane.config_map(name) for name in self._spec.config_maps()}
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": network.API,
            "KUBERNETES_SERVICE_PORT": "443",
        } | self._spec.environment(self._fields, config_maps)

    async def _mount(self, root: Root) -> None:
        read_only = self._node.image.files() | {"/sys": "/sys"}
        read_only |= {device: device for device in DEVICES}
        texts = self._texts()
        volumes = {}
        for name, target in self._spec.mounts.items():
            match self._spec.volumes[name]:
                case {"persistentVolumeClaim": {"claimName": claim}}:
                    volumes[target] = str(await self._claimed(claim))
                case {"projected": {"sources": sources}}:
                    for source in sources:
                        texts |= await self._projected(source, target)
                case volume:
                    raise Unplayable(f"a volume of the pod: {volume}")
        await asyncio.to_thread(root.mount, read_only, volumes, texts, self._spec.read_only)

    async def _claimed(self, claim: str) -> pathlib.Path:
        """The directory of a claim, which the pod's group may write to."""
        volume = await self._node.control_plane.volume(claim)
        volume.mkdir(parents=True, exist_ok=True)
        os.chown(volume, -1, self._spec.volume_group)
        volume.chmod(0o2775)
        return volume

    async def _projected(self, source: Object, target: str) -> dict[str, str]:
        """The files below `target` that a source of a projected volume makes."""
        match source:
            case {"serviceAccountToken": {"path": path}}:
                return {f"{target}/{path}": await self._node.control_plane.token(self.manifest)}
            case {"configMap": {"name": name, "items": items}}:
                data = await self._node.control_plane.config_map(name)
                return {f"{target}/{item['path']}": data[item["key"]] for item in items}
            case {"downwardAPI": {"items": items}}:
                fields = {item["path"]: item["fieldRef"]["fieldPath"] for item in items}
                return {f"{target}/{path}": self._fields[name] for path, name in fields.items()}
            case _:
                raise Unplayable(f"a source of a volume: {source}")

    def _texts(self) -> dict[str, str]:
        """The files that a kubelet writes for every pod."""
        domain = f"{self._fields['metadata.namespace']}.svc.cluster.local"
        searched = f"{domain} svc.cluster.local cluster.local"
        own_name = f"{self.name}.{self.manifest['spec']['subdomain']}.{domain}"
        return {
            "/etc/resolv.conf": f"nameserver {network.DNS}\nsearch {searched}\noptions ndots:5\n",
            "/etc/hosts": f"127.0.0.1 localhost\n{self.address} {own_name} {self.name}\n",
            "/etc/hostname": f"{self.name}\n",
        }
