"""What the pods know of their cluster, asked with stock gRPC. Used by scenario.py."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import kv_pb2_grpc
from google.protobuf import empty_pb2
from mokv.v1 import admin_pb2, admin_pb2_grpc

ASK_LIMIT_S = 3
WATCH_PERIOD_S = 1
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Unanswered(Exception):
    """A pod did not answer; the text says why."""


class Watch:
    """Looks at all pods all the time, for a second cluster; `run` must be running."""

    def __init__(self, endpoints: Callable[[], list[str]]) -> None:
        # The cluster ids that any pod has ever told.
        self.cluster_ids: set[str] = set()
        self._endpoints = endpoints

    async def run(self) -> None:
        while True:
            await asyncio.gather(*map(self._look, self._endpoints()))
            await asyncio.sleep(WATCH_PERIOD_S)

    async def _look(self, endpoint: str) -> None:
        try:
            async with _channel(endpoint) as channel:
                stub = admin_pb2_grpc.AdminStub(channel)
                status = await stub.Status(admin_pb2.StatusRequest(), timeout=ASK_LIMIT_S)
        except Unanswered:
            return
        if status.cluster_id:
            self.cluster_ids.add(status.cluster_id)


async def disagreement(endpoint: str, pods: list[str]) -> str:
    """What is wrong when not exactly `pods` are members, all of them voters; or nothing."""
    try:
        async with _channel(endpoint) as channel:
            stub = kv_pb2_grpc.KVStub(channel)
            servers = (await stub.GetServers(empty_pb2.Empty(), timeout=ASK_LIMIT_S)).servers
    except Unanswered as problem:
        return f"{endpoint} does not say who is a member: {problem}"
    names = Counter(server.id for server in servers)
    learners = [server.id for server in servers if not server.is_voter]
    if names != Counter(pods):
        return f"{endpoint} knows the members {', '.join(names.elements())}"
    return f"{endpoint} knows the learners {', '.join(learners)}" if learners else ""


@asynccontextmanager
async def _channel(endpoint: str) -> AsyncIterator[grpc.aio.Channel]:
    try:
        async with grpc.aio.insecure_channel(endpoint, OPTIONS) as channel:
            yield channel
    except grpc.aio.AioRpcError as error:
        raise Unanswered(f"{error.code().name}: {error.details()}") from None
