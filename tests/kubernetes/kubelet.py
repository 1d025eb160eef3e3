"""The life of a member's pod on its node: a container that is probed and restarted, and an orderly
end. Used by cluster.py and real/kubelets.py.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator

from container import Container, Root
from podspec import Object, PodSpec
from probes import verdicts
from sandbox import Node, Sandbox

# A container that ends is started again after this long, and after twice that when it ends again: a
# tenth of what Kubernetes waits.
FIRST_BACK_OFF_S = 1
LONGEST_BACK_OFF_S = 30

log = logging.getLogger("kubelet")


class Pod:
    """A pod as the control plane describes it, on the node with the number `place`."""

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
        self._sandbox = Sandbox(manifest, node, address)
        self._spec = PodSpec.read(manifest["spec"])
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
        await self._sandbox.open()
        root = await self._sandbox.root(self._spec.container)
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
        await self._sandbox.close()
        self.ended = True

    async def _run_container(self, root: Root) -> int:
        container = await self._sandbox.start(self._spec.container, root)
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
        async for passed in self._verdicts("startupProbe"):
            if not passed:
                await self._restart(container, "has not started")
            break
        await asyncio.gather(self._watch_readiness(), self._watch_liveness(container))

    async def _watch_readiness(self) -> None:
        async for passed in self._verdicts("readinessProbe"):
            if passed != self.ready:
                log.info("%s is %s", self.name, "ready" if passed else "not ready")
            self.ready = passed

    async def _watch_liveness(self, container: Container) -> None:
        async for passed in self._verdicts("livenessProbe"):
            if not passed:
                await self._restart(container, "is not alive")

    def _verdicts(self, name: str) -> AsyncIterator[bool]:
        return verdicts(self._spec.container.probes[name], self.address)

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
        return self._sandbox.log.read_text(errors="replace").rpartition("\n")[0].rpartition("\n")[2]
