"""A pod that has something to do and ends, as that of `helm test`: its containers run one after
another. Used by cluster.py and real/kubelets.py.
"""

from podspec import ContainerSpec, Object, PodSpec
from sandbox import Node, Sandbox


class Errand:
    def __init__(self, manifest: Object, node: Node, address: str) -> None:
        self._sandbox = Sandbox(manifest, node, address)
        self._spec = PodSpec.read(manifest["spec"])

    async def run(self) -> bool:
        """Whether all containers succeeded; the first that fails is the last."""
        await self._sandbox.open()
        try:
            for spec in [*self._spec.first, self._spec.container]:
                if await self._run(spec) != 0:
                    return False
            return True
        finally:
            await self._sandbox.close()

    async def _run(self, spec: ContainerSpec) -> int:
        root = await self._sandbox.root(spec)
        container = await self._sandbox.start(spec, root)
        code = await container.wait()
        root.unmount()
        return code
