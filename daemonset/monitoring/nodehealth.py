# SPDX-License-Identifier: Apache-2.0
"""The lower half of the dashboard of one node: what is wrong with its GPUs, and its exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemonset.monitoring.nodequeries import EXPORTER, GPU, LEGEND, NODE, each_gpu, each_rate
from daemonset.monitoring.parts import (
    BAD_ABOVE_0,
    BAD_AT_0,
    NOTED_ABOVE_0,
    Column,
    Key,
    Panel,
    graph,
    number,
    table,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.table import Panel as Table


def health() -> list[Panel]:
    """Return the panels about GPU faults."""
    throttled = each_rate("nvidia_gpu_clocks_event_seconds_total", by=f"{GPU}, reason")
    xids = each_gpu("nvidia_gpu_xid_errors_total", by=f"{GPU}, xid")
    nvlink = each_rate("nvidia_gpu_nvlink_errors_total", by=f"{GPU}, link, error")
    locations = f"{GPU}, error, location"
    repairs = {
        "Rows to remap": each_gpu("nvidia_gpu_row_remapping_pending"),
        "Remapping failed": each_gpu("nvidia_gpu_row_remapping_failed"),
        "Pages to retire": each_gpu("nvidia_gpu_page_retirement_pending"),
        "Recommended action": each_gpu("nvidia_gpu_recovery_action", matching=',action!="none"'),
        "Too many SRAM errors": each_gpu("nvidia_gpu_sram_ecc_threshold_exceeded"),
        "Fabric failed": each_gpu("nvidia_gpu_fabric_state", matching=',state="failed"'),
    }
    return [
        graph(
            "Throttling",
            "percentunit",
            "Share of the time in which the clocks were lowered, by reason.",
            {f"{LEGEND} {{{{reason}}}}": f"{throttled} > 0"},
            highest=1,
        ),
        graph(
            "Memory errors (ECC)",
            "short",
            "Errors since the driver was loaded, over all memory locations of the GPU.",
            {
                f"{LEGEND} {{{{error}}}}": f"sum by ({GPU}, error)"
                f" ({each_gpu('nvidia_gpu_ecc_volatile_errors_total', by=locations)})"
            },
        ),
        graph(
            "Xid errors",
            "short",
            "Errors since the exporter started.",
            {f"{LEGEND} Xid {{{{xid}}}}": f"{xids} > 0"},
            steps=BAD_ABOVE_0,
        ),
        graph(
            "Link errors",
            "short",
            "NVLink errors and PCIe replays per second.",
            {
                f"{LEGEND} NVLink {{{{error}}}}": f"sum by ({GPU}, error) ({nvlink})",
                f"{LEGEND} PCIe replays": each_rate("nvidia_gpu_pcie_replays_total"),
            },
        ),
        table(
            "Pending repairs",
            "Memory rows and pages that the next reset replaces, rows that could not be"
            " remapped, the action that the driver recommends, SRAM beyond repair, and GPUs"
            " that could not join the NVLink fabric.",
            (Key("minor_number", "GPU"), Key("uuid", "UUID")),
            (
                *(Column(header, expr, steps=BAD_ABOVE_0) for header, expr in repairs.items()),
                Column("Readable", each_gpu("nvidia_gpu_readable"), steps=BAD_AT_0),
            ),
        ),
        modes(),
    ]


def modes() -> Table:
    """Return the table of how the GPUs are set."""
    return table(
        "Modes",
        "Whether the driver stays loaded without programs, whether one process has the GPU for"
        " itself, and whether ECC is on now and after the next reset.",
        (Key("minor_number", "GPU"), Key("uuid", "UUID")),
        (
            Column("Persistence", each_gpu("nvidia_gpu_persistence_mode")),
            Column(
                "Exclusive process",
                each_gpu("nvidia_gpu_compute_mode", matching=',mode="exclusive_process"'),
            ),
            Column("ECC", each_gpu("nvidia_gpu_ecc_enabled")),
            Column("ECC after reset", each_gpu("nvidia_gpu_ecc_pending_enabled")),
        ),
    )


def exporter() -> list[Panel]:
    """Return the panels about the node's exporter."""
    rate = "[$__rate_interval]"
    cycles = (
        f"sum by (le) (rate(nvidia_gpu_exporter_cycle_duration_seconds_bucket{{{EXPORTER}}}{rate}))"
    )
    return [
        number(
            "Ready",
            "short",
            "Whether the exporter publishes current readings.",
            f"min(nvidia_gpu_exporter_ready{{{EXPORTER}}})",
            steps=BAD_AT_0,
            words={"0": "No", "1": "Yes"},
        ),
        number(
            "Unreadable GPUs",
            "short",
            "GPUs that the driver lists but that cannot be read.",
            f"max(nvidia_gpu_exporter_unreadable_devices{{{EXPORTER}}})",
            steps=BAD_ABOVE_0,
        ),
        number(
            "Pod labels",
            "short",
            "Whether the kubelet tells the exporter which pods use which devices.",
            f"min(nvidia_gpu_exporter_pod_resources_up{{{EXPORTER}}})",
            steps=BAD_AT_0,
            words={"0": "No", "1": "Yes"},
        ),
        number(
            "Unmatched devices",
            "short",
            "Allocated devices that match no known GPU.",
            f"max(nvidia_gpu_exporter_pod_resources_unmatched_devices{{{EXPORTER}}})",
            steps=NOTED_ABOVE_0,
        ),
        number(
            "Hanging call",
            "s",
            "Time since an NVML call that has not returned began; 0 if none hangs.",
            f"max(nvidia_gpu_exporter_hanging_call_seconds{{{EXPORTER}}})"
            f" or 0 * max(nvidia_gpu_exporter_ready{{{EXPORTER}}})",
            steps=((None, "green"), (5, "red")),
        ),
        number(
            "Age of the readings",
            "s",
            "Age of the newest readings. The exporter does not publish readings older than 3"
            " intervals (at least 10 s).",
            f"max(nvidia_gpu_exporter_snapshot_age_seconds{{{EXPORTER}}})",
            steps=((None, "green"), (10, "red")),
        ),
        graph(
            "Cycle duration",
            "s",
            "Time to read all GPUs.",
            {
                "99th percentile": f"histogram_quantile(0.99, {cycles})",
                "median": f"histogram_quantile(0.5, {cycles})",
            },
        ),
        graph(
            "Failed calls",
            "ops",
            "Failed calls per second: NVML by function and code, the kubelet by code.",
            {
                "{{function}} {{code}}": "sum by (function, code)"
                f" (rate(nvidia_gpu_exporter_errors_total{{{EXPORTER}}}{rate}))",
                "kubelet {{code}}": "sum by (code)"
                f" (rate(nvidia_gpu_exporter_pod_resources_errors_total{{{EXPORTER}}}{rate}))",
            },
        ),
        table(
            "Driver",
            "Versions of the driver, the CUDA that it supports, and NVML.",
            (
                Key("driver_version", "Driver"),
                Key("cuda_version", "CUDA"),
                Key("nvml_version", "NVML"),
            ),
            (
                Column(
                    "Nodes",
                    "count by (driver_version, cuda_version, nvml_version)"
                    f" (max by (node_name, driver_version, cuda_version, nvml_version)"
                    f" (nvidia_gpu_driver_info{{{NODE}}}))",
                ),
            ),
            width=12,
        ),
        table(
            "Boards",
            "Model, address, serial number and firmware of each board.",
            (
                Key("minor_number", "GPU"),
                Key("name", "Model"),
                Key("pci_bus_id", "PCI bus"),
                Key("serial", "Serial number"),
                Key("vbios_version", "VBIOS"),
                Key("mig_mode", "MIG"),
            ),
            (
                Column(
                    "Boards",
                    "max by (minor_number, name, pci_bus_id, serial, vbios_version,"
                    f" mig_mode) (nvidia_gpu_info{{{NODE}}})",
                ),
            ),
            width=12,
        ),
    ]
