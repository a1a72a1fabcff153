# SPDX-License-Identifier: Apache-2.0
"""One real node: containerd and kubelet in a world of their own, joined to the control plane.

They run in new mount and PID namespaces, where the folder of the node lies at /var/lib/kubelet (the
kubelet's API has that path fixed), and /run and /var/log are empty. When the first process there
ends, be it by SIGKILL, the kernel ends all others and undoes every mount; the pods' network
interfaces go with their processes. What the kubelet writes to /proc/sys goes to copies. What is
left then, empty cgroups and a folder, is removed, unless the test run itself was killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests import needs
from tests.cluster.node import images
from tests.cluster.processes import POLL_SECONDS, free_ports
from tests.ownaddress import own_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.cluster.controlplane import ControlPlane

KUBELET_FOLDER: Final = Path("/var/lib/kubelet")
# Reserved for benchmarks (RFC 2544), so no network that this machine talks to.
POD_NETWORK: Final = "198.18.77.0/24"
STATIC_POD: Final = "static"
"""The kubelet puts the node's name behind this one, and knows the pod before all others."""
COMMAND_TIMEOUT_SECONDS: Final = 120.0
CLEANUP_SECONDS: Final = 90.0

_FIRST_PROCESS: Final = """
set -eu
folder=$1
shift
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs "$folder/containerd"
mount --bind "$folder/kubelet" /var/lib/kubelet
mkdir /var/log/pods
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \\
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes net/ipv4/ip_forward; do
    mkdir -p "$folder/sysctl/${setting%/*}"
    cat "/proc/sys/$setting" > "$folder/sysctl/$setting"
    mount --bind "$folder/sysctl/$setting" "/proc/sys/$setting"
done
"$@" &
wait
"""
"""It becomes process 1 and collects the orphans; it ends with its program."""


class Machine:
    """The node's programs and files; its methods block, so async tests call them in a thread."""

    def __init__(self, plane: ControlPlane, folder: Path, name: str) -> None:
        self.name = name
        self._plane = plane
        self._folder = folder
        self._cgroup = f"/kubelet-{uuid.uuid4().hex[:8]}"
        self._port, self._healthz_port = free_ports(2)
        self._first_process = 0
        self._started: list[str] = []
        parts = ("kubelet", "containerd", "cni", "sysctl", "static-pods", "volume-plugins")
        for part in parts:
            (folder / part).mkdir()
        (folder / "resolv.conf").touch()

    @property
    def pod_resources_socket(self) -> Path:
        """The kubelet's socket as seen from here."""
        return self._folder / "kubelet" / "pod-resources" / "kubelet.sock"

    @property
    def device_plugins(self) -> Path:
        """The folder of the device plugins' sockets as seen from here."""
        return self._folder / "kubelet" / "device-plugins"

    @property
    def logs(self) -> Path:
        """The node's /var/log as seen from here."""
        return Path(f"/proc/{self._first_process}/root/var/log")

    def start_containerd(self) -> None:
        """Start the container runtime and wait until it answers."""
        configuration = self._folder / "containerd.toml"
        configuration.write_text(self._containerd_configuration())
        (self._folder / "cni" / "10-ptp.conflist").write_text(self._cni_configuration())
        namespaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        unshare = self._start(
            "containerd",
            [
                *("unshare", *namespaces, "--", "sh", "-c", _FIRST_PROCESS, "node", self._folder),
                *("containerd", "--config", configuration),
            ],
        )
        self._plane.processes.wait_for("containerd", self._containerd_answers, what="answering")
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text()
        self._first_process = int(children)

    def load_images(self, archive: Path) -> None:
        """Import an archive of images, as `docker save` writes them."""
        self._ctr("--namespace=k8s.io", "images", "import", archive)

    def start_kubelet(self) -> None:
        """Start the kubelet, a first or a next time, and wait until it says that it is healthy."""
        configuration = self._folder / "kubelet.yaml"
        configuration.write_text(yaml.safe_dump(self._kubelet_configuration()))
        static_pod = self._folder / "static-pods" / f"{STATIC_POD}.yaml"
        static_pod.write_text(yaml.safe_dump(_static_pod()))
        user = f"system:node:{self.name}"
        kubeconfig = self._plane.kubeconfig_for_user(user, groups=["system:nodes"])
        self._start(
            "kubelet",
            [
                *("nsenter", f"--target={self._first_process}", "--mount", "--pid", "--"),
                self._plane.tool("kubelet"),
                f"--config={configuration}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={KUBELET_FOLDER}",
                f"--cert-dir={self._folder / 'certificates'}",
                f"--hostname-override={self.name}",
                f"--node-ip={own_address()}",
                "--node-labels=nvidia.com/gpu.present=true",
            ],
        )
        self._plane.processes.wait_for("kubelet", self._kubelet_is_healthy, what="healthy")

    def stop_kubelet(self) -> None:
        """End the kubelet; containers go on."""
        self._stop("kubelet")
        _until(lambda: not self._kubelet_is_healthy(), what="the kubelet has ended")

    def processes_of(self, container_id: str) -> list[int]:
        """Return the processes of a container (`containerd://...`) by their numbers out here."""
        name = container_id.removeprefix("containerd://")
        for hierarchy in _hierarchies():
            for folder in self._cgroup_folders(hierarchy):
                if folder.name == name:
                    return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
        msg = f"container {container_id} has no cgroup under {self._cgroup}"
        raise LookupError(msg)

    def prepare_cgroups(self) -> None:
        """Make the cgroup of all pods."""
        for hierarchy in _hierarchies():
            (hierarchy / self._cgroup.lstrip("/")).mkdir()

    def end(self) -> None:
        """End every process of the node and remove its cgroups."""
        for program in reversed([*self._started]):
            self._stop(program)
        for hierarchy in _hierarchies():
            for folder in reversed(self._cgroup_folders(hierarchy)):
                _until(partial(_removed, folder), what=f"{folder} is empty")

    def _start(self, name: str, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        process = self._plane.processes.start(name, command)
        self._started.append(name)
        return process

    def _stop(self, name: str) -> None:
        self._started.remove(name)
        self._plane.processes.stop(name)

    def _cgroup_folders(self, hierarchy: Path) -> list[Path]:
        root = hierarchy / self._cgroup.lstrip("/")
        return [Path(folder) for folder, _, _ in os.walk(root)]

    def _ctr(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ctr", f"--address={self._folder / 'containerd.sock'}", *arguments],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"ctr {arguments}: {done.stderr}"
        return done

    def _containerd_answers(self) -> bool:
        address = self._folder / "containerd.sock"
        asked = ["ctr", f"--address={address}", "--connect-timeout=1s", "version"]
        return (
            address.exists()
            and subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode == 0
        )

    def _kubelet_is_healthy(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self._healthz_port}/healthz"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bool(answer.read() == b"ok")
        except (OSError, urllib.error.URLError):
            return False

    def _containerd_configuration(self) -> str:
        return f"""
version = 2
root = "{self._folder / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{self._folder / "containerd.sock"}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self._folder / "containerd" / "opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  # Root in a container of CI may not protect processes from the OOM killer.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{needs.CNI_PLUGINS}"
  conf_dir = "{self._folder / "cni"}"
"""

    def _cni_configuration(self) -> str:
        # JSON is YAML, and libcni reads both.
        return f"""{{
"cniVersion": "0.4.0",
"name": "pods",
"plugins": [{{
  "type": "ptp",
  "ipam": {{
    "type": "host-local",
    "subnet": "{POD_NETWORK}",
    "dataDir": "/run/cni-addresses"
  }}
}}]}}"""

    def _kubelet_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            # Where the API server asks for logs and commands; only its own certificate is let in.
            "address": own_address(),
            "port": self._port,
            "healthzPort": self._healthz_port,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self._plane.files.ca)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self._cgroup,
            "containerRuntimeEndpoint": f"unix://{self._folder / 'containerd.sock'}",
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "nodeStatusUpdateFrequency": "1s",
            "resolvConf": str(self._folder / "resolv.conf"),
            "staticPodPath": str(self._folder / "static-pods"),
            "volumePluginDir": str(self._folder / "volume-plugins"),
            # A full disk of the developer's is no reason to evict.
            "evictionHard": dict.fromkeys(
                ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"),
                "0%",
            ),
            "imageGCHighThresholdPercent": 100,
        }


@contextmanager
def running_machine(plane: ControlPlane, name: str) -> Iterator[Machine]:
    """Run containerd (no kubelet yet) while the context lasts, and leave nothing behind."""
    made = not KUBELET_FOLDER.exists()
    KUBELET_FOLDER.mkdir(parents=True, exist_ok=True)
    # Not pytest's folder: the path of a socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="node-"))
    machine = Machine(plane, folder, name)
    machine.prepare_cgroups()
    try:
        machine.start_containerd()
        yield machine
    finally:
        machine.end()
        shutil.rmtree(folder)
        if made:
            KUBELET_FOLDER.rmdir()


def _static_pod() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": STATIC_POD, "namespace": "kube-system"},
        "spec": {
            "hostNetwork": True,
            "containers": [{"name": "main", "image": images.WORKLOAD}],
        },
    }


def _hierarchies() -> list[Path]:
    """Return the roots of the cgroup hierarchies, those of version 1 and that of version 2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(words[1]) for words in mounts if words[2] in {"cgroup", "cgroup2"}]


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _until(condition: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + CLEANUP_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {CLEANUP_SECONDS:g} s: {what}"
        time.sleep(POLL_SECONDS)
