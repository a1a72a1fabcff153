# SPDX-License-Identifier: Apache-2.0
"""The only package that calls nvidia-ml-py: devices in, readings out.

`session` opens NVML and finds the devices, `base` reads the base set, `extended` the collectors
that are on (`readers` names them: `board`, `sensors`, `links`, `fabric`, `ecc` and `process_memory`
ask, `xid` waits for events).
`duty_cycle` averages shares of time, `gpu` remembers what need not be asked again, and all call
NVML through `calls`.
"""

from exporter.nvml.calls import NvmlError, RunningCall
from exporter.nvml.session import Nvml

__all__ = ["Nvml", "NvmlError", "RunningCall"]
