# SPDX-License-Identifier: Apache-2.0
"""A loop of the NVML calls of the base set on simulated GPUs, and nothing else, once a second.

`python -m benchmarks.barenvml GPUS` reads each value of each GPU once per cycle.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Final

from simulator.exporter import busy_driver
from simulator.nvml.binding import bind

INTERVAL_SECONDS: Final = 1.0


def main() -> None:
    """Read until killed."""
    nvml: Any = bind(busy_driver("H100", int(sys.argv[1])))
    nvml.nvmlInit()
    handles = [nvml.nvmlDeviceGetHandleByIndex(one) for one in range(nvml.nvmlDeviceGetCount())]
    newest = [0] * len(handles)
    while True:
        nvml.nvmlDeviceGetCount()
        for index, handle in enumerate(handles):
            nvml.nvmlDeviceGetPowerUsage(handle)
            nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)
            # A board without a fan says so, and a buffer may have nothing new.
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlDeviceGetFanSpeed(handle)
            with contextlib.suppress(nvml.NVMLError):
                _, samples = nvml.nvmlDeviceGetSamples(
                    handle, nvml.NVML_GPU_UTILIZATION_SAMPLES, newest[index]
                )
                newest[index] = max(sample.timeStamp for sample in samples)
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main()
