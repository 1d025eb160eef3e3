"""The programs of a control plane, and who they are to each other: starts them in the right order,
and ends when one of them does. Used by cluster.py.

    etcd  <-  kube-apiserver  <-  kube-controller-manager, kube-scheduler, Helm, kubectl, the nodes
"""

import asyncio
import json
import pathlib
import secrets

import network
from child import end_with
from poll import until
from real.api import Api

START_LIMIT_S = 120

ETCD = "http://127.0.0.1:2379"
ETCD_PEERS = "http://127.0.0.1:2380"
URL = f"https://{network.API}"
SERVICES = "10.96.0.0/16"
ISSUER = "https://kubernetes.default.svc.cluster.local"

# Who has a token, by their files' names, and the groups they are in.
ADMIN, CONTROLLERS, SCHEDULER = "admin", "kube-controller-manager", "kube-scheduler"
GROUPS = {ADMIN: "system:masters", CONTROLLERS: "", SCHEDULER: ""}


class Programs:
    """All are in one file; the first argument says which it is to be."""

    def __init__(self, file: pathlib.Path, directory: pathlib.Path) -> None:
        self._file = file
        self._logs = directory / "logs"
        self._directory = directory / "control-plane"
        self._tokens = {name: secrets.token_hex() for name in GROUPS}

    @property
    def kubeconfig(self) -> pathlib.Path:
        """What the commands of an operator need, who may do everything."""
        return self._config_of(ADMIN)

    def api(self) -> Api:
        """A client of the same operator."""
        return Api(URL, self._tokens[ADMIN], self._authority)

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Returns once the API serves; `tasks` fails when a program ends."""
        self._directory.mkdir()
        self._write_tokens()
        await self._start(tasks, "etcd", str(self._directory / "etcd"), ETCD, ETCD_PEERS)
        await self._start(tasks, "kube-apiserver", *self._api_options())
        # It is written last.
        await until("the API has a key", START_LIMIT_S, self._key.exists)
        async with self.api() as api:
            await until("the API is ready", START_LIMIT_S, api.is_ready)
        for name in GROUPS:
            self._config_of(name).write_text(json.dumps(self._config(name)))
        await self._start(tasks, CONTROLLERS, *self._controller_options())
        await self._start(tasks, SCHEDULER, *self._client_options(SCHEDULER))

    def _api_options(self) -> list[str]:
        # The API makes a certificate for itself; its key also signs the tokens of service accounts.
        return [
            f"--etcd-servers={ETCD}",
            f"--bind-address={network.API}",
            f"--advertise-address={network.API}",
            "--secure-port=443",
            f"--cert-dir={self._directory}",
            f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={self._directory / 'tokens'}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
        ]

    def _controller_options(self) -> list[str]:
        return [
            *self._client_options(CONTROLLERS),
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._key}",
            f"--root-ca-file={self._authority}",
        ]

    def _client_options(self, name: str) -> list[str]:
        config = self._config_of(name)
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            f"--cert-dir={self._directory / name}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ]

    @property
    def _authority(self) -> pathlib.Path:
        return self._directory / "apiserver.crt"

    @property
    def _key(self) -> pathlib.Path:
        return self._directory / "apiserver.key"

    def _config_of(self, name: str) -> pathlib.Path:
        return self._directory / f"{name}.kubeconfig"

    def _config(self, name: str) -> dict[str, object]:
        cluster = {"server": URL, "certificate-authority": str(self._authority)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": self._tokens[name]}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": name}}],
            "current-context": "real",
        }

    def _write_tokens(self) -> None:
        lines = [
            f'{token},system:{name},{name},"{GROUPS[name]}"\n' for name, token in self._tokens.items()
        ]
        (self._directory / "tokens").write_text("".join(lines))

    async def _start(self, tasks: asyncio.TaskGroup, name: str, *arguments: str) -> None:
        with open(self._logs / f"{name}.log", "wb") as log:
            program = await asyncio.create_subprocess_exec(
                self._file, name, *arguments, stdout=log, stderr=log
            )
        tasks.create_task(end_with(name, program))
