# SPDX-License-Identifier: Apache-2.0
"""What the files of the node say about its driver: the kernel module, the PCI bus, the devices."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.processes.files import UnreadableError, is_there, names_in, unreadable

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
    """The file system as the exporter sees it, at `root`; what cannot be read counts as absent."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._unreadable: dict[str, None] = {}

    def unreadable(self) -> list[str]:
        """Return which of the files read so far may be there and cannot be read, and why."""
        return list(self._unreadable)

    def kernel_module_version(self) -> str | None:
        """Return the version of the loaded NVIDIA kernel module, None without one.

        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build ..."
        """
        text = self._text("proc/driver/nvidia/version")
        if text is None:
            return None
        match = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", text)
        return match[1] if match else "of unknown version"

    def pci_gpus(self) -> list[PciGpu]:
        """Return the NVIDIA GPUs on the PCI bus."""
        folder = "sys/bus/pci/devices"
        return [
            PciGpu(address=address, driver=self._pci_driver(f"{folder}/{address}/driver"))
            for address in self._names(folder)
            if self._text(f"{folder}/{address}/vendor") == _NVIDIA_VENDOR
            and (self._text(f"{folder}/{address}/class") or "").startswith(_DISPLAY_CLASS)
        ]

    def _pci_driver(self, link: str) -> str | None:
        try:
            return Path(os.readlink(self._root / link)).name
        except OSError:
            return None

    def libraries(self) -> list[Path]:
        """Return where NVML's library lies in the folders that are known for it."""
        places = [self._root / folder / LIBRARY for folder in LIBRARY_FOLDERS]
        return [place for place in places if self._is_there(place)]

    def loaded_library(self) -> str | None:
        """Return the file that this process has loaded as NVML."""
        match = re.search(r"\S+/libnvidia-ml\.so\S*", self._text("proc/self/maps") or "")
        return match[0] if match else None

    def device_problem(self) -> str | None:
        """Return which of the driver's device files cannot be opened and why; None if all can."""
        folder = self._root / "dev"
        control = folder / "nvidiactl"
        names = [name for name in self._names("dev") if re.fullmatch("nvidia[0-9]+", name)]
        devices = [folder / name for name in names]
        for device in (control, *devices):
            try:
                os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
            except OSError as error:
                return f"{device} cannot be opened: {error.strerror}"
        return None if devices else f"there is no {folder / 'nvidia0'}"

    def _text(self, path: str) -> str | None:
        """The content of a file without space around it, None where there is none."""
        file = self._root / path
        try:
            return file.read_text("utf-8", "replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._note(unreadable(file, error))
            return None

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(names_in(self._root / folder))
        except UnreadableError as error:
            self._note(error)
            return []

    def _is_there(self, file: Path) -> bool:
        try:
            return is_there(file)
        except UnreadableError as error:
            self._note(error)
            return False

    def _note(self, error: UnreadableError) -> None:
        self._unreadable[str(error)] = None


def load_problem(library: Path) -> str | None:
    """Return what the loader says against this file, None if it can be loaded."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return None
