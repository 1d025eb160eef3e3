"""A control plane for one StatefulSet, played by hand: it keeps the pods that the release wants,
rolls new templates out, evicts within the disruption budget, and answers DNS and the API. Used by
main.py.
"""

import asyncio
import json
import pathlib
import shutil
import time
from collections.abc import Mapping

import dns
import network
from child import end_with
from container import Image
from errand import Errand
from kubelet import Pod
from network import Network
from objects import NAMESPACE, Release
from podspec import Object
from poll import PERIOD_S, until
from sandbox import Node

# One for each of the most pods that a scenario has, and one that can be drained then.
NODES = 6
EVICTION_LIMIT_S = 120
API_LIMIT_S = 30

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


class Cluster:
    """`run` must be running all the while; a release may be installed once it is `open`."""

    def __init__(self, image: Image, directory: pathlib.Path, api: pathlib.Path) -> None:
        self.open = asyncio.Event()
        self.pods: dict[str, Pod] = {}
        # What pods suffered that are gone.
        self.problems: list[str] = []
        self.release = Release({})
        self._node = Node(image, Network(), directory, control_plane=self)
        self._api = api
        self._installed = asyncio.Event()
        self._restarted_at = ""
        self._cordoned: set[int] = set()
        self._lost: set[str] = set()
        # Addresses that pods get at their next start.
        self._promised: dict[str, str] = {}
        self._starts = 0

    async def run(self) -> None:
        """Opens network, DNS and API, and reconciles until it is cancelled."""
        await self._node.network.open()
        await dns.Server(self.addresses).open(network.DNS)
        for name in ["objects", "credentials", "volumes"]:
            (self._node.directory / name).mkdir()
        async with asyncio.TaskGroup() as tasks:
            await self._open_api(tasks)
            self.open.set()
            await self._installed.wait()
            while True:
                self._reconcile(tasks)
                await asyncio.sleep(PERIOD_S)

    async def upgrade(self, values: Object) -> None:
        """What `helm upgrade --install` does."""
        release = await asyncio.to_thread(Release.render, values)
        if self._restarted_at:
            release = release.with_annotation(RESTARTED_AT, self._restarted_at)
        self._apply(release)

    async def rollout_restart(self) -> None:
        """What `kubectl rollout restart` does; the mark stays through later upgrades."""
        self._restarted_at = time.strftime("%FT%TZ", time.gmtime())
        self._apply(self.release.with_annotation(RESTARTED_AT, self._restarted_at))

    async def test(self) -> None:
        """What `helm test` does."""
        for manifest in self.release.tests:
            errand = Errand(manifest, self._node, self._node.network.next_address(0))
            if not await errand.run():
                self.problems.append(f"{manifest['metadata']['name']} failed")

    async def delete_all(self) -> None:
        for pod in self.pods.values():
            pod.delete()

    async def fail_all(self) -> None:
        """All nodes fail at once; their pods are replaced."""
        for pod in self.pods.values():
            pod.fail()

    async def swap_addresses(self) -> None:
        """Deletes all pods, and gives each the address of the next."""
        addresses = [pod.address for pod in self.pods.values()]
        self._promised = dict(zip(self.pods, addresses[1:] + addresses[:1]))
        await self.delete_all()

    async def lose_volumes(self, name: str) -> None:
        """Deletes a pod and its claims, whose volumes go with the pod."""
        self._lost.add(name)
        self.pods[name].delete()

    async def drain(self, place: int) -> None:
        """What `kubectl drain` does: evicts the node's pods, each when the budget allows it."""
        self._cordoned.add(place)
        for pod in [pod for pod in self.pods.values() if pod.place == place]:
            await until(f"{pod.name} may be evicted", EVICTION_LIMIT_S, self._may_evict)
            pod.delete()
            await until(f"{pod.name} is gone", EVICTION_LIMIT_S, lambda: pod.ended)

    async def uncordon(self, place: int) -> None:
        self._cordoned.remove(place)

    async def settled(self) -> bool:
        """Whether the pods are those that the release wants, and all ready."""
        wanted = {self._name(ordinal) for ordinal in range(self.release.replicas)}
        return wanted == set(self.pods) and all(
            pod.available and pod.revision == self.release.revision for pod in self.pods.values()
        )

    def endpoints(self) -> list[str]:
        """Where the clients' service leads to: the pods that are ready."""
        return [self._endpoint(pod) for pod in self.pods.values() if pod.available]

    def all_endpoints(self) -> list[str]:
        """Where all pods serve clients, ready or not."""
        return [self._endpoint(pod) for pod in self.pods.values()]

    async def config_map(self, name: str) -> Mapping[str, str]:
        if name == "kube-root-ca.crt":
            return {"ca.crt": (self._node.directory / "credentials" / "ca.crt").read_text()}
        return self.release.objects["ConfigMap", name]["data"]

    async def token(self, manifest: Object) -> str:
        return (self._node.directory / "credentials" / "token").read_text()

    async def volume(self, claim: str) -> pathlib.Path:
        return self._node.directory / "volumes" / claim

    def addresses(self, name: str) -> list[str] | None:
        """What DNS knows of a name now."""
        domain = f".{NAMESPACE}.svc.cluster.local"
        if not name.endswith(domain):
            return None
        clients, members = (self.release.service(headless) for headless in (False, True))
        listed = {
            pod.name: pod.address
            for pod in self.pods.values()
            if pod.available or members["spec"].get("publishNotReadyAddresses")
        }
        match name.removesuffix(domain).split("."):
            case [service] if service == members["metadata"]["name"]:
                return list(listed.values())
            case [service] if service == clients["metadata"]["name"]:
                return [endpoint.rpartition(":")[0] for endpoint in self.endpoints()]
            case [pod, service] if service == members["metadata"]["name"] and pod in listed:
                return [listed[pod]]
            case _:
                return None

    def _reconcile(self, tasks: asyncio.TaskGroup) -> None:
        for pod in [pod for pod in self.pods.values() if pod.ended]:
            self._forget(pod)
        wanted = [self._name(ordinal) for ordinal in range(self.release.replicas)]
        for name in self.pods.keys() - wanted:
            if not self.pods[name].deleting:
                self.pods[name].delete()
        for name in wanted:
            if name not in self.pods:
                self._create(name, tasks)
        self._roll(wanted)

    def _roll(self, wanted: list[str]) -> None:
        """Replaces the last pod with an old template, once all behind it are ready."""
        for name in reversed(wanted):
            pod = self.pods.get(name)
            if pod is None:
                return None
            if pod.revision != self.release.revision and not pod.deleting:
                return pod.delete()
            if not pod.available:
                return None

    def _create(self, name: str, tasks: asyncio.TaskGroup) -> None:
        address = self._promised.get(name)
        if address in [pod.address for pod in self.pods.values()]:
            return
        self._promised.pop(name, None)
        self._starts += 1
        place = self._place()
        address = address or self._node.network.next_address(place)
        self.pods[name] = Pod(self.release.pod(name), self._node, place, address)
        tasks.create_task(self.pods[name].run())

    def _place(self) -> int:
        """The node with the fewest pods; among equals the one that comes next, so that pods move."""
        load = [pod.place for pod in self.pods.values()]
        nodes = [(self._starts + offset) % NODES for offset in range(NODES)]
        return min((node for node in nodes if node not in self._cordoned), key=load.count)

    def _forget(self, pod: Pod) -> None:
        del self.pods[pod.name]
        self.problems += pod.problems
        is_surplus = pod.name not in map(self._name, range(self.release.replicas))
        if pod.name in self._lost or (is_surplus and self.release.deletes_volumes_when_scaled):
            for claim in self.release.claims(pod.name):
                shutil.rmtree(self._node.directory / "volumes" / claim, ignore_errors=True)
            self._lost.discard(pod.name)

    def _endpoint(self, pod: Pod) -> str:
        port = self.release.port(self.release.service(headless=False), "grpc")
        return f"{pod.address}:{port}"

    def _may_evict(self) -> bool:
        available = sum(pod.available for pod in self.pods.values())
        return available > self.release.replicas - self.release.max_unavailable

    def _name(self, ordinal: int) -> str:
        return f"{self.release.stateful_set['metadata']['name']}-{ordinal}"

    async def _open_api(self, tasks: asyncio.TaskGroup) -> None:
        places = [str(self._node.directory / name) for name in ("objects", "credentials")]
        command = [str(self._api), network.API, *places]
        server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert server.stdout is not None
        line = await asyncio.wait_for(server.stdout.readline(), API_LIMIT_S)
        if not line:
            raise OSError(f"{self._api} has ended, see above")
        tasks.create_task(end_with("the API", server))

    def _apply(self, release: Release) -> None:
        self.release = release
        self._publish()
        self._installed.set()

    def _publish(self) -> None:
        """Lets the API answer with the objects that the pods' role may read."""
        found = self.release.stateful_set
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{found['metadata']['name']}"
        file = self._node.directory / "objects" / path.lstrip("/")
        if path not in self.release.readable():
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".new")
        half.write_text(json.dumps(found))
        half.rename(file)
