# SPDX-License-Identifier: Apache-2.0
"""The NVLink fabric beyond one node (NVSwitch systems), such as that of an NVL72 rack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from exporter.exposition import link_families as families
from exporter.nvml.board import named, states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Sample
    from exporter.nvml.gpu import Gpu

STATES: Final = ("not_started", "in_progress", "completed")
"""NVML_GPU_FABRIC_STATE_*, by their values from 1 on; 0 is "not supported"."""
# What follows `completed` where it has an error.
_FAILED: Final = "failed"


def fabric(gpu: Gpu) -> Iterator[Sample]:
    """Yield where the GPU is in joining the fabric, and what it has joined."""
    binding = gpu.binding
    answer = gpu.fill_in("nvmlDeviceGetGpuFabricInfoV", binding.c_nvmlGpuFabricInfo_v2_t())
    if answer is None or answer.state == binding.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
        return
    has_joined = answer.state == binding.NVML_GPU_FABRIC_STATE_COMPLETED
    # The status says nothing before.
    has_failed = has_joined and answer.status != binding.NVML_SUCCESS
    state = _FAILED if has_failed else named(STATES, answer.state - 1)
    yield from states(families.FABRIC_STATE, (*STATES, _FAILED), state)
    if has_joined and not has_failed:
        cluster = UUID(bytes=bytes(answer.clusterUuid))
        yield families.FABRIC_INFO.sample(1, str(cluster), str(answer.cliqueId))
