"""The lower half of the dashboard of one node: what is wrong with its GPUs, and its exporter."""

from __future__ import annotations

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


def health() -> Section:
    """Return what is wrong with the GPUs."""
    reasons = f"{GPU}, reason"
    locations = f"{GPU}, error, location"
    return Section(
        title="Health",
        panels=(
            graph(
                "What holds the clocks down",
                "percentunit",
                "Share of the time, by reason.",
                Query(
                    expr=each_rate("nvidia_gpu_clocks_event_seconds_total", by=reasons) + " > 0",
                    legend=f"{LEGEND} {{{{reason}}}}",
                ),
                highest=1,
            ),
            graph(
                "Memory errors (ECC)",
                "short",
                "Since the driver was loaded, over all places of the GPU.",
                Query(
                    expr=f"sum by ({GPU}, error)"
                    f" ({each_gpu('nvidia_gpu_ecc_volatile_errors_total', by=locations)})",
                    legend=f"{LEGEND} {{{{error}}}}",
                ),
            ),
            graph(
                "Xid errors",
                "short",
                "Since the exporter started.",
                Query(
                    expr=each_gpu("nvidia_gpu_xid_errors_total", by=f"{GPU}, xid") + " > 0",
                    legend=f"{LEGEND} Xid {{{{xid}}}}",
                ),
                steps=BAD_ABOVE_0,
            ),
            graph(
                "Errors of links",
                "short",
                "NVLink errors and PCIe packets that were sent again, per second.",
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
                "Boards that wait for something",
                "Rows or pages that the next reset replaces, rows that could not be replaced, and"
                " what the driver asks for.",
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
                        header="Action wanted",
                        expr=each_gpu("nvidia_gpu_recovery_action", matching=',action!="none"'),
                        steps=BAD_ABOVE_0,
                    ),
                    Column(
                        header="Readable",
                        expr=each_gpu("nvidia_gpu_readable"),
                        steps=((None, "red"), (1, "green")),
                    ),
                ),
            ),
        ),
    )


def exporter() -> Section:
    """Return how the node's exporter does."""
    cycles = "nvidia_gpu_exporter_cycle_duration_seconds_bucket"
    return Section(
        title="Exporter",
        panels=(
            number(
                "Ready",
                "short",
                "Whether current readings are published.",
                f"min(nvidia_gpu_exporter_ready{{{EXPORTER}}})",
                steps=((None, "red"), (1, "green")),
                words={"0": "No", "1": "Yes"},
            ),
            number(
                "Lost GPUs",
                "short",
                "GPUs that the driver shows and that cannot be read.",
                f"max(nvidia_gpu_exporter_unreadable_devices{{{EXPORTER}}})",
                steps=BAD_ABOVE_0,
            ),
            number(
                "Pods known",
                "short",
                "Whether the kubelet lists its pods' devices.",
                f"min(nvidia_gpu_exporter_pod_resources_up{{{EXPORTER}}})",
                steps=((None, "red"), (1, "green")),
                words={"0": "No", "1": "Yes"},
            ),
            number(
                "Devices not matched",
                "short",
                "Allocated devices that match no known GPU.",
                f"max(nvidia_gpu_exporter_pod_resources_unmatched_devices{{{EXPORTER}}})",
                steps=((None, "green"), (1, "orange")),
            ),
            number(
                "A call hangs for",
                "s",
                "How long an NVML call has not returned; 0 while none hangs.",
                f"max(nvidia_gpu_exporter_hanging_call_seconds{{{EXPORTER}}})"
                f" or 0 * max(nvidia_gpu_exporter_ready{{{EXPORTER}}})",
                steps=((None, "green"), (5, "red")),
            ),
            number(
                "Age of the readings",
                "s",
                "Of the newest ones. Readings older than 3 intervals, and at least 10 s, are not"
                " published.",
                f"max(nvidia_gpu_exporter_snapshot_age_seconds{{{EXPORTER}}})",
                steps=((None, "green"), (10, "red")),
            ),
            graph(
                "Time of a cycle",
                "s",
                "How long reading all GPUs takes.",
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
                "Calls that failed",
                "ops",
                "Of NVML by function and code, and of the kubelet by code, per second.",
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
                "Versions of the node's driver, of the CUDA that it supports and of its library.",
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
                "Who the boards are.",
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
