# SPDX-License-Identifier: Apache-2.0
"""The lower half of the dashboard of one node: what is wrong with its GPUs, and its exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemonset.monitoring.nodequeries import EXPORTER, GPU, LEGEND, NODE, each_gpu, each_rate
from daemonset.monitoring.parts import (
    BAD_ABOVE_0,
    Column,
    Key,
    Query,
    Section,
    graph,
    number,
    table,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.table import Panel as Table


def health() -> Section:
    """Return the panels about GPU faults."""
    reasons = f"{GPU}, reason"
    locations = f"{GPU}, error, location"
    return Section(
        title="Health",
        panels=(
            graph(
                "Throttling",
                "percentunit",
                "Share of the time in which the clocks were lowered, by reason.",
                Query(
                    expr=each_rate("nvidia_gpu_clocks_event_seconds_total", by=reasons) + " > 0",
                    legend=f"{LEGEND} {{{{reason}}}}",
                ),
                highest=1,
            ),
            graph(
                "Memory errors (ECC)",
                "short",
                "Errors since the driver was loaded, over all memory locations of the GPU.",
                Query(
                    expr=f"sum by ({GPU}, error)"
                    f" ({each_gpu('nvidia_gpu_ecc_volatile_errors_total', by=locations)})",
                    legend=f"{LEGEND} {{{{error}}}}",
                ),
            ),
            graph(
                "Xid errors",
                "short",
                "Errors since the exporter started.",
                Query(
                    expr=each_gpu("nvidia_gpu_xid_errors_total", by=f"{GPU}, xid") + " > 0",
                    legend=f"{LEGEND} Xid {{{{xid}}}}",
                ),
                steps=BAD_ABOVE_0,
            ),
            graph(
                "Link errors",
                "short",
                "NVLink errors and PCIe replays per second.",
                Query(
                    expr=f"sum by ({GPU}, error) ("
                    + each_rate("nvidia_gpu_nvlink_errors_total", by=f"{GPU}, link, error")
                    + ")",
                    legend=f"{LEGEND} NVLink {{{{error}}}}",
                ),
                Query(
                    expr=each_rate("nvidia_gpu_pcie_replays_total"),
                    legend=f"{LEGEND} PCIe replays",
                ),
            ),
            table(
                "Pending repairs",
                "Memory rows and pages that the next reset replaces, rows that could not be"
                " remapped, the action that the driver recommends, SRAM beyond repair, and GPUs"
                " that could not join the NVLink fabric.",
                (Key(label="minor_number", header="GPU"), Key(label="uuid", header="UUID")),
                (
                    Column(
                        header="Rows to remap",
                        expr=each_gpu("nvidia_gpu_row_remapping_pending"),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Remapping failed",
                        expr=each_gpu("nvidia_gpu_row_remapping_failed"),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Pages to retire",
                        expr=each_gpu("nvidia_gpu_page_retirement_pending"),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Recommended action",
                        expr=each_gpu("nvidia_gpu_recovery_action", matching=',action!="none"'),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Too many SRAM errors",
                        expr=each_gpu("nvidia_gpu_sram_ecc_threshold_exceeded"),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Fabric failed",
                        expr=each_gpu("nvidia_gpu_fabric_state", matching=',state="failed"'),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Readable",
                        expr=each_gpu("nvidia_gpu_readable"),
                        steps=((None, "red"), (1, "green")),
                    ),
                ),
            ),
            modes(),
        ),
    )


def modes() -> Table:
    """Return the table of how the GPUs are set."""
    return table(
        "Modes",
        "Whether the driver stays loaded without programs, whether one process has the GPU for"
        " itself, and whether ECC is on now and after the next reset.",
        (Key(label="minor_number", header="GPU"), Key(label="uuid", header="UUID")),
        (
            Column(header="Persistence", expr=each_gpu("nvidia_gpu_persistence_mode")),
            Column(
                header="Exclusive process",
                expr=each_gpu("nvidia_gpu_compute_mode", matching=',mode="exclusive_process"'),
            ),
            Column(header="ECC", expr=each_gpu("nvidia_gpu_ecc_enabled")),
            Column(header="ECC after reset", expr=each_gpu("nvidia_gpu_ecc_pending_enabled")),
        ),
    )


def exporter() -> Section:
    """Return the panels about the node's exporter."""
    cycles = "nvidia_gpu_exporter_cycle_duration_seconds_bucket"
    return Section(
        title="Exporter",
        panels=(
            number(
                "Ready",
                "short",
                "Whether the exporter publishes current readings.",
                f"min(nvidia_gpu_exporter_ready{{{EXPORTER}}})",
                steps=((None, "red"), (1, "green")),
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
                steps=((None, "red"), (1, "green")),
                words={"0": "No", "1": "Yes"},
            ),
            number(
                "Unmatched devices",
                "short",
                "Allocated devices that match no known GPU.",
                f"max(nvidia_gpu_exporter_pod_resources_unmatched_devices{{{EXPORTER}}})",
                steps=((None, "green"), (1, "orange")),
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
                Query(
                    expr=f"histogram_quantile(0.99, sum by (le) (rate({cycles}{{{EXPORTER}}}"
                    "[$__rate_interval])))",
                    legend="99th percentile",
                ),
                Query(
                    expr=f"histogram_quantile(0.5, sum by (le) (rate({cycles}{{{EXPORTER}}}"
                    "[$__rate_interval])))",
                    legend="median",
                ),
            ),
            graph(
                "Failed calls",
                "ops",
                "Failed calls per second: NVML by function and code, the kubelet by code.",
                Query(
                    expr="sum by (function, code) (rate(nvidia_gpu_exporter_errors_total"
                    f"{{{EXPORTER}}}[$__rate_interval]))",
                    legend="{{function}} {{code}}",
                ),
                Query(
                    expr="sum by (code) (rate(nvidia_gpu_exporter_pod_resources_errors_total"
                    f"{{{EXPORTER}}}[$__rate_interval]))",
                    legend="kubelet {{code}}",
                ),
            ),
            table(
                "Driver",
                "Versions of the driver, the CUDA that it supports, and NVML.",
                (
                    Key(label="driver_version", header="Driver"),
                    Key(label="cuda_version", header="CUDA"),
                    Key(label="nvml_version", header="NVML"),
                ),
                (
                    Column(
                        header="Nodes",
                        expr="count by (driver_version, cuda_version, nvml_version)"
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
                    Key(label="minor_number", header="GPU"),
                    Key(label="name", header="Model"),
                    Key(label="pci_bus_id", header="PCI bus"),
                    Key(label="serial", header="Serial number"),
                    Key(label="vbios_version", header="VBIOS"),
                    Key(label="mig_mode", header="MIG"),
                ),
                (
                    Column(
                        header="Boards",
                        expr="max by (minor_number, name, pci_bus_id, serial, vbios_version,"
                        f" mig_mode) (nvidia_gpu_info{{{NODE}}})",
                    ),
                ),
                width=12,
            ),
        ),
    )
