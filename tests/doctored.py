# SPDX-License-Identifier: Apache-2.0
"""A folder as a node's root, and what gpu-exporter doctor finds there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.cli.config import ExporterConfig
from exporter.doctor.examination import examine
from exporter.doctor.host import Host
from simulator.nvml.binding import bind

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.doctor.finding import Finding

VERSION = "580.65.06"
MODULE = (
    "NVRM version: NVIDIA UNIX {kind}  {version}  Release Build  (dvs-builder@U22)  \n"
    "GCC version:  gcc version 12.3.0\n"
)


class Node:
    """Files of a node as the exporter's container shows them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def module(self, version: str = VERSION, kind: str = "Open Kernel Module for x86_64") -> None:
        self.write("proc/driver/nvidia/version", MODULE.format(kind=kind, version=version))

    def pci(self, address: str, *, driver: str | None = "nvidia", vendor: str = "0x10de") -> None:
        folder = f"sys/bus/pci/devices/{address}"
        self.write(f"{folder}/vendor", f"{vendor}\n")
        self.write(f"{folder}/class", "0x030200\n")
        if driver:
            (self.root / folder / "driver").symlink_to(f"../../drivers/{driver}")

    def devices(self) -> None:
        for name in ("nvidiactl", "nvidia0"):
            self.write(f"dev/{name}")


async def findings(driver, node, *, environment=None, host_name="pod-x7k", **changes):
    settings: dict[str, Any] = {
        "listen_host": "127.0.0.1",
        "listen_port": 0,
        "node_name": "node-1",
    }
    return await examine(
        ExporterConfig(**(settings | {"pod_resources_socket": ""} | changes)),
        binding=bind(driver),
        host=Host(node.root),
        environment=environment or {},
        host_name=host_name,
    )


def of(step: str, found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.step == step]
