# SPDX-License-Identifier: Apache-2.0
"""The extended families' readings: which collectors are on, and what befalls one stays with it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from exporter.exposition import families
from exporter.model import Collector
from exporter.nvml.calls import NvmlError, within
from exporter.nvml.duty_cycle import MEMORY, DutyCycles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from exporter.model import Device, Sample
    from exporter.nvml.calls import Calls
    from exporter.nvml.gpu import Gpu
    from exporter.nvml.readers import Reader

log = logging.getLogger(__name__)

_CUDA_VERSIONS: Final = range(1000, 1_000_000)


class ExtendedReadings:
    """Reads the collectors that are on; shares of time are averaged over a window in seconds.

    Xid errors come from `exporter.nvml.xid`, because they are reported and not read.
    """

    def __init__(
        self, calls: Calls, collectors: Collection[Collector], window_seconds: float
    ) -> None:
        self._calls = calls
        self._memory_bandwidth = DutyCycles(calls, MEMORY, window_seconds)
        self._readers: dict[Collector, Reader] = {}
        if collectors:
            # Those who do without them do without their imports as well.
            from exporter.nvml.readers import READERS  # noqa: PLC0415

            readers = READERS | {Collector.MEMORY_BANDWIDTH: self._read_memory_bandwidth}
            self._readers = {one: read for one, read in readers.items() if one in collectors}
        self._broken: set[tuple[str, Collector]] = set()
        self._node: tuple[Sample, ...] | None = None

    def begin_session(self) -> None:
        """Ask a newly opened NVML again for everything."""
        self._broken.clear()
        self._node = None

    def keep(self, uuids: Collection[str]) -> None:
        """Forget the history of all other devices."""
        self._memory_bandwidth.keep(uuids)

    def node(self) -> tuple[Sample, ...]:
        """Return what belongs to no device; asked until every call of a session has answered."""
        if self._node is not None:
            return self._node
        samples, failures = self._calls.with_failures(lambda: tuple(self._read_versions()))
        if not failures:
            self._node = samples
        return samples

    def read(self, gpu: Gpu) -> tuple[Sample, ...]:
        """Return the GPU's samples; a collector that fails has none and harms no other."""
        samples: list[Sample] = []
        for collector, reader in self._readers.items():
            if (gpu.device.uuid, collector) in self._broken:
                continue
            try:
                samples += reader(gpu)
            except (NvmlError, MemoryError):
                # The GPU or the session went away a moment ago, or memory is short; the next
                # cycle's base readings find it out, this cycle's are good.
                break
            except Exception:
                self._broken.add((gpu.device.uuid, collector))
                log.exception(
                    "A collector failed unexpectedly and is disabled for this GPU",
                    extra={"collector": collector.value, "uuid": gpu.device.uuid},
                )
        return tuple(samples)

    def _read_memory_bandwidth(self, gpu: Gpu) -> Iterator[Sample]:
        # Under MIG neither the buffer nor the rates exist; asking each cycle would cost two calls.
        if gpu.mig_enabled:
            return
        percent = self._memory_bandwidth.percent(gpu)
        if percent is not None:
            yield families.MEMORY_BANDWIDTH.sample(percent / 100)

    def _read_versions(self) -> Iterator[Sample]:
        cuda = within(_CUDA_VERSIONS, self._calls.optional("nvmlSystemGetCudaDriverVersion_v2"))
        yield families.DRIVER_INFO.sample(
            1,
            self._calls.optional("nvmlSystemGetDriverVersion") or "",
            "" if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            self._calls.optional("nvmlSystemGetNVMLVersion") or "",
        )


def mig_info(device: Device) -> Sample:
    """Return who an instance is; NVML's name of it is "NVIDIA A100-SXM4-80GB MIG 1g.10gb"."""
    ids = (device.gpu_instance_id, device.compute_instance_id)
    return families.MIG_INFO.sample(
        1,
        device.parent_uuid or "",
        device.name.partition(" MIG ")[2],
        *("" if one is None else str(one) for one in ids),
    )
