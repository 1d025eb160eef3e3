"""The kubelets of all nodes: they run the pods that the scheduler gives them, tell the API how these
are, and finish what is deleted. Used by cluster.py.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from container import Image
from errand import Errand
from kubelet import Pod
from network import Network
from objects import NAMESPACE
from podspec import Object
from poll import PERIOD_S, until
from real import nodes
from real.api import NOT_FOUND, Api, Mirror, Refused
from sandbox import Node

CORE = f"/api/v1/namespaces/{NAMESPACE}"
PODS = f"{CORE}/pods"
VOLUMES = "/api/v1/persistentvolumes"

# How long what a pod needs may take to appear, and an address that it was promised to be free.
NEED_LIMIT_S = 60
TOKEN_LIFETIME_S = 3600


class Kubelets:
    """`run` must be running."""

    def __init__(self, api: Api, image: Image, network: Network, directory: Path) -> None:
        # The pods that run, by their names, and what those suffered that are gone.
        self.pods: dict[str, Pod] = {}
        self.problems: list[str] = []
        # Addresses that pods get at their next start.
        self.promised: dict[str, str] = {}
        self._api = api
        self._node = Node(image, network, directory, control_plane=self)
        self._wanted = Mirror(api, PODS)

    async def run(self) -> None:
        known: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wanted.run())
            while True:
                for uid, manifest in self._wanted.objects.items():
                    if "nodeName" in manifest["spec"] and uid not in known:
                        known.add(uid)
                        is_errand = manifest["spec"]["restartPolicy"] == "Never"
                        run = self._run_errand if is_errand else self._run_member
                        tasks.create_task(run(manifest))
                await asyncio.sleep(PERIOD_S)

    async def config_map(self, name: str) -> Mapping[str, str]:
        found = await self._appearing(f"{CORE}/configmaps/{name}")
        return found["data"]

    async def token(self, manifest: Object) -> str:
        account, metadata = manifest["spec"]["serviceAccountName"], manifest["metadata"]
        pod = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        request = {"spec": {"expirationSeconds": TOKEN_LIFETIME_S, "boundObjectRef": pod}}
        issued = await self._api.create(f"{CORE}/serviceaccounts/{account}/token", request)
        return issued["status"]["token"]

    async def volume(self, claim: str) -> Path:
        bound = await self._api.get(f"{CORE}/persistentvolumeclaims/{claim}")
        volume = await self._api.get(f"{VOLUMES}/{bound['spec']['volumeName']}")
        return Path(volume["spec"]["hostPath"]["path"])

    async def _run_member(self, manifest: Object) -> None:
        """From when a pod is bound to a node until the API forgets it. When its node fails, the same
        pod starts anew."""
        metadata, spec = manifest["metadata"], manifest["spec"]
        name, uid = metadata["name"], metadata["uid"]
        place = nodes.place_of(spec["nodeName"])
        while not self._is_deleted(uid):
            pod = Pod(manifest, self._node, place, await self._address(name, place))
            self.pods[name] = pod
            await self._accompany(pod, uid)
            del self.pods[name]
            self.problems += pod.problems
        now = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        await self._api.delete(f"{PODS}/{name}", now)

    async def _run_errand(self, manifest: Object) -> None:
        """Whoever made the pod deletes it; the API forgets one that has ended at once."""
        name, place = manifest["metadata"]["name"], nodes.place_of(manifest["spec"]["nodeName"])
        has_succeeded = await Errand(manifest, self._node, await self._address(name, place)).run()
        phase = "Succeeded" if has_succeeded else "Failed"
        await self._api.patch(f"{PODS}/{name}/status", {"status": {"phase": phase}})

    async def _accompany(self, pod: Pod, uid: str) -> None:
        """Runs a pod to its end, and reports every change of it."""
        reported: Object = {}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pod.run())
            while not pod.ended:
                if self._is_deleted(uid):
                    if not pod.deleting:
                        pod.delete()
                elif reported != (status := _status(pod)):
                    await self._api.patch(f"{PODS}/{pod.name}/status", {"status": _dated(status)})
                    reported = status
                await asyncio.sleep(PERIOD_S)

    async def _address(self, name: str, place: int) -> str:
        address = self.promised.pop(name, None)
        if address is None:
            return self._node.network.next_address(place)
        await until(f"{address} is free", NEED_LIMIT_S, lambda: self._is_free(address))
        return address

    def _is_free(self, address: str) -> bool:
        return all(pod.address != address for pod in self.pods.values())

    def _is_deleted(self, uid: str) -> bool:
        manifest = self._wanted.objects.get(uid)
        return manifest is None or "deletionTimestamp" in manifest["metadata"]

    async def _appearing(self, path: str) -> Any:
        async def found() -> Any:
            try:
                return await self._api.get(path)
            except Refused as error:
                if error.status != NOT_FOUND:
                    raise
                return None

        return await until(f"{path} is there", NEED_LIMIT_S, found)


def _status(pod: Pod) -> Object:
    (played,) = pod.manifest["spec"]["containers"]
    container = {
        "name": played["name"],
        "image": played["image"],
        "imageID": "",
        "ready": pod.ready,
        "restartCount": pod.restarts,
        "state": {"running": {}},
    }
    ready = "True" if pod.ready else "False"
    conditions = {"Initialized": "True", "ContainersReady": ready, "Ready": ready}
    return {
        "phase": "Running",
        "podIP": pod.address,
        # A patch adds to this list, unless it says that it replaces.
        "podIPs": [{"$patch": "replace"}, {"ip": pod.address}],
        "conditions": [{"type": kind, "status": value} for kind, value in conditions.items()],
        "containerStatuses": [container],
    }


def _dated(status: Object) -> Object:
    now = time.strftime("%FT%TZ", time.gmtime())
    conditions = [condition | {"lastTransitionTime": now} for condition in status["conditions"]]
    return status | {"conditions": conditions}
