"""Where the services of the release lead to, as kube-proxy and a DNS server would read it out of the
EndpointSlices. Used by cluster.py.
"""

from collections.abc import Iterator

from objects import NAMESPACE
from podspec import Object
from real.api import Api, Mirror

SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
DOMAIN = f".{NAMESPACE}.svc.cluster.local"
PORT = "grpc"


class Services:
    """`run` must be running."""

    def __init__(self, api: Api) -> None:
        self._slices = Mirror(api, SLICES)

    async def run(self) -> None:
        await self._slices.run()

    def endpoints(self, headless: bool) -> list[str]:
        """Of the clients' service, or of the members' headless one, which lists all pods."""
        return [
            f"{endpoint['addresses'][0]}:{port['port']}"
            for item in self._slices.objects.values()
            if (HEADLESS in item["metadata"]["labels"]) == headless
            for port in item["ports"] or []
            if port["name"] == PORT
            for endpoint in _ready(item)
        ]

    def addresses(self, name: str) -> list[str] | None:
        """What DNS knows of a name now."""
        if not name.endswith(DOMAIN):
            return None
        *host, service = name.removesuffix(DOMAIN).split(".")
        found = [
            endpoint
            for item in self._slices.objects.values()
            if item["metadata"]["labels"][SERVICE_NAME] == service
            for endpoint in _ready(item)
            if not host or endpoint.get("hostname") == host[0]
        ]
        return [endpoint["addresses"][0] for endpoint in found] or None


def _ready(item: Object) -> Iterator[Object]:
    """The endpoints of a slice that are published."""
    return (
        endpoint for endpoint in item["endpoints"] or [] if endpoint["conditions"].get("ready", True)
    )
