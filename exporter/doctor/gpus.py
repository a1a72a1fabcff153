# SPDX-License-Identifier: Apache-2.0
"""The way to the GPUs, step by step: the library, the driver, the devices. Blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.doctor.finding import failure, ok, warning
from exporter.doctor.host import LIBRARY, load_problem
from exporter.nvml import NvmlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.doctor.finding import Finding
    from exporter.doctor.host import Host
    from exporter.model import DeviceReading, Readings
    from exporter.nvml import Nvml

_GIVE_LIBRARY: Final = (
    "GPU Operator or NVIDIA runtime: runtimeClassName: nvidia and NVIDIA_VISIBLE_DEVICES=all; "
    "GKE: mount the node's /home/kubernetes/bin/nvidia to /usr/local/nvidia and set "
    "LD_LIBRARY_PATH=/usr/local/nvidia/lib64; see docs/exporter.md"
)
_GIVE_DEVICES: Final = (
    "the container needs the driver's device files: runtimeClassName: nvidia and "
    "NVIDIA_VISIBLE_DEVICES=all (request no nvidia.com/gpu), or on GKE privileged: true"
)
_NEW_CONTAINER: Final = "delete the exporter's pod, so that a new one starts"


def check_gpus(nvml: Nvml, host: Host) -> tuple[list[Finding], Readings | None]:
    """Return what stands between the exporter and the GPUs, and what they read if they do."""
    try:
        nvml.open()
    except NvmlError as error:
        if error.code == "LIBRARY_NOT_FOUND":
            return [_without_library(host)], None
        return [_library(host), _without_driver(error, host)], None
    found = [_library(host), _driver(nvml, host)]
    try:
        readings = nvml.run(nvml.read)
    except NvmlError as error:
        return [
            *found,
            failure("devices", f"the GPUs cannot be read: {error}", _GIVE_DEVICES),
        ], None
    finally:
        nvml.close()
    return [*found, *_devices(readings, host)], readings


def _library(host: Host) -> Finding:
    return ok("library", f"{host.loaded_library() or LIBRARY} is loaded")


def _without_library(host: Host) -> Finding:
    for library in host.libraries():
        if problem := load_problem(library):
            return failure(
                "library",
                f"{library} exists but cannot be loaded: {problem}",
                "it was built for a different system than the image; use the published image "
                "unchanged",
            )
        return failure(
            "library",
            f"{LIBRARY} is in {library.parent}, where the loader does not look",
            f"set the environment variable LD_LIBRARY_PATH={library.parent}",
        )
    if not host.pci_gpus() and host.kernel_module_version() is None:
        return failure(
            "library",
            f"{LIBRARY} does not exist, and the node has neither an NVIDIA GPU nor its driver",
            "keep the exporter off nodes without GPUs (nodeAffinity of the DaemonSet)",
        )
    return failure("library", f"{LIBRARY} is not in this container", _GIVE_LIBRARY)


def _driver(nvml: Nvml, host: Host) -> Finding:
    version = nvml.driver_version or "of unknown version"
    module = host.kernel_module_version()
    if module is None or module == version:
        return ok("driver", f"{version} answers")
    return warning(
        "driver",
        f"{version} answers, the kernel module is {module}",
        f"the driver is being replaced; when that is done, {_NEW_CONTAINER}",
    )


def _without_driver(error: NvmlError, host: Host) -> Finding:
    module = host.kernel_module_version()
    if error.code == "LIB_RM_VERSION_MISMATCH":
        return failure(
            "driver",
            f"{error}: the library of this container does not match the kernel module "
            f"({module or 'not visible'})",
            _NEW_CONTAINER,
        )
    if module is None:
        return _without_module(error, host)
    if problem := host.device_problem():
        return failure("devices", f"{error}: {problem}", f"{_GIVE_DEVICES}; else {_NEW_CONTAINER}")
    return failure(
        "driver",
        f"{error}, although the kernel module {module} is loaded and its devices can be opened",
        "run nvidia-smi on the node and look for NVRM in its kernel log (dmesg)",
    )


def _without_module(error: NvmlError, host: Host) -> Finding:
    gpus = host.pci_gpus()
    if not gpus:
        return failure(
            "driver",
            f"{error}: no NVIDIA GPU is on the PCI bus and no kernel module is loaded",
            "keep the exporter off nodes without GPUs (nodeAffinity of the DaemonSet)",
        )
    drivers = ", ".join(f"{gpu.address}: {gpu.driver or 'no driver'}" for gpu in gpus)
    return failure(
        "driver",
        f"{error}: the NVIDIA kernel module is not loaded ({drivers})",
        "install the driver on the node (GPU Operator, the cloud's installer, or the "
        "distribution's package); GPUs bound to vfio-pci belong to virtual machines",
    )


def _devices(readings: Readings, host: Host) -> Iterator[Finding]:
    if readings.device_count == 0:
        yield failure("devices", "NVML shows no GPU to this container", _GIVE_DEVICES)
    on_bus = len(host.pci_gpus())
    if 0 < readings.device_count < on_bus:
        yield warning(
            "devices",
            f"NVML shows {readings.device_count} of the {on_bus} NVIDIA GPUs on the PCI bus",
            "set NVIDIA_VISIBLE_DEVICES=all; GPUs assigned to virtual machines do not appear",
        )
    divided = {reading.device.parent_uuid for reading in readings.devices}
    for reading in readings.devices:
        yield _device(reading, is_divided=reading.device.uuid in divided)
    for gpu in readings.unreadable:
        yield failure(
            "devices",
            str(gpu),
            "run nvidia-smi on the node and look for NVRM and Xid in its kernel log (dmesg): a GPU "
            "that is lost or hangs needs a reset or a reboot",
        )


def _device(reading: DeviceReading, *, is_divided: bool) -> Finding:
    """Say what a device lacks; instances have memory only, and their GPU all but memory."""
    device = reading.device
    values = {}
    if not is_divided:
        values["memory"] = reading.memory_total_bytes
    if not device.is_mig_instance:
        values["power"] = reading.power_usage_milliwatts
        values["temperature"] = reading.temperature_celsius
    absent = [name for name, value in values.items() if value is None]
    without = f", without {', '.join(absent)}" if absent else ""
    return ok("devices", f"{device.name} {device.uuid}{without}")
