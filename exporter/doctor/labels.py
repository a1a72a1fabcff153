# SPDX-License-Identifier: Apache-2.0
"""What else the labels and the containers' own parts need: the node's name and its processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.doctor.finding import failure, note, ok, warning
from exporter.model import Collector
from exporter.processes.files import UnreadableError, is_there
from exporter.processes.process_owner import OwnerUnknownError, ProcessOwners
from exporter.processes.terminated_pods import FinishedPods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cli.config import ExporterConfig
    from exporter.doctor.finding import Finding


def check_node_name(
    config: ExporterConfig, environment: Mapping[str, str], host_name: str
) -> Finding:
    """Return whether the label node_name is the node's name: a pod's own name is its host's."""
    if config.node_name == host_name and "KUBERNETES_SERVICE_HOST" in environment:
        return warning(
            "node name",
            f"{config.node_name!r} is the host name, which in a pod is the pod's name",
            "set the environment variable NODE_NAME from the field spec.nodeName",
        )
    return ok("node name", config.node_name)


def check_finished_pods(config: ExporterConfig) -> Finding:
    """Return whether finished pods can be detected where an old kubelet lists them."""
    pods = FinishedPods(cgroups=Path(config.cgroup_folder), logs=Path(config.logs_folder))
    problem = pods.problem()
    if problem is None:
        return ok("finished", "finished pods can be detected")
    return note(
        "finished",
        f"{problem} (only kubelets before 1.34 list finished pods)",
        "on such nodes add the mounts of docs/exporter.md, section Finished pods",
    )


def check_processes(config: ExporterConfig) -> Finding:
    """Return whether the processes on a GPU can be told apart by container."""
    owners = ProcessOwners(proc=Path(config.proc_folder), logs=Path(config.logs_folder))
    problem = owners.problem()
    if problem is None:
        try:
            owners.owner_of(os.getpid())
        except OwnerUnknownError as error:
            problem = str(error)
    if problem is None:
        return ok(
            "processes",
            f"the exporter can tell the node's processes apart (cgroup {_cgroup_version()})",
        )
    if Collector.CONTAINERS not in config.collectors:
        return note("processes", f"{problem} (only the collector `containers` would need it)")
    return failure(
        "processes",
        problem,
        "see docs/exporter.md for hostPID and the two folders of /var/log, or disable the "
        "collector `containers`",
    )


def _cgroup_version() -> str:
    try:
        return "v2" if is_there(Path("/sys/fs/cgroup/cgroup.controllers")) else "v1"
    except UnreadableError:
        return "of unknown version"
