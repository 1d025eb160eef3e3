"""A real control plane whose nodes are played: what an operator does goes through Helm and kubectl to
the API. Used by main.py; cluster.py beside it is the one that is played by hand.
"""

import asyncio
import pathlib

import yaml

import dns
import network
from container import Image
from kubelet import Pod
from network import Network
from objects import CHART, NAME, NAMESPACE
from podspec import Object
from real import nodes
from real.api import Api
from real.commands import Commands
from real.kubelets import PODS, Kubelets
from real.programs import Programs
from real.services import Services
from real.storage import Storage

STATEFUL_SET = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{NAME}"
MEMBERS = "app.kubernetes.io/component=member"
DRAIN_LIMIT_S = 120
TEST_LIMIT_S = 120


class Cluster:
    """`run` must be running all the while; a release may be installed once it is `open`."""

    def __init__(self, image: Image, directory: pathlib.Path, programs: pathlib.Path) -> None:
        self.open = asyncio.Event()
        self._network = Network()
        self._programs = Programs(programs, directory)
        self._commands = Commands(programs, self._programs.kubeconfig)
        self._api = self._programs.api()
        self._kubelets = Kubelets(self._api, image, self._network, directory)
        self._services = Services(self._api)
        self._storage = Storage(self._api, directory / "volumes")

    @property
    def pods(self) -> dict[str, Pod]:
        return self._kubelets.pods

    @property
    def problems(self) -> list[str]:
        return self._kubelets.problems

    async def run(self) -> None:
        """Starts everything, and plays the nodes until it is cancelled."""
        await self._network.open()
        await dns.Server(self._services.addresses).open(network.DNS)
        async with asyncio.TaskGroup() as tasks:
            await self._programs.start(tasks)
            async with self._api as api:
                await self._play(api)

    async def _play(self, api: Api) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(nodes.keep_ready(api))
            tasks.create_task(self._kubelets.run())
            tasks.create_task(self._services.run())
            tasks.create_task(self._storage.run())
            self.open.set()

    async def upgrade(self, values: Object) -> None:
        options = ["--install", "--create-namespace", "--hide-notes", "--values=-"]
        text = yaml.safe_dump(dict(values))
        await self._commands.helm("upgrade", NAME, str(CHART), *options, stdin=text)

    async def rollout_restart(self) -> None:
        await self._commands.kubectl("rollout", "restart", f"statefulset/{NAME}")

    async def test(self) -> None:
        await self._commands.helm("test", NAME, "--hide-notes", f"--timeout={TEST_LIMIT_S}s")

    async def delete_all(self) -> None:
        await self._commands.kubectl("delete", "pods", f"--selector={MEMBERS}", "--wait=false")

    async def fail_all(self) -> None:
        """All nodes fail at once, and are back at once; nobody is told."""
        for pod in self.pods.values():
            pod.fail()

    async def swap_addresses(self) -> None:
        """Deletes all pods, and gives each the address of the next."""
        addresses = [pod.address for pod in self.pods.values()]
        self._kubelets.promised |= zip(self.pods, addresses[1:] + addresses[:1])
        await self.delete_all()

    async def lose_volumes(self, name: str) -> None:
        """Deletes a pod and its claim, whose volume goes with the pod."""
        lost = [f"pvc/data-{name}", f"pod/{name}"]
        await self._commands.kubectl("delete", *lost, "--wait=false")

    async def drain(self, place: int) -> None:
        await self._commands.kubectl("drain", nodes.name_of(place), f"--timeout={DRAIN_LIMIT_S}s")

    async def uncordon(self, place: int) -> None:
        await self._commands.kubectl("uncordon", nodes.name_of(place))

    async def settled(self) -> bool:
        """Whether Kubernetes says that the pods are those that are wanted, and their nodes do too."""
        found = await self._api.get(STATEFUL_SET)
        status, replicas = found["status"], found["spec"]["replicas"]
        is_rolled_out = (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status["currentRevision"] == status["updateRevision"]
            and status["replicas"] == status.get("readyReplicas", 0) == replicas
        )
        # The status lags behind the pods.
        wanted = {f"{NAME}-{ordinal}" for ordinal in range(replicas)}
        listed = (await self._api.get(f"{PODS}?labelSelector={MEMBERS}"))["items"]
        kept = {
            pod["metadata"]["name"] for pod in listed if "deletionTimestamp" not in pod["metadata"]
        }
        are_ready = all(pod.available for pod in self.pods.values())
        return is_rolled_out and wanted == kept == set(self.pods) and are_ready

    def endpoints(self) -> list[str]:
        return self._services.endpoints(headless=False)

    def all_endpoints(self) -> list[str]:
        return self._services.endpoints(headless=True)
