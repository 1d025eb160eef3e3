"""A client of the Kubernetes API: single requests, and copies of collections that are kept up to date.
Used by the modules beside it.
"""

import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from podspec import Object

REQUEST_LIMIT_S = 30
# A line of a watch is an object.
LONGEST_LINE = 1 << 20

NOT_FOUND = 404

log = logging.getLogger("api")


class Refused(OSError):
    """The API did not do what it was asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """A client with the token of somebody; use it as a context, which has the connections."""

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self._url = url
        self._token = token
        self._authority = authority

    async def __aenter__(self) -> "Api":
        context = ssl.create_default_context(cafile=self._authority)
        self._session = aiohttp.ClientSession(
            self._url,
            headers={"Authorization": f"Bearer {self._token}"},
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=REQUEST_LIMIT_S),
            read_bufsize=LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def is_ready(self) -> bool:
        """Whether it serves, and has made all that it comes with."""
        try:
            async with self._session.get("/readyz") as response:
                return response.ok
        except aiohttp.ClientConnectionError:
            return False

    async def get(self, path: str) -> Any:
        return await self._ask("GET", path)

    async def create(self, path: str, manifest: Object) -> Any:
        return await self._ask("POST", path, manifest)

    async def patch(self, path: str, changes: Object) -> Any:
        kind = "application/strategic-merge-patch+json"
        return await self._ask("PATCH", path, changes, kind)

    async def delete(self, path: str, options: Object | None = None) -> Any:
        return await self._ask("DELETE", path, options)

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Any]]:
        """What happens to a collection after a version of it, until the API has enough."""
        parameters = {"watch": "1", "resourceVersion": version}
        unlimited = aiohttp.ClientTimeout()
        async with self._session.get(path, params=parameters, timeout=unlimited) as response:
            await _check(response)
            async for line in response.content:
                event = json.loads(line)
                yield event["type"], event["object"]

    async def _ask(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            await _check(response)
            return await response.json()


class Mirror:
    """A copy of a collection, such as /api/v1/pods; `run` must be running."""

    def __init__(self, api: Api, path: str) -> None:
        # By their uids, so that a successor is not taken for what it succeeds.
        self.objects: dict[str, Object] = {}
        self._api = api
        self._path = path

    async def run(self) -> None:
        while True:
            listed = await self._api.get(self._path)
            self.objects = {_uid(item): item for item in listed["items"]}
            await self._follow(listed["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> None:
        async for event, item in self._api.watch(self._path, version):
            match event:
                case "ADDED" | "MODIFIED":
                    self.objects[_uid(item)] = item
                case "DELETED":
                    self.objects.pop(_uid(item), None)
                case _:
                    log.info("%s is listed again: %s", self._path, item.get("message"))
                    return


def _uid(item: Object) -> str:
    return item["metadata"]["uid"]


async def _check(response: aiohttp.ClientResponse) -> None:
    if not response.ok:
        text = await response.text()
        raise Refused(response.status, f"{response.method} {response.url.path}: {text}")
