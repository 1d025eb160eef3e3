"""A provisioner of volumes, which are directories of this machine: makes one for every claim, and
removes those that are released. Used by cluster.py.
"""

import asyncio
import logging
import pathlib
import shutil

from podspec import Object
from poll import PERIOD_S
from real.api import Api, Mirror

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"

PROVISIONER = "mokv.test/directory"
# Set by Kubernetes on a claim that waits for its provisioner.
WANTED_FROM = "volume.kubernetes.io/storage-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"

log = logging.getLogger("storage")


class Storage:
    def __init__(self, api: Api, directory: pathlib.Path) -> None:
        self._api = api
        self._directory = directory
        self._claims = Mirror(api, CLAIMS)
        self._volumes = Mirror(api, VOLUMES)
        # The uids of claims that have got a volume, and of volumes that are removed.
        self._done: set[str] = set()

    async def run(self) -> None:
        await self._api.create(CLASSES, _storage_class())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._claims.run())
            tasks.create_task(self._volumes.run())
            while True:
                await self._reconcile()
                await asyncio.sleep(PERIOD_S)

    async def _reconcile(self) -> None:
        for uid, claim in list(self._claims.objects.items()):
            wanted_from = claim["metadata"].get("annotations", {}).get(WANTED_FROM)
            if wanted_from == PROVISIONER and uid not in self._done:
                self._done.add(uid)
                await self._provide(claim)
        for uid, volume in list(self._volumes.objects.items()):
            if volume["status"].get("phase") == "Released" and uid not in self._done:
                self._done.add(uid)
                await self._remove(volume)

    async def _provide(self, claim: Object) -> None:
        name = f"pv-{claim['metadata']['uid']}"
        directory = self._directory / name
        directory.mkdir(parents=True)
        log.info("%s is for %s", name, claim["metadata"]["name"])
        await self._api.create(VOLUMES, _volume(name, claim, directory))

    async def _remove(self, volume: Object) -> None:
        log.info("%s is removed", volume["metadata"]["name"])
        await asyncio.to_thread(shutil.rmtree, volume["spec"]["hostPath"]["path"])
        await self._api.delete(f"{VOLUMES}/{volume['metadata']['name']}")


def _storage_class() -> Object:
    is_default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "metadata": {"name": "directory", "annotations": is_default},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
    }


def _volume(name: str, claim: Object, directory: pathlib.Path) -> Object:
    reference = {key: claim["metadata"][key] for key in ("name", "namespace", "uid")}
    return {
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": claim["spec"]["accessModes"],
            "capacity": claim["spec"]["resources"]["requests"],
            "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **reference},
            "hostPath": {"path": str(directory)},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim["spec"]["storageClassName"],
        },
    }
