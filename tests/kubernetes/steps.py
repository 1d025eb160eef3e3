"""What happens to a release in its life. Every step begins and ends with three pods that are ready,
so they can be played in any order. Used by main.py.
"""

import asyncio
from collections.abc import Awaitable, Callable

from scenario import REPLICAS, Scenario

# For the step in which Kubernetes says nothing: soon enough to wait for.
DEAD_SERVER_TIMEOUT_MS = 5000


async def upgrade(scenario: Scenario) -> None:
    """Another image and other flags: a pod after the other."""
    async with scenario.line("upgrade"):
        await scenario.upgrade(image={"tag": "next"}, logFormat="json")
        await scenario.settle()


async def test(scenario: Scenario) -> None:
    """The chart's own test writes and reads through every pod, by its name."""
    async with scenario.line("helm test"):
        await scenario.cluster.test()


async def restart(scenario: Scenario) -> None:
    async with scenario.line("rollout restart"):
        await scenario.cluster.rollout_restart()
        await scenario.settle()


async def scale(scenario: Scenario) -> None:
    """Up on new volumes, down with members that leave, and up on the volumes they left."""
    for replicas in [5, 3, 1, REPLICAS]:
        async with scenario.line(f"scale to {replicas}"):
            await scenario.upgrade(replicas=replicas)
            await scenario.settle()


async def drain(scenario: Scenario) -> None:
    """Two nodes are drained at once; the disruption budget has the second wait."""
    async with scenario.line("drain two nodes"):
        places = [pod.place for pod in scenario.cluster.pods.values()][:2]
        await asyncio.gather(*map(scenario.cluster.drain, places))
        await scenario.settle()
        for place in places:
            await scenario.cluster.uncordon(place)


async def lose_volume(scenario: Scenario) -> None:
    """Of the pod that is special to many stores."""
    async with scenario.line("lost volume of pod 0"):
        await scenario.cluster.lose_volumes("mokv-0")
        await scenario.settle()


async def delete_all(scenario: Scenario) -> None:
    """All pods stop at once, and start with new addresses."""
    async with scenario.line("all pods deleted at once"):
        await scenario.cluster.delete_all()
        await scenario.settle()


async def fail_all(scenario: Scenario) -> None:
    """The power of all nodes fails: nobody is told, and all start with new addresses."""
    async with scenario.line("all pods killed at once"):
        await scenario.cluster.fail_all()
        await scenario.settle()


async def swap_addresses(scenario: Scenario) -> None:
    """All pods start at once, each with an address that another had."""
    async with scenario.line("all pods swap their addresses"):
        await scenario.cluster.swap_addresses()
        await scenario.settle()


async def scale_silently(scenario: Scenario) -> None:
    """Pods that are scaled away without a hook are removed as dead members, and come back on volumes
    of members that were removed."""
    await scenario.upgrade(leaveOnScaleDown=False, deadServerTimeoutMs=DEAD_SERVER_TIMEOUT_MS)
    await scenario.settle()
    # The role is deleted before the pods are that ask with it: their hooks fail, and do not leave.
    scenario.forgive("this member stays one: the API says 403 Forbidden")
    for replicas in [5, REPLICAS, 5, REPLICAS]:
        async with scenario.line(f"scale to {replicas}, without a hook"):
            await scenario.upgrade(replicas=replicas)
            await scenario.settle()
    await scenario.upgrade(leaveOnScaleDown=True, deadServerTimeoutMs=600_000)
    await scenario.settle()


STEPS: dict[str, Callable[[Scenario], Awaitable[None]]] = {
    "test": test,
    "upgrade": upgrade,
    "restart": restart,
    "scale": scale,
    "drain": drain,
    "lose-volume": lose_volume,
    "delete-all": delete_all,
    "fail-all": fail_all,
    "swap-addresses": swap_addresses,
    "scale-silently": scale_silently,
}
