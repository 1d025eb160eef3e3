"""What an operator types: Helm and kubectl. Used by cluster.py."""

import asyncio
import logging
import os
from pathlib import Path

from objects import NAMESPACE

COMMAND_LIMIT_S = 300

log = logging.getLogger("commands")


class Failed(OSError):
    """A command did not do what it should; the text has its output."""


class Commands:
    """In the release's namespace. `programs` is the program that is also kubectl."""

    def __init__(self, programs: Path, kubeconfig: Path) -> None:
        self._programs = programs
        self._kubeconfig = kubeconfig

    async def helm(self, *arguments: str, stdin: str = "") -> None:
        await self._run([os.environ["HELM"], *arguments], stdin)

    async def kubectl(self, *arguments: str) -> None:
        await self._run([str(self._programs), "kubectl", *arguments])

    async def _run(self, command: list[str], stdin: str = "") -> None:
        process = await asyncio.create_subprocess_exec(
            *command,
            f"--namespace={NAMESPACE}",
            f"--kubeconfig={self._kubeconfig}",
            # Where both keep what they have learned about the API.
            env=os.environ | {"HOME": str(self._kubeconfig.parent)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_LIMIT_S):
                output, _ = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
        told = f"{' '.join(command)}: {output.decode(errors='replace')}"
        log.info("%s", told)
        if process.returncode != 0:
            raise Failed(told)
