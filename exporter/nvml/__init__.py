"""The only package that calls nvidia-ml-py: devices in, readings out.

`session` opens NVML and finds the devices, `base` reads the base set, `dutycycle` averages shares
of time; `calls` is what all of them call NVML through.
"""

from exporter.nvml.calls import NvmlError, RunningCall
from exporter.nvml.session import Nvml

__all__ = ["Nvml", "NvmlError", "RunningCall"]
