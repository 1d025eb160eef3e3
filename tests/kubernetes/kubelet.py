"""The life of a pod on its node: network, volumes, containers that are probed and restarted, and an
orderly end. Used by cluster.py.
"""

import asyncio
import logging
import os
import pathlib
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass

import network
from container import DEVICES, TOKEN_DIRECTORY, Container, Image, Root
from network import Network
from objects import NAMESPACE, PodSpec, Release, expand
from probes import verdicts

# A container that ends is started again after this long, and after twice that when it ends again: a
# tenth of what Kubernetes waits.
FIRST_BACK_OFF_S = 1
LONGEST_BACK_OFF_S = 30

log = logging.getLogger("kubelet")


@dataclass(frozen=True)
class Node:
    """What all pods of this machine share."""

    image: Image
    network: Network
    # Where root directories, volumes and logs go.
    directory: pathlib.Path
    # What the API issued to the pods' service account.
    credentials: pathlib.Path
    # The release that was applied last.
    release: Callable[[], Release]


class Pod:
    """A pod of the release's template as it is now, on the node with the number `place`."""

    def __init__(
        self, name: str, number: int, node: Node, place: int, address: str | None = None
    ) -> None:
        release = node.release()
        self.name = name
        self.place = place
        self.revision = release.revision
        self.address = address or node.network.next_address(place)
        self.ready = False
        self.ended = False
        self.restarts = 0
        # What must not have happened by the end of a run.
        self.problems: list[str] = []
        self._node = node
        self._spec = PodSpec.read(release.template["spec"])
        self._headless = release.service(headless=True)["metadata"]["name"]
        self._claims = release.claims
        self._id = f"{name}-{number}"
        self._log = node.directory / "logs" / f"{name}.log"
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
        await asyncio.to_thread(self._mount, root)
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
        environment = self._environment()
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

    def _environment(self) -> dict[str, str]:
        """What a container finds: the runtime's variables, the API's, and the manifest's."""
        fields = {
            "metadata.name": self.name,
            "metadata.namespace": NAMESPACE,
            "status.podIP": self.address,
        }
        own = self._node.release().environment(self._spec.env, fields)
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOSTNAME": self.name,
            "KUBERNETES_SERVICE_HOST": network.API,
            "KUBERNETES_SERVICE_PORT": "443",
        } | own

    def _mount(self, root: Root) -> None:
        read_only = self._node.image.files() | {"/sys": "/sys"}
        read_only |= {device: device for device in DEVICES}
        if self._spec.has_token:
            read_only[TOKEN_DIRECTORY] = str(self._node.credentials)
        volumes = {}
        for claim in self._claims:
            volume = volume_of(self._node.directory, claim, self.name)
            volume.mkdir(parents=True, exist_ok=True)
            os.chown(volume, -1, self._spec.volume_group)
            volume.chmod(0o2775)
            volumes[self._spec.mounts[claim]] = str(volume)
        root.mount(read_only, volumes, self._texts(), self._spec.read_only)

    def _texts(self) -> dict[str, str]:
        domain = f"{NAMESPACE}.svc.cluster.local"
        searched = f"{domain} svc.cluster.local cluster.local"
        own_name = f"{self.name}.{self._headless}.{domain}"
        return {
            "/etc/resolv.conf": f"nameserver {network.DNS}\nsearch {searched}\noptions ndots:5\n",
            "/etc/hosts": f"127.0.0.1 localhost\n{self.address} {own_name} {self.name}\n",
            "/etc/hostname": f"{self.name}\n",
        }


def volume_of(directory: pathlib.Path, claim: str, pod: str) -> pathlib.Path:
    """Where the volume of a pod's claim is; it outlives the pod."""
    return directory / "volumes" / f"{claim}-{pod}"


def delete_volumes(directory: pathlib.Path, claims: list[str], pod: str) -> None:
    for claim in claims:
        shutil.rmtree(volume_of(directory, claim, pod), ignore_errors=True)
