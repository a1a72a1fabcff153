# SPDX-License-Identifier: Apache-2.0
"""The pinned programs of the test bed: which there are, and where a built one lies.

Each folder beside this file with a go.mod is a Go module that pins what it builds. Its programs lie
in `$CLUSTER_TOOLS_DIR/FOLDER-KEY/bin` (default: gpu-scaler/cluster-tools in the user's cache
folder); the key changes with the pins, the flags of the build and the platform. The model servers
are Python packages (`pythons.py`) and lie there, too. `make cluster-tools`, which is
`python -m tests.cluster.tools`, builds or installs what is not there yet.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.tools import pythons

_MODULES: Final = Path(__file__).parent
_KUBERNETES_LDFLAGS: Final = " ".join(
    f"-X {package}.gitVersion=v{{version}} -X {package}.gitMajor={{major}}"
    f" -X {package}.gitMinor={{minor}} -X {package}.gitTreeState=clean"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
)
"""Without these the programs call themselves v0.0.0-master, and kubectl complains about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program of the test bed.

    `pin` is the Go module whose version is the program's, empty for a program of our own; `ldflags`
    may name {version}, {major} and {minor} of it. `in_assets` says that KUBEBUILDER_ASSETS may hold
    it, in the developer's version.
    """

    name: str
    folder: str
    package: str
    pin: str
    ldflags: str = ""
    tags: str = ""
    in_assets: bool = False

    @property
    def module(self) -> Path:
        """The folder with the go.mod that pins it."""
        return _MODULES / self.folder

    @property
    def version(self) -> str:
        """The pinned version without its `v`."""
        if not self.pin:
            return "0.0"
        found = re.search(rf"^(?:require)?\s*{re.escape(self.pin)} v(\S+)", self._go_mod(), re.M)
        if found is None:
            msg = f"{self.module / 'go.mod'} does not require {self.pin}"
            raise ValueError(msg)
        return found[1]

    @property
    def linker_flags(self) -> str:
        """What goes to the linker: no symbol tables, and the version where it must be told."""
        major, minor, *_ = self.version.split(".")
        stamp = self.ldflags.format(version=self.version, major=major, minor=minor)
        return f"-s -w {stamp}".strip()

    @property
    def built_path(self) -> Path:
        """Where the build puts it, whether it is there or not."""
        rows = repr([tool for tool in TOOLS if tool.folder == self.folder])
        sums = (self.module / "go.sum").read_text() if self.pin else ""
        own = [source.read_text() for source in sorted(self.module.glob("*.go"))]
        made_of = "\0".join(
            (self._go_mod(), sums, rows, platform.system(), platform.machine(), *own)
        )
        key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        return cache_folder() / f"{self.folder}-{key}" / "bin" / self.name

    def _go_mod(self) -> str:
        return (self.module / "go.mod").read_text()


def _kubernetes(name: str, *, in_assets: bool = False) -> Tool:
    return Tool(
        name=name,
        folder="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        pin="k8s.io/kubernetes",
        ldflags=_KUBERNETES_LDFLAGS,
        in_assets=in_assets,
    )


def _prometheus(name: str) -> Tool:
    # Debian's Prometheus cannot discover pods. This one can discover nothing else, which leaves out
    # the libraries of all clouds. Prometheus 3.11.0 is the module's v0.311.0.
    return Tool(
        name=name,
        folder="prometheus",
        package=f"github.com/prometheus/prometheus/cmd/{name}",
        pin="github.com/prometheus/prometheus",
        ldflags="-X github.com/prometheus/common/version.Version={version}",
        tags="remove_all_sd,enable_kubernetes_sd",
    )


def _keda(program: str) -> Tool:
    return Tool(
        name=f"keda-{program}",
        folder="keda",
        package=f"github.com/kedacore/keda/v2/cmd/{program}",
        pin="github.com/kedacore/keda/v2",
        ldflags="-X github.com/kedacore/keda/v2/version.Version={version}",
    )


TOOLS: Final = (
    Tool(
        name="etcd",
        folder="kubernetes",
        package="go.etcd.io/etcd/server/v3",
        pin="go.etcd.io/etcd/server/v3",
        in_assets=True,
    ),
    _kubernetes("kube-apiserver", in_assets=True),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubectl", in_assets=True),
    _kubernetes("kubelet"),
    Tool(
        name="helm",
        folder="helm",
        package="helm.sh/helm/v3/cmd/helm",
        pin="helm.sh/helm/v3",
        ldflags="-X helm.sh/helm/v3/internal/version.version=v{version}"
        # Whose objects charts are rendered for without a cluster; its releases say it, too.
        " -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1"
        " -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
    ),
    _prometheus("prometheus"),
    _prometheus("promtool"),
    Tool(
        name="prometheus-adapter",
        folder="adapter",
        package="sigs.k8s.io/prometheus-adapter/cmd/adapter",
        pin="sigs.k8s.io/prometheus-adapter",
    ),
    Tool(
        name="metrics-server",
        folder="metricsserver",
        package="sigs.k8s.io/metrics-server/cmd/metrics-server",
        pin="sigs.k8s.io/metrics-server",
    ),
    _keda("operator"),
    _keda("adapter"),
    Tool(
        name="rollouts-controller",
        folder="rollouts",
        package="github.com/argoproj/argo-rollouts/cmd/rollouts-controller",
        pin="github.com/argoproj/argo-rollouts",
    ),
    Tool(
        name="lws-controller",
        folder="lws",
        package="sigs.k8s.io/lws/cmd",
        pin="sigs.k8s.io/lws",
    ),
    Tool(
        name="actionlint",
        folder="actionlint",
        package="github.com/rhysd/actionlint/cmd/actionlint",
        pin="github.com/rhysd/actionlint",
    ),
    Tool(name="idle", folder="idle", package=".", pin=""),
)
BY_NAME: Final = {tool.name: tool for tool in TOOLS}
SERVERS: Final = {server.name: server for server in pythons.SERVERS}
"""The model servers; what `find` and `path_of` return for one is the Python that has it."""
ONLY_NAMED: Final = ("metrics-server", "keda-operator", "keda-adapter")
"""What is not built unless it is named: no test needs it, a benchmark does."""


def cache_folder() -> Path:
    """Return where built programs are kept."""
    named = os.environ.get("CLUSTER_TOOLS_DIR")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "gpu-scaler" / "cluster-tools"


def find(name: str) -> Path | None:
    """Return the program from KUBEBUILDER_ASSETS, else the built one, else None."""
    if name in SERVERS:
        python = pythons.interpreter(SERVERS[name].environment(cache_folder()))
        return python if python.is_file() else None
    tool = BY_NAME[name]
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and tool.in_assets and (Path(assets) / name).is_file():
        return Path(assets) / name
    return tool.built_path if tool.built_path.is_file() else None


def path_of(name: str) -> Path:
    """Return the program; raises FileNotFoundError that says how to come by it."""
    path = find(name)
    if path is None:
        named = f" TOOLS={name}" if name in ONLY_NAMED else ""
        msg = f"{name} is not built yet: run make cluster-tools{named}"
        raise FileNotFoundError(msg)
    return path
