"""What the files of the node say about its driver: the kernel module, the PCI bus, the devices."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LIBRARY: Final = "libnvidia-ml.so.1"
# Where installers put the library, or where it is mounted from.
LIBRARY_FOLDERS: Final = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/nvidia/lib64",
    "home/kubernetes/bin/nvidia/lib64",
    "run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "run/nvidia/driver/usr/lib/aarch64-linux-gnu",
    "run/nvidia/driver/usr/lib64",
    "opt/nvidia/lib64",
)
_NVIDIA_VENDOR: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class PciGpu:
    """An NVIDIA GPU on the PCI bus and the kernel driver that has it, None if none has."""

    address: str
    driver: str | None


class Host:
    """The file system as the exporter sees it, at `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def kernel_module_version(self) -> str | None:
        """Return the version of the loaded NVIDIA kernel module, None without one.

        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build ..."
        """
        try:
            text = (self._root / "proc/driver/nvidia/version").read_text("utf-8", "replace")
        except OSError:
            return None
        match = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", text)
        return match[1] if match else "of unknown version"

    def pci_gpus(self) -> list[PciGpu]:
        """Return the NVIDIA GPUs on the PCI bus."""
        found = []
        for device in sorted((self._root / "sys/bus/pci/devices").glob("*")):
            if _text(device / "vendor") == _NVIDIA_VENDOR and _text(device / "class").startswith(
                _DISPLAY_CLASS
            ):
                driver = device / "driver"
                name = Path(os.readlink(driver)).name if driver.is_symlink() else None
                found.append(PciGpu(address=device.name, driver=name))
        return found

    def libraries(self) -> list[Path]:
        """Return where NVML's library lies in the folders that are known for it."""
        places = (self._root / folder / LIBRARY for folder in LIBRARY_FOLDERS)
        return [place for place in places if place.exists()]

    def loaded_library(self) -> str | None:
        """Return the file that this process has loaded as NVML."""
        match = re.search(r"\S+/libnvidia-ml\.so\S*", _text(self._root / "proc/self/maps"))
        return match[0] if match else None

    def device_problem(self) -> str | None:
        """Return which of the driver's device files cannot be opened and why; None if all can."""
        folder = self._root / "dev"
        control = folder / "nvidiactl"
        devices = sorted(one for one in folder.glob("nvidia*") if one.name[6:].isdigit())
        for device in (control, *devices):
            try:
                os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
            except OSError as error:
                return f"{device} cannot be opened: {error.strerror}"
        return None if devices else f"there is no {folder / 'nvidia0'}"


def load_problem(library: Path) -> str | None:
    """Return what the loader says against this file, None if it can be loaded."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
