"""Waits for what will be true. Used by all modules beside it."""

import asyncio
import time
from collections.abc import Callable

PERIOD_S = 0.05


class Late(Exception):
    """Something has not become true in time; the text says what."""


async def until(what: str, limit_s: float, holds: Callable[[], object]) -> None:
    """Returns once `holds()`, which is asked again and again."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise Late(f"{what}: not within {limit_s:g} s")
        await asyncio.sleep(PERIOD_S)
