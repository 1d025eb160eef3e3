"""A DNS server that answers for services as a cluster's does: A records only, and at times late.

Used by cluster.py, which tells it what a name means now.
"""

import asyncio
import struct
import time
from collections.abc import Callable

# CoreDNS lets answers about services be kept for so long, and keeps them itself.
TTL_S = 5

TYPE_A = 1
ANY_FLAGS = 0x8580  # an answer, authoritative, with recursion desired and available
NO_SUCH_NAME = 3

# The addresses of a name, or None when there is no such name.
Lookup = Callable[[str], list[str] | None]


class Server(asyncio.DatagramProtocol):
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._kept: dict[str, tuple[float, list[str] | None]] = {}

    async def open(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        where = (address, 53)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=where)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind = question(data)
        self._transport.sendto(answer(data, kind, self._addresses(name)), addr)

    def _addresses(self, name: str) -> list[str] | None:
        """What the name means, or meant when it was asked for less than TTL_S ago."""
        now = time.monotonic()
        asked, addresses = self._kept.get(name, (float("-inf"), None))
        if now - asked >= TTL_S:
            asked, addresses = now, self._lookup(name)
            self._kept[name] = asked, addresses
        return addresses


def question(query: bytes) -> tuple[str, int]:
    """The name and the type that a query is about."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    (kind,) = struct.unpack_from("!H", query, at + 1)
    return ".".join(labels).lower(), kind


def answer(query: bytes, kind: int, addresses: list[str] | None) -> bytes:
    """The packet that answers `query`."""
    end = query.index(0, 12) + 5
    records = [_record(address) for address in addresses or [] if kind == TYPE_A]
    flags = ANY_FLAGS | (NO_SUCH_NAME if addresses is None else 0)
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    return header + query[12:end] + b"".join(records)


def _record(address: str) -> bytes:
    to_the_question = 0xC00C
    octets = bytes(int(part) for part in address.split("."))
    return struct.pack("!HHHIH", to_the_question, TYPE_A, 1, TTL_S, len(octets)) + octets
