"""Waits for what will be true. Used by all modules beside it."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

PERIOD_S = 0.05


class Late(Exception):
    """Something has not become true in time; the text says what."""


async def until(what: str, limit_s: float, holds: Callable[[], Any]) -> Any:
    """What `holds()` returns or will return, once that is something; it is asked again and again."""
    deadline = time.monotonic() + limit_s
    while not (answer := await _value(holds())):
        if time.monotonic() > deadline:
            raise Late(f"{what}: not within {limit_s:g} s")
        await asyncio.sleep(PERIOD_S)
    return answer


async def _value(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer
