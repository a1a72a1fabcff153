# SPDX-License-Identifier: Apache-2.0
"""The way to the pods: the kubelet's pod-resources socket and what it lists."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.attribution.attribute import Holdings, attribute, is_claimed, is_fraction, remember
from exporter.doctor.finding import failure, note, ok, warning
from exporter.model import Collector
from exporter.podresources.client import PodResourcesClient, PodResourcesError
from exporter.processes.files import UnreadableError, is_there, unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from exporter.cli.config import ExporterConfig
    from exporter.doctor.finding import Finding
    from exporter.model import Readings
    from exporter.podresources.decode import Listing

_STEP: Final = "kubelet"
_CONNECT_SECONDS: Final = 5.0
_SHOWN_IDS: Final = 5
_MAYBE_GPU: Final = re.compile("gpu|nvidia|vcuda", re.IGNORECASE)
_MOUNT: Final = (
    "mount the node's /var/lib/kubelet/pod-resources (the folder, not the socket) read-only at the "
    "same path; if the kubelet has another --root-dir, set --pod-resources.socket"
)
_LET_IN: Final = (
    "the socket belongs to root: runAsUser: 0 (without any capability); SELinux or AppArmor may "
    "also forbid it"
)


async def check_kubelet(config: ExporterConfig, readings: Readings | None) -> list[Finding]:
    """Return what stands between the exporter and the pods that hold the devices.

    `readings` are those of NVML, None where it does not answer.
    """
    if not config.pod_resources_socket:
        return [note(_STEP, "pod labels are switched off", "give --pod-resources.socket a path")]
    if problem := await asyncio.to_thread(_socket_problem, Path(config.pod_resources_socket)):
        return [problem]
    client = PodResourcesClient(
        config.pod_resources_socket, config.extra_resource_names, node_name=config.node_name
    )
    try:
        return list(_listed(await client.list_pods(), readings, config))
    except PodResourcesError as error:
        return [_refused(error)]


def _socket_problem(path: Path) -> Finding | None:
    """Return why the socket cannot be reached; connecting blocks for a moment at most."""
    try:
        if not is_there(path.parent):
            return failure(_STEP, f"{path.parent} is not there", _MOUNT)
    except UnreadableError as error:
        return failure(_STEP, str(error), _LET_IN)
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        return failure(_STEP, str(unreadable(path, error)), _LET_IN)
    except OSError as error:
        return failure(_STEP, f"{path}: {error.strerror}; the kubelet creates it", _MOUNT)
    if not stat.S_ISSOCK(mode):
        return failure(_STEP, f"{path} is not a socket", _MOUNT)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except PermissionError:
            return failure(
                _STEP,
                f"{path} refuses user {os.geteuid()}",
                _LET_IN,
            )
        except OSError as error:
            return failure(
                _STEP,
                f"{path} does not answer: {error.strerror or error}",
                "a previous kubelet left the socket behind: mount the folder, not the socket",
            )
    return None


def _refused(error: PodResourcesError) -> Finding:
    if error.code == "RESOURCE_EXHAUSTED":
        return warning(
            _STEP,
            f"the kubelet is already answering too many clients: {error}",
            "find what else reads pod resources on this node; the exporter keeps trying",
        )
    return failure(_STEP, f"the kubelet does not list its pods' devices: {error}", "see its log")


def _listed(
    listing: Listing, readings: Readings | None, config: ExporterConfig
) -> Iterator[Finding]:
    containers = {allocation.container for allocation in listing.allocations}
    devices = {allocation.device_id for allocation in listing.allocations}
    yield ok(_STEP, f"lists {len(devices)} GPU devices held by {len(containers)} containers")
    if not listing.has_api_pods:
        yield note(_STEP, "the kubelet does not know its pods yet, or this node has none")
    others = sorted(name for name in listing.other_resource_names if _MAYBE_GPU.search(name))
    if others:
        yield warning(
            _STEP,
            f"devices of {', '.join(others)} are not treated as GPUs",
            f"if they are GPUs, set --pod-resources.extra-names={','.join(others)}",
        )
    if readings is not None:
        snapshot = attribute(readings, remember(Holdings(), listing.allocations))
        yield from _unmatched(snapshot.unmatched_device_ids, config)


def _unmatched(device_ids: Collection[str], config: ExporterConfig) -> Iterator[Finding]:
    claimed = [one for one in device_ids if is_claimed(one)]
    fractions = [one for one in device_ids if is_fraction(one)]
    others = [one for one in device_ids if one not in {*claimed, *fractions}]
    if claimed and not config.dra:
        yield warning(
            _STEP,
            f"claimed devices (DRA) do not name their GPUs: {_some(claimed)}",
            "set --dra and apply daemonset/exporter-dra-role.yaml",
        )
    if fractions and Collector.CONTAINERS not in config.collectors:
        yield warning(
            _STEP,
            f"fractions do not name their GPUs: {_some(fractions)}",
            "set --collectors=containers and hostPID: true to find them by their processes",
        )
    if others:
        yield warning(
            _STEP,
            f"NVML does not show {_some(others)}, which pods hold",
            "see the findings on devices above; MIG instances need "
            "NVIDIA_MIG_MONITOR_DEVICES=all and the capability SYS_ADMIN under the NVIDIA runtime",
        )


def _some(device_ids: Sequence[str]) -> str:
    shown = ", ".join(device_ids[:_SHOWN_IDS])
    return shown if len(device_ids) <= _SHOWN_IDS else f"{shown}, ... ({len(device_ids)} in all)"
