"""Programs that a control plane cannot do without. Used by cluster.py and real/programs.py."""

import asyncio


async def end_with(name: str, program: asyncio.subprocess.Process) -> None:
    """Ends a program when the control plane ends, and the control plane when the program does."""
    try:
        code = await program.wait()
    finally:
        if program.returncode is None:
            program.terminate()
    raise OSError(f"{name} has ended with {code}")
