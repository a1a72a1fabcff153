# SPDX-License-Identifier: Apache-2.0
"""GPU performance monitoring (Hopper and newer): shares of time between two samples of counters.

The only way to a MIG instance's duty cycle. The counters belong to a GPU instance, so where one has
several compute instances none of them has values of its own.
https://docs.nvidia.com/deploy/nvml-api/group__nvmlGpmFunctions.html
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from exporter.exposition import families
from exporter.nvml.calls import ABSENT, DEVICE_GONE, SESSION_GONE, NvmlError, raise_if_gone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from exporter.model import Device, Family, Sample
    from exporter.nvml.calls import Calls
    from exporter.nvml.gpu import Gpu

GRAPHICS_UTIL: Final = 1
PROFILE: Final[Mapping[int, Family]] = {
    GRAPHICS_UTIL: families.GRAPHICS_ACTIVE,
    2: families.SM_ACTIVE,
    3: families.SM_OCCUPANCY,
    5: families.TENSOR_ACTIVE,
    10: families.DRAM_ACTIVE,
    11: families.FP64_ACTIVE,
    12: families.FP32_ACTIVE,
    13: families.FP16_ACTIVE,
}
"""NVML_GPM_METRIC_* and their families."""
_CLOSEST_SECONDS: Final = 0.1
"""The driver refuses samples that are closer together."""
_SAMPLES_PER_WINDOW: Final = 10
# The driver's arithmetic may overshoot a little.
_HIGHEST_PERCENT: Final = 105.0


class Gpm:
    """Samples MIG instances, and whole GPUs `with_profile`; averages over a window in seconds."""

    def __init__(self, calls: Calls, window_seconds: float, *, with_profile: bool) -> None:
        self._calls = calls
        self._window_seconds = window_seconds
        self._with_profile = with_profile
        self._metrics = tuple(PROFILE) if with_profile else (GRAPHICS_UTIL,)
        self._histories: dict[str, deque[tuple[float, Any]]] = {}
        # The devices that were read without a sample far enough back to compare with.
        self._awaiting: set[str] = set()

    @property
    def awaits_second_sample(self) -> bool:
        """Whether a device has values only once it is read again."""
        return bool(self._awaiting)

    def keep(self, uuids: Collection[str]) -> None:
        """Forget all other devices: a recreated instance has another UUID."""
        for uuid in self._histories.keys() - uuids:
            self._free(sample for _, sample in self._histories.pop(uuid))
        self._awaiting.intersection_update(uuids)

    def close(self) -> None:
        """Forget all devices, before NVML is shut down."""
        self.keep(())

    def read(self, gpu: Gpu, instances: Sequence[Device]) -> dict[str, dict[int, float]]:
        """Return {UUID: {metric: percent}} of the GPU or of its instances, as far as known.

        Raises NvmlError if the device or the session is gone.
        """
        wanted = self._wanted(gpu, instances)
        if not wanted or not _is_supported(gpu):
            return {}
        return {
            device.uuid: values
            for device in wanted
            if (values := self._values(gpu, device)) is not None
        }

    def samples(self, values: Mapping[int, float]) -> Iterator[Sample]:
        """Yield the families of the profile."""
        if self._with_profile:
            for metric, percent in values.items():
                yield PROFILE[metric].sample(percent / 100)

    def _wanted(self, gpu: Gpu, instances: Sequence[Device]) -> list[Device]:
        if gpu.mig_enabled:
            return sole_instances(instances)
        return [gpu.device] if self._with_profile else []

    def _values(self, gpu: Gpu, device: Device) -> dict[int, float] | None:
        self._awaiting.discard(device.uuid)
        sample = self._calls.optional("nvmlGpmSampleAlloc")
        if sample is None:
            return None
        now = monotonic()
        try:
            if device.is_mig_instance:
                self._calls.call("nvmlGpmMigSampleGet", gpu.handle, device.gpu_instance_id, sample)
            else:
                self._calls.call("nvmlGpmSampleGet", gpu.handle, sample)
        except NvmlError as error:
            self._free([sample])
            raise_if_gone(error)
            return None
        history = self._histories.setdefault(device.uuid, deque())
        while len(history) > 1 and now - history[0][0] > self._window_seconds:
            self._free([history.popleft()[1]])
        values = None
        if history and now - history[0][0] >= _CLOSEST_SECONDS:
            values = self._between(history[0][1], sample)
        else:
            self._awaiting.add(device.uuid)
        pause = self._window_seconds / _SAMPLES_PER_WINDOW
        if not history or now - history[-1][0] >= pause:
            history.append((now, sample))
        else:
            self._free([sample])
        return values

    def _between(self, first: Any, second: Any) -> dict[int, float] | None:
        binding = self._calls.binding
        question = binding.c_nvmlGpmMetricsGet_t()
        question.version = binding.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(self._metrics)
        question.sample1, question.sample2 = first, second
        for place, metric in enumerate(self._metrics):
            question.metrics[place].metricId = metric
        answer = self._calls.optional("nvmlGpmMetricsGet", question)
        if answer is None:
            return None
        found = [answer.metrics[place] for place in range(len(self._metrics))]
        for metric, one in zip(self._metrics, found, strict=True):
            code = self._calls.code_name(one.nvmlReturn)
            if code not in ABSENT | {"SUCCESS", "INVALID_ARGUMENT"}:
                self._calls.failed(NvmlError("nvmlGpmMetricsGet", code, f"metric {metric}"))
        return {
            metric: min(one.value, 100.0)
            for metric, one in zip(self._metrics, found, strict=True)
            # What could not be computed is not a number.
            if one.nvmlReturn == binding.NVML_SUCCESS and 0.0 <= one.value <= _HIGHEST_PERCENT
        }

    def _free(self, samples: Iterable[Any]) -> None:
        """Give samples back; what went away with its GPU or driver needs no more of that."""
        for sample in samples:
            with contextlib.suppress(NvmlError):
                self._calls.call("nvmlGpmSampleFree", sample, expected=DEVICE_GONE | SESSION_GONE)


def sole_instances(instances: Sequence[Device]) -> list[Device]:
    """Return the MIG devices that have their GPU instance for themselves."""
    counts = Counter(one.gpu_instance_id for one in instances)
    return [
        one
        for one in instances
        if one.gpu_instance_id is not None and counts[one.gpu_instance_id] == 1
    ]


def _is_supported(gpu: Gpu) -> bool:
    support = gpu.ask_once("nvmlGpmQueryDeviceSupport")
    return support is not None and bool(support.isSupportedDevice)
