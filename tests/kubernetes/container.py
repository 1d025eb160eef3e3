"""A process as a container runtime would run it: in namespaces of its own, as the pod's user, with
nothing to see but the image's one file and what a kubelet mounts. Used by sandbox.py and those who
run what it opens.
"""

import asyncio
import os
import pathlib
import signal
import subprocess
from dataclasses import dataclass

from podspec import ContainerSpec
from poll import until

START_LIMIT_S = 10
# A container gets this long after SIGTERM, even where the preStop hook took the whole grace period.
LEAST_GRACE_S = 2

DEVICES = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
# What a binary that is not static needs besides itself.
LIBRARIES = ["/lib", "/lib64", "/usr/lib"]


@dataclass(frozen=True)
class Image:
    """The image: one file."""

    binary: pathlib.Path

    def files(self) -> dict[str, str]:
        """Where in the root directory there is what of this machine."""
        linked = subprocess.run(["ldd", self.binary], capture_output=True).returncode == 0
        libraries = [path for path in LIBRARIES if linked and os.path.exists(path)]
        return {"/mokv": str(self.binary)} | {path: path for path in libraries}


class Root:
    """A container's root directory at `path`, which nobody can write to but to the volumes in it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def mount(
        self, read_only: dict[str, str], volumes: dict[str, str], texts: dict[str, str], sealed: bool
    ) -> None:
        """Mounts sources by their targets, and writes small files, such as /etc/hosts."""
        for target, text in texts.items():
            self._inside(target).parent.mkdir(parents=True, exist_ok=True)
            self._inside(target).write_text(text)
        self._inside("/proc").mkdir(parents=True)
        lines = [self._line(str(self.path), "", "bind,ro" if sealed else "bind")]
        for target, source in (read_only | volumes).items():
            self._make_place(target, is_directory=os.path.isdir(source))
            lines.append(self._line(source, target, "bind,ro" if target in read_only else "bind"))
        table = self.path.with_suffix(".mounts")
        table.write_text("".join(lines))
        subprocess.run(["mount", "--all", "--fstab", table], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--recursive", self.path], check=True, capture_output=True)

    def _make_place(self, target: str, is_directory: bool) -> None:
        place = self._inside(target)
        if is_directory:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()

    def _inside(self, target: str) -> pathlib.Path:
        return self.path / target.lstrip("/")

    def _line(self, source: str, target: str, options: str) -> str:
        paths = [path.replace(" ", r"\040") for path in (source, f"{self.path}{target}")]
        return f"{' '.join(paths)} none {options} 0 0\n"


class Container:
    """One run of a pod's command."""

    def __init__(self, spec: ContainerSpec, env: dict[str, str], log: pathlib.Path) -> None:
        self._spec = spec
        self._env = env
        self._log = log

    async def start(self, argv: list[str], namespace: str, root: Root) -> None:
        """Runs `argv` in the network namespace, as process 1 of its own namespace of processes."""
        user = f"--userspec={self._spec.user}:{self._spec.group}"
        groups = f"--groups={self._spec.volume_group}"
        command = ["nsenter", f"--net=/run/netns/{namespace}"]
        command += ["unshare", f"--mount-proc={root.path}/proc", "--pid", "--fork", "--kill-child"]
        command += ["setpriv", "--no-new-privs"]
        command += ["env", "-i", *(f"{name}={value}" for name, value in self._env.items())]
        command += [_path_of("chroot"), user, groups, str(root.path), *argv]
        with open(self._log, "ab") as log:
            self._parent = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        name = os.path.basename(argv[0])
        await until(f"{name} runs", START_LIMIT_S, lambda: self._has_begun(name))

    async def wait(self) -> int:
        """The exit code, or the signal that ended it as a negative number."""
        return await self._parent.wait()

    @property
    def is_running(self) -> bool:
        return self._parent.returncode is None

    async def execute(self, argv: list[str]) -> tuple[int, str]:
        """Runs another command inside, as `kubectl exec` does: its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *[_path_of("setpriv"), "--no-new-privs"],
            *[_path_of("nsenter"), f"--target={self._pid}", "--net", "--mount", "--pid", "--root"],
            *[f"--setuid={self._spec.user}", f"--setgid={self._spec.group}", "--wdns=/", *argv],
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode or 0, output.decode(errors="replace")

    async def stop(self, grace_s: float) -> str:
        """The preStop hook, SIGTERM, and when the grace period has passed SIGKILL; says what went
        wrong."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        problem = await self._run_hook(deadline)
        self.signal(signal.SIGTERM)
        try:
            left = max(deadline - loop.time(), LEAST_GRACE_S)
            await asyncio.wait_for(asyncio.shield(self.wait()), left)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            problem += f"was killed, because it had not ended after {grace_s:g} s"
        await self.wait()
        return problem

    def signal(self, number: signal.Signals) -> None:
        if self.is_running and self._pid:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                pass  # it has just ended

    async def _run_hook(self, deadline: float) -> str:
        if not self._spec.pre_stop or not self.is_running:
            return ""
        try:
            async with asyncio.timeout_at(deadline):
                code, output = await self.execute(self._spec.pre_stop)
        except TimeoutError:
            return "its preStop hook took the whole grace period; "
        ended_by_itself = not self.is_running
        return "" if code == 0 or ended_by_itself else f"its preStop hook ended with {code}: {output}; "

    def _has_begun(self, name: str) -> bool:
        """Whether the command itself runs, or has already ended."""
        parent = self._parent.pid
        try:
            children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            self._pid = int(children[0])
            return os.path.basename(os.readlink(f"/proc/{self._pid}/exe")) == name
        except (OSError, IndexError):
            self._pid = 0
            return not self.is_running


def _path_of(command: str) -> str:
    """Where a command is, for those who run it with another PATH."""
    places = os.environ["PATH"].split(":") + ["/usr/sbin", "/sbin"]
    return next(path for place in places if os.access(path := f"{place}/{command}", os.X_OK))
