"""Clients that write and read all the time through the clients' service, with stock gRPC and the
retries that any client of it needs. Used by scenario.py.

Every write has a key and a value of its own, so it may be sent again when its outcome is unknown,
and every acknowledged one must be read by whoever reads later.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import kv_pb2
import kv_pb2_grpc
from google.protobuf import empty_pb2

WRITERS = 4
READERS = 4
# Each of them makes a call this often.
PERIOD_S = 0.05
# A call has failed for its user when no try has succeeded for so long.
CALL_LIMIT_S = 30
TRY_LIMIT_S = 2
BACK_OFF_S = 0.1
LIST_LIMIT_S = 60

# Each client has connections of its own, as a process of its own would.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
# What a client may send again; after any other error it gives up.
RETRIED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

Endpoints = Callable[[], list[str]]


@dataclass
class Tally:
    """What happened since some moment."""

    began: float = field(default_factory=time.monotonic)
    calls: int = 0
    retries: int = 0
    acknowledged: list[float] = field(default_factory=list)

    def longest_gap(self) -> float:
        """The longest time without an acknowledged write, in seconds."""
        moments = [self.began, *self.acknowledged, time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))


class CallFailed(Exception):
    """What a client's user sees."""


class Load:
    """`run` must be running; it ends soon after `stop`."""

    def __init__(self, endpoints: Endpoints, seed: int) -> None:
        self.written: list[str] = []
        # What users would complain about, and what must never happen.
        self.failures: list[str] = []
        self.begin()
        self.endpoints = endpoints
        self.random = random.Random(seed)
        self._stopping = False

    def begin(self) -> Tally:
        """Counts anew from now on."""
        self.tally = Tally()
        return self.tally

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(WRITERS):
                tasks.create_task(self._repeat(self._write, number))
            for number in range(READERS):
                tasks.create_task(self._repeat(self._read, number))

    def stop(self) -> None:
        self._stopping = True

    async def check(self, endpoint: str) -> None:
        """Reads everything through one pod."""
        async with grpc.aio.insecure_channel(endpoint, OPTIONS) as channel:
            stub = kv_pb2_grpc.KVStub(channel)
            listed = stub.List(empty_pb2.Empty(), timeout=LIST_LIMIT_S)
            found = {answer.key: answer.value async for answer in listed}
        lost = [key for key in self.written if found.get(key) != _value(key)]
        if lost:
            shown = ", ".join(lost[:10])
            self.failures.append(f"{endpoint} lost {len(lost)} acknowledged writes: {shown}")

    async def _repeat(self, act: Callable[["_Client", str], Awaitable[None]], number: int) -> None:
        client = _Client(self)
        loop = asyncio.get_running_loop()
        due = loop.time()
        for sequence in itertools.count():
            if self._stopping:
                break
            try:
                await act(client, f"{number}-{sequence}")
            except CallFailed as error:
                self.failures.append(f"a client's call failed: {error}")
            due = max(due + PERIOD_S, loop.time())
            await asyncio.sleep(due - loop.time())
        await client.close()

    async def _write(self, client: "_Client", key: str) -> None:
        request = kv_pb2.SetRequest(key=key, value=_value(key))
        await client.call(lambda stub: stub.Set, request)
        self.written.append(key)
        self.tally.acknowledged.append(time.monotonic())

    async def _read(self, client: "_Client", _: str) -> None:
        if not self.written:
            return
        key = self.random.choice(self.written)
        request = kv_pb2.GetRequest(key=key)
        answer = await client.call(lambda stub: stub.Get, request)
        if answer is None:
            self.failures.append(f"{key} was acknowledged, and a read did not find it")
        elif answer.value != _value(key):
            self.failures.append(f"{key} was read with the value {answer.value!r}")


class _Client:
    """A connection to one ready pod, as a service's virtual address gives it; to another when a try
    fails."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._channel: grpc.aio.Channel | None = None

    async def call(self, method: Callable[[kv_pb2_grpc.KVStub], Any], request: Any) -> Any:
        """The answer, or None when there is no such key."""
        deadline = time.monotonic() + CALL_LIMIT_S
        self._load.tally.calls += 1
        while True:
            try:
                return await method(self._stub())(request, timeout=TRY_LIMIT_S)
            except _NobodyIsReady as error:
                problem = str(error)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return None
                await self.close()
                problem = f"{error.code().name}: {error.details()}"
                if error.code() not in RETRIED:
                    raise CallFailed(problem) from None
            if time.monotonic() > deadline:
                raise CallFailed(f"{problem}, for {CALL_LIMIT_S} s")
            self._load.tally.retries += 1
            await asyncio.sleep(BACK_OFF_S)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _stub(self) -> kv_pb2_grpc.KVStub:
        if self._channel is None:
            endpoints = self._load.endpoints()
            if not endpoints:
                raise _NobodyIsReady("no pod is ready")
            endpoint = self._load.random.choice(endpoints)
            self._channel = grpc.aio.insecure_channel(endpoint, OPTIONS)
        return kv_pb2_grpc.KVStub(self._channel)


class _NobodyIsReady(Exception):
    """The service has no endpoints: a connection to it would be refused."""


def _value(key: str) -> bytes:
    return f"the value of {key}".encode()
