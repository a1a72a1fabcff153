# SPDX-License-Identifier: Apache-2.0
"""Pure: groups GPU samples by target (pod, namespace, node)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from scaler.metricsapi.history import Target, TargetSample
from scaler.metricsapi.names import Resource
from scaler.readings.devices import CONTAINERS_OWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from scaler.readings.gpus import GpuSample


def by_target(
    family: str, samples: Iterable[GpuSample], targets: Collection[Target]
) -> Mapping[Target, Mapping[str, TargetSample]]:
    """Return the samples of each target by GPU; all are of `family`.

    For a GPU that several containers use, takes the highest value, or the sum for a family that
    has values per container, such as memory in use.
    """
    found: defaultdict[Target, dict[str, TargetSample]] = defaultdict(dict)
    add = family in CONTAINERS_OWN
    for gpu in samples:
        for target in _owners(gpu, family):
            if target not in targets:
                continue
            by_gpu = found[target]
            before = by_gpu.get(gpu.uuid)
            if before is None:
                by_gpu[gpu.uuid] = TargetSample(
                    gpu.value, gpu.sampled_seconds, gpu.fresh_for_seconds
                )
            else:
                value = before.value + gpu.value if add else max(before.value, gpu.value)
                sampled = min(before.sampled_seconds, gpu.sampled_seconds)
                by_gpu[gpu.uuid] = TargetSample(value, sampled, gpu.fresh_for_seconds)
    return found


def past_by_target(
    family: str, samples: Iterable[GpuSample], targets: Collection[Target]
) -> Mapping[Target, Mapping[str, list[TargetSample]]]:
    """Return the same for samples of several times, oldest first."""
    at: defaultdict[float, list[GpuSample]] = defaultdict(list)
    for sample in samples:
        at[sample.sampled_seconds].append(sample)
    found: defaultdict[Target, defaultdict[str, list[TargetSample]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for instant in sorted(at):
        for target, by_gpu in by_target(family, at[instant], targets).items():
            for uuid, one in by_gpu.items():
                found[target][uuid].append(one)
    return found


def _owners(gpu: GpuSample, family: str) -> Iterable[Target]:
    if gpu.pod is not None:
        yield Target(Resource.PODS, gpu.pod.namespace, gpu.pod.name, family)
        yield Target(Resource.NAMESPACES, gpu.pod.namespace, gpu.pod.namespace, family)
    if gpu.node:
        yield Target(Resource.NODES, "", gpu.node, family)
