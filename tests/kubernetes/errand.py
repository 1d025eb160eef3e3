"""A pod that has something to do and ends, as that of `helm test`. Used by cluster.py and
real/kubelets.py.
"""

from podspec import Object, PodSpec
from sandbox import Node, Sandbox


class Errand:
    def __init__(self, manifest: Object, node: Node, address: str) -> None:
        self._sandbox = Sandbox(manifest, node, address)
        self._spec = PodSpec.read(manifest["spec"]).container

    async def run(self) -> bool:
        """Whether its container succeeded."""
        await self._sandbox.open()
        try:
            root = await self._sandbox.root(self._spec)
            container = await self._sandbox.start(self._spec, root)
            code = await container.wait()
            root.unmount()
            return code == 0
        finally:
            await self._sandbox.close()
