# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane on free loopback ports, everything of it in one folder.

etcd, kube-apiserver (RBAC, aggregation layer, no anonymous requests, audit log) and
kube-controller-manager. There is no kubelet, and a scheduler only for tests that ask for it:
`simulator.nodes` stands in for them.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.cluster import tools
from tests.cluster.controlplanefiles import write_files
from tests.cluster.kubeconfig import client_certificate, write_kubeconfig
from tests.cluster.processes import Processes, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster.certificates import Certificate

    JsonObject = dict[str, Any]

SHIPPED: Final = Path(__file__).parents[2] / "daemonset"
CALL_TIMEOUT_SECONDS: Final = 60.0
APISERVER_GRACE_SECONDS: Final = 1.0
"""It waits for open watches to end by themselves, for longer than any test would."""
CONTROLLERS: Final = (
    "daemonset-controller",
    "deployment-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
)
NODE_CONTROLLERS: Final = (
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "taint-eviction-controller",
)


class ControlPlane:
    """A running control plane; its methods block, so async tests call them in a thread.

    `admin` is the kubeconfig of the test bed itself (group system:masters), for simulated nodes and
    for the test's own eyes. What is tested runs under `kubeconfig_for`.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.processes = processes
        self._authority, self.files = write_files(folder, processes.logs)
        ports = free_ports(3)
        self._etcd, self._etcd_peer = (f"http://127.0.0.1:{port}" for port in ports[:2])
        self._port = ports[2]
        self.url = f"https://127.0.0.1:{self._port}"
        self._tls = ssl.create_default_context(cafile=self.files.ca)
        self._tls.load_cert_chain(self.files.admin.certificate, self.files.admin.key)
        self.admin = self._write_kubeconfig("admin", client_certificate(self.files.admin))
        self._server = self._authority.issue("apiserver", hosts=("127.0.0.1", "localhost"))
        self._kubelet_client = self._authority.issue(
            "apiserver-kubelet-client", organizations=["system:masters"]
        )
        self._tokens = 0
        self._starts: list[tuple[datetime, datetime]] = []

    @property
    def logs(self) -> Path:
        """The folder of all log files."""
        return self.files.logs

    def tool(self, name: str) -> Path:
        """Return a program of the test bed; raises FileNotFoundError if it is not built."""
        return tools.path_of(name)

    def kubeconfig_for(self, service_account: str, *, server: str | None = None) -> Path:
        """Return a new kubeconfig with a new token of `NAMESPACE/NAME`, an account that exists.

        `server` is another URL than the API server's own, such as a proxy's.
        """
        namespace, name = service_account.split("/")
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {"spec": {"expirationSeconds": 3600}},
        )
        self._tokens += 1
        return self._write_kubeconfig(
            f"{namespace}-{name}-{self._tokens}", {"token": answer["status"]["token"]}, server
        )

    def kubeconfig_for_user(self, name: str, *, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig with a client certificate: users and groups, nodes included."""
        file_name = name.replace(":", "-")
        issued = self._authority.issue(file_name, common_name=name, organizations=groups)
        return self._write_kubeconfig(file_name, client_certificate(issued))

    def issue(self, name: str, hosts: Sequence[str]) -> Certificate:
        """Sign a server's certificate with the cluster's CA."""
        return self._authority.issue(name, hosts=hosts)

    def request(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """Do one request as the admin; raises urllib.error.HTTPError for what is refused."""
        request = urllib.request.Request(self.url + path, method=method)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(
            request, data, timeout=CALL_TIMEOUT_SECONDS, context=self._tls
        ) as answer:
            text: str = answer.read().decode()
        document: JsonObject = json.loads(text) if text.startswith("{") else {"text": text}
        return document

    def kubectl(
        self, *arguments: str | Path, kubeconfig: Path | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, as the admin unless told otherwise; its exit status is the caller's."""
        return subprocess.run(
            [
                self.tool("kubectl"),
                f"--kubeconfig={kubeconfig or self.admin}",
                f"--cache-dir={self.files.folder / 'kubectl-cache'}",
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def apply(self, manifest: Path | str) -> None:
        """Apply a file, or the text of one, as the admin; raises AssertionError if refused."""
        file, stdin = (manifest, None) if isinstance(manifest, Path) else ("-", manifest)
        done = self.kubectl("apply", "--server-side", "-f", file, stdin=stdin)
        assert done.returncode == 0, f"{manifest}: {done.stderr}"

    def install(self) -> None:
        """Apply our namespaces, accounts and rights, as shipped.

        The workloads are left out: the scaler runs as a process of its own, the exporters as parts
        of the simulated nodes.
        """
        for name in ("exporter.yaml", "scaler.yaml"):
            documents = yaml.safe_load_all((SHIPPED / name).read_text())
            kept = [one for one in documents if one["kind"] not in ("DaemonSet", "Deployment")]
            self.apply(yaml.safe_dump_all(kept))

    def start_etcd(self) -> None:
        """Start the store, without the care for power failures that takes its time."""
        command: list[str | Path] = [
            self.tool("etcd"),
            f"--data-dir={self.files.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={self._etcd_peer}",
            f"--initial-advertise-peer-urls={self._etcd_peer}",
            f"--initial-cluster=default={self._etcd_peer}",
            "--unsafe-no-fsync",
        ]
        self.processes.start("etcd", command)
        self.processes.wait_for("etcd", self._etcd_is_healthy, what="healthy")

    def compact(self) -> int:
        """Make etcd forget all history before now; return the revision that it begins with."""
        head = self._etcd_call("/v3/kv/range", {"key": "AA==", "limit": "1"})["header"]
        self._etcd_call("/v3/kv/compaction", {"revision": head["revision"], "physical": True})
        return int(head["revision"])

    def start_apiserver(self, *extra_flags: str) -> None:
        """Start the API server and wait until it is ready; it has the same port each time."""
        begun = datetime.now(UTC)
        self.processes.start("kube-apiserver", [*self._apiserver_command(), *extra_flags])
        self.processes.wait_for("kube-apiserver", self.is_ready, what="ready")
        self._starts.append((begun, datetime.now(UTC)))

    def stop_apiserver(self) -> None:
        """End the API server; etcd keeps what it knew."""
        self.processes.stop("kube-apiserver", grace_seconds=APISERVER_GRACE_SECONDS)

    def restart_apiserver(self, *extra_flags: str) -> None:
        """End the API server, and start it again.

        So are the controllers, which would stay away from it for up to a minute.
        """
        self.processes.stop("kube-controller-manager")
        self.stop_apiserver()
        self.start_apiserver(*extra_flags)
        self.start_controller_manager()

    def is_ready(self) -> bool:
        """Whether the API server says so itself."""
        try:
            return self.request("GET", "/readyz") == {"text": "ok"}
        except OSError:
            return False

    def start_controller_manager(self, *extra_flags: str) -> None:
        """Start the controllers, each under its own account, and wait until they work."""
        self.processes.start(
            "kube-controller-manager", [*self._controller_manager_command(), *extra_flags]
        )
        self.processes.wait_for(
            "kube-controller-manager", self._has_default_account, what="making service accounts"
        )

    def restart_controller_manager(self, *extra_flags: str) -> None:
        """Start the controllers again with these flags as well, such as the HPA's periods."""
        self.processes.stop("kube-controller-manager")
        self.start_controller_manager(*extra_flags)

    @contextmanager
    def scheduling(self) -> Iterator[None]:
        """Run the scheduler, and the controllers that keep nodes and pods apart, for a while.

        Elsewhere the simulated nodes schedule, which knows nothing of taints.
        """
        self.restart_controller_manager(f"--controllers={','.join(NODE_CONTROLLERS)}")
        user = "system:kube-scheduler"
        command: list[str | Path] = [
            self.tool("kube-scheduler"),
            f"--kubeconfig={self.kubeconfig_for_user(user)}",
            "--leader-elect=false",
            "--secure-port=0",
        ]
        self.processes.start("kube-scheduler", command)
        try:
            yield
        finally:
            self.processes.stop("kube-scheduler")
            self.restart_controller_manager()

    def audit(self, *, user: str = "") -> list[JsonObject]:
        """Return the audit log's events, of one user if one is named, in order of their end."""
        written, _, _half_a_line = self.files.audit_log.read_text().rpartition("\n")
        lines = written.splitlines()
        events: list[JsonObject] = [json.loads(line) for line in lines]
        return [event for event in events if user in ("", event["user"]["username"])]

    def was_ready(self, event: JsonObject) -> bool:
        """Whether the API server was ready at an event of the audit log.

        One that serves already and is not ready yet refuses what roles allow that it has not read.
        """
        at = datetime.fromisoformat(event["requestReceivedTimestamp"])
        return not any(begun <= at <= ready for begun, ready in self._starts)

    def _apiserver_command(self) -> list[str | Path]:
        files = self.files
        return [
            self.tool("kube-apiserver"),
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self._server.certificate}",
            f"--tls-private-key-file={self._server.key}",
            f"--client-ca-file={files.ca}",
            f"--kubelet-client-certificate={self._kubelet_client.certificate}",
            f"--kubelet-client-key={self._kubelet_client.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.service_account_key}",
            f"--service-account-signing-key-file={files.service_account_key}",
            # The aggregation layer. Without --enable-aggregator-routing it follows a Service of
            # type ExternalName, the only kind that may lead to a loopback address.
            f"--requestheader-client-ca-file={files.front_proxy_ca}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={files.front_proxy_client.certificate}",
            f"--proxy-client-key-file={files.front_proxy_client.key}",
            f"--audit-policy-file={files.folder / 'audit-policy.yaml'}",
            f"--audit-log-path={files.audit_log}",
        ]

    def _controller_manager_command(self) -> list[str | Path]:
        user = "system:kube-controller-manager"
        return [
            self.tool("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig_for_user(user)}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.files.service_account_key}",
            f"--root-ca-file={self.files.ca}",
            f"--controllers={','.join(CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
        ]

    def _has_default_account(self) -> bool:
        try:
            self.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")
        except urllib.error.HTTPError:
            return False
        return True

    def _etcd_is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._etcd}/health", timeout=10) as answer:
                return bool(json.load(answer)["health"] == "true")
        except OSError:
            return False

    def _etcd_call(self, path: str, body: JsonObject) -> JsonObject:
        with urllib.request.urlopen(
            self._etcd + path, json.dumps(body).encode(), timeout=CALL_TIMEOUT_SECONDS
        ) as answer:
            document: JsonObject = json.load(answer)
        return document

    def _write_kubeconfig(self, name: str, user: JsonObject, server: str | None = None) -> Path:
        path = self.files.folder / f"{name}.kubeconfig"
        write_kubeconfig(path, server=server or self.url, ca=self.files.ca, user=user)
        return path


@contextmanager
def running_control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Run etcd, API server and controllers while the context lasts; logs lie in `folder/logs`."""
    logs = folder / "logs"
    logs.mkdir()
    with Processes(logs) as processes:
        plane = ControlPlane(folder, processes)
        plane.start_etcd()
        plane.start_apiserver()
        plane.start_controller_manager()
        yield plane
