"""The pods' network: a namespace a pod, all on one bridge, which is in the namespace of this process.

    10.244.N.x   pods on node N: every start of a pod takes the next address
    10.244.0.1   the bridge: every pod's router
    10.96.0.1    the Kubernetes API
    10.96.0.10   the DNS server

`run` gives this process namespaces of its own, so the kernel removes all of this when it ends.
"""

import asyncio
import itertools

BRIDGE = "pods"
ROUTER = "10.244.0.1"
API = "10.96.0.1"
DNS = "10.96.0.10"


class Network:
    def __init__(self) -> None:
        self._hosts: dict[str, itertools.cycle[int]] = {}

    async def open(self) -> None:
        await _ip(
            "link set lo up",
            f"link add {BRIDGE} type bridge",
            f"link set {BRIDGE} up",
            f"address add {ROUTER}/16 dev {BRIDGE}",
            f"address add {API}/32 dev {BRIDGE}",
            f"address add {DNS}/32 dev {BRIDGE}",
        )

    def next_address(self, node: int) -> str:
        """An address that no pod has had for long: a node gives them out in turn."""
        hosts = self._hosts.setdefault(f"{node}", itertools.cycle(range(2, 255)))
        return f"10.244.{node}.{next(hosts)}"

    async def attach(self, pod: str, address: str) -> None:
        """Makes the namespace `pod`, reached at `address`."""
        link = _link(address)
        await _ip(
            f"netns add {pod}",
            f"link add {link} type veth peer name eth0 address {_mac(address)} netns {pod}",
            f"link set {link} master {BRIDGE} up",
        )
        await _ip(
            "link set lo up",
            f"address add {address}/16 dev eth0",
            "link set eth0 up",
            f"route add default via {ROUTER}",
            namespace=pod,
        )

    async def detach(self, pod: str, address: str) -> None:
        await _ip(f"link delete {_link(address)}", f"netns delete {pod}")


def _link(address: str) -> str:
    return "veth" + "-".join(address.split(".")[2:])


def _mac(address: str) -> str:
    """One that goes with the address, so that no neighbour remembers a wrong one."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


async def _ip(*commands: str, namespace: str | None = None) -> None:
    where = ["-netns", namespace] if namespace else []
    process = await asyncio.create_subprocess_exec(
        "ip",
        *where,
        "-batch",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate("\n".join(commands).encode())
    if process.returncode != 0:
        raise OSError(f"ip {'; '.join(commands)}: {errors.decode().strip()}")
