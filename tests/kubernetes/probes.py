"""A kubelet's gRPC probes, asked by a stock health client. Used by kubelet.py."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from podspec import Probe

# Each probe makes a connection of its own.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


async def succeeds(probe: Probe, address: str) -> bool:
    """Asks once."""
    async with grpc.aio.insecure_channel(f"{address}:{probe.port}", OPTIONS) as channel:
        request = health_pb2.HealthCheckRequest(service=probe.service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=probe.timeout_s)
        except grpc.aio.AioRpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def verdicts(probe: Probe, address: str) -> AsyncIterator[bool]:
    """Asks every period; True after each success, False once as many failed in a row as may."""
    loop = asyncio.get_running_loop()
    failures, due = 0, loop.time()
    while True:
        failures = 0 if await succeeds(probe, address) else failures + 1
        if failures == 0:
            yield True
        elif failures >= probe.failure_threshold:
            yield False
        due = max(due + probe.period_s, loop.time())
        await asyncio.sleep(due - loop.time())
