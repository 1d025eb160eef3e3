"""The nodes of the cluster, as their kubelets register them: kept ready by leases that are renewed.
Used by cluster.py.
"""

import asyncio
import datetime

from podspec import Object
from real.api import Api

# One for each of the most pods that a scenario has, and one that can be drained then; in three zones.
NODES = 6
ZONES = 3
# Far less than what Kubernetes waits for before it gives a node up.
RENEWAL_S = 10

REGISTRY = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
PREFIX = "node-"


def name_of(place: int) -> str:
    return f"{PREFIX}{place}"


def place_of(name: str) -> int:
    return int(name.removeprefix(PREFIX))


async def keep_ready(api: Api) -> None:
    """Registers all nodes, and renews their leases until it is cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for place in range(NODES):
            tasks.create_task(_keep_ready(api, place))


async def _keep_ready(api: Api, place: int) -> None:
    name = name_of(place)
    await api.create(REGISTRY, _node(name, f"zone-{place % ZONES}"))
    await api.create(LEASES, {"metadata": {"name": name}, "spec": _lease(name)})
    while True:
        await asyncio.sleep(RENEWAL_S)
        await api.patch(f"{LEASES}/{name}", {"spec": _lease(name)})


def _node(name: str, zone: str) -> Object:
    resources = {"cpu": "8", "memory": "16Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": resources, "allocatable": resources, "conditions": [ready]},
    }


def _lease(holder: str) -> Object:
    now = datetime.datetime.now(datetime.UTC).strftime("%FT%T.%fZ")
    return {"holderIdentity": holder, "leaseDurationSeconds": 40, "renewTime": now}
