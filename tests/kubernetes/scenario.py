"""A release under load: what an operator does to it, what it must look like afterwards, and a line
for each thing done. Used by steps.py and main.py.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from kubelet import Pod
from load import Load
from members import Watch, disagreement
from podspec import Object
from poll import Late, until

REPLICAS = 3
SETTLE_LIMIT_S = 180
MEMBERS_LIMIT_S = 60
# How long a look at the members may take, and how long to the next.
LOOK_LIMIT_S = 15
LOOK_PERIOD_S = 0.5
# How many problems are shown, of all that were found.
MOST_SHOWN = 20


class Wrong(Exception):
    """Something does not hold that must."""


class Cluster(Protocol):
    """What an operator has: a control plane and its nodes, played or real."""

    # Set once a release may be installed.
    open: asyncio.Event
    # The members' pods by their names, and what they suffered that are gone.
    pods: dict[str, Pod]
    problems: list[str]

    async def run(self) -> None: ...
    async def upgrade(self, values: Object) -> None: ...
    async def rollout_restart(self) -> None: ...
    async def test(self) -> None: ...
    async def delete_all(self) -> None: ...
    async def fail_all(self) -> None: ...
    async def swap_addresses(self) -> None: ...
    async def lose_volumes(self, name: str) -> None: ...
    async def drain(self, place: int) -> None: ...
    async def uncordon(self, place: int) -> None: ...

    async def settled(self) -> bool:
        """Whether the pods are those that the release wants, and all ready."""
        ...

    def endpoints(self) -> list[str]:
        """Where the clients' service leads to: the pods that are ready."""
        ...

    def all_endpoints(self) -> list[str]:
        """Where all pods serve clients, ready or not."""
        ...


class Scenario:
    def __init__(self, cluster: Cluster, load: Load, values: dict[str, Any]) -> None:
        self.cluster = cluster
        self._load = load
        self._values = values
        self._watch = Watch(cluster.all_endpoints)

    async def play(self, steps: Iterable[Callable[["Scenario"], Awaitable[None]]]) -> None:
        """Installs, plays the steps under load, and reads everything back."""
        await self.cluster.open.wait()
        watch = asyncio.create_task(self._watch.run())
        async with self.line("install"):
            await self.upgrade()
            await self.settle()
        load = asyncio.create_task(self._load.run())
        for step in steps:
            await step(self)
        self._load.stop()
        await load
        watch.cancel()
        for endpoint in self.cluster.endpoints():
            await self._load.check(endpoint)
        self._judge()
        print(f"{len(self._load.written)} acknowledged writes, read back through every pod; 1 cluster")

    @asynccontextmanager
    async def line(self, name: str) -> AsyncIterator[None]:
        """Prints what happened to clients meanwhile."""
        logging.info("== %s", name)
        tally = self._load.begin()
        yield
        self._judge()
        print(
            f"{name:<34} {time.monotonic() - tally.began:6.1f} s {tally.calls:6} calls "
            f"{tally.retries:4} retries {tally.longest_gap():6.2f} s at most without a write",
            flush=True,
        )

    async def upgrade(self, **values: Any) -> None:
        """Installs the release, or upgrades it with other values and those from before."""
        self._values |= values
        await self.cluster.upgrade(self._values)

    async def settle(self) -> None:
        """Waits for the pods that are wanted, and until exactly these are members, all voters."""
        try:
            await until("all pods are ready", SETTLE_LIMIT_S, self.cluster.settled)
        except Late as late:
            raise Wrong(f"{late}: {self._describe_pods()}") from None
        await self.agree()

    async def agree(self) -> None:
        """Waits until every pod is a voter of one cluster, and nobody else is a member."""
        deadline = time.monotonic() + MEMBERS_LIMIT_S
        while problem := await self._disagreement():
            if time.monotonic() > deadline:
                raise Wrong(f"after {MEMBERS_LIMIT_S} s {problem}")
            await asyncio.sleep(LOOK_PERIOD_S)

    async def _disagreement(self) -> str:
        """What is wrong in any member's view, or nothing."""
        pods = self.cluster.pods
        for endpoint in self.cluster.endpoints():
            if problem := await disagreement(endpoint, list(pods)):
                return problem
        return await self._unreachable(min(pods))

    async def _unreachable(self, name: str) -> str:
        """Which members cannot be reached from inside a pod by the names they go by."""
        command = ["/mokv", "status", "--output=plain"]
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                code, output = await self.cluster.pods[name].execute(command)
        except TimeoutError:
            code, output = 1, f"no answer within {LOOK_LIMIT_S} s"
        return f"{name} does not reach every member: {output}" if code else ""

    def forgive(self, what: str) -> None:
        """Forgets what pods suffered that are gone, where it says `what`."""
        problems = self.cluster.problems
        problems[:] = [problem for problem in problems if what not in problem]

    def _judge(self) -> None:
        problems = self._load.failures + self.cluster.problems
        problems += [problem for pod in self.cluster.pods.values() for problem in pod.problems]
        if len(ids := self._watch.cluster_ids) > 1:
            problems.append(f"more than one cluster was seen: {', '.join(ids)}")
        if problems:
            different = list(dict.fromkeys(problems))[:MOST_SHOWN]
            raise Wrong(f"{len(problems)} problems\n" + "\n".join(different))

    def _describe_pods(self) -> str:
        states = (
            f"{pod.name} is {'deleted' if pod.deleting else 'ready' if pod.ready else 'not ready'}, "
            f"with {pod.restarts} restarts"
            for pod in self.cluster.pods.values()
        )
        return "; ".join(states)
