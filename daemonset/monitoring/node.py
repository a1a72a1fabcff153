# SPDX-License-Identifier: Apache-2.0
"""The dashboard of one node: each of its GPUs, who holds it, and the node's exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemonset.monitoring.nodehealth import exporter, health
from daemonset.monitoring.nodequeries import GPU, LEGEND, NODE, each_gpu, each_rate
from daemonset.monitoring.parts import (
    CLUSTER,
    FULL,
    HOT,
    Column,
    Key,
    Query,
    Section,
    assemble,
    choice,
    field,
    graph,
    link_to,
    table,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.timeseries import Panel as Graph
    from grafana_foundation_sdk.models.dashboard import Dashboard

UID: Final = "gpu-node"
HOLDER: Final = "minor_number, uuid, name, namespace_name, pod_name, container_name, allocate_mode"
SM: Final = ',clock="sm"'


def ratio(title: str, description: str, *metrics: tuple[str, str], width: int = 12) -> Graph:
    """Return a graph of ratios from 0 to 1; each metric has a word for the legend."""
    queries = [
        Query(expr=each_gpu(metric), legend=f"{LEGEND} {word}".strip()) for metric, word in metrics
    ]
    return graph(title, "percentunit", description, *queries, highest=1, width=width)


def overview() -> Section:
    """Return the panels that need no collector."""
    used = (
        f"sum by ({GPU}) (max by ({GPU}, namespace_name, pod_name, container_name)"
        f" (nvidia_gpu_memory_used_bytes{{{NODE}}}))"
    )
    return Section(
        title="GPUs",
        panels=(
            table(
                "GPUs and their pods",
                "One row per container and GPU or MIG instance; a free device has a row without a"
                " pod. Duty cycle and temperature are those of the whole device.",
                (
                    Key(label="minor_number", header="GPU"),
                    Key(label="uuid", header="UUID"),
                    Key(label="name", header="Model"),
                    Key(label="namespace_name", header="Namespace"),
                    Key(
                        label="pod_name",
                        header="Pod",
                        link=link_to("gpu-pods", namespace=field("Namespace"), pod=field("Pod")),
                    ),
                    Key(label="container_name", header="Container"),
                    Key(label="allocate_mode", header="Allocation"),
                ),
                (
                    Column(
                        header="Duty cycle",
                        expr=each_gpu("nvidia_gpu_duty_cycle", by=HOLDER),
                        unit="percent",
                    ),
                    Column(
                        header="Memory used",
                        expr=each_gpu("nvidia_gpu_memory_used_bytes", by=HOLDER),
                        unit="bytes",
                    ),
                    Column(
                        header="Memory",
                        expr=each_gpu("nvidia_gpu_memory_total_bytes", by=HOLDER),
                        unit="bytes",
                    ),
                    Column(
                        header="Memory reserved",
                        expr=each_gpu("nvidia_gpu_memory_reserved_bytes", by=HOLDER),
                        unit="bytes",
                    ),
                    Column(
                        header="Temperature",
                        expr=each_gpu("nvidia_gpu_temperature_celsius", by=HOLDER),
                        unit="celsius",
                        steps=HOT,
                    ),
                ),
            ),
            graph(
                "Duty cycle",
                "percent",
                "Share of the averaging window in which a kernel ran. A single small kernel can"
                " keep it at 100 %.",
                Query(expr=each_gpu("nvidia_gpu_duty_cycle"), legend=LEGEND),
                highest=100,
            ),
            graph(
                "Memory used",
                "percentunit",
                "Share of the memory of the device or MIG instance. On a shared GPU it is the sum"
                " over its containers, absent while their use cannot be told apart.",
                Query(expr=f"{used} / {each_gpu('nvidia_gpu_memory_total_bytes')}", legend=LEGEND),
                steps=FULL,
                highest=1,
            ),
            graph(
                "Power",
                "watt",
                "Power draw of the board.",
                Query(
                    expr=f"{each_gpu('nvidia_gpu_power_usage_milliwatts')} / 1000", legend=LEGEND
                ),
                width=8,
            ),
            graph(
                "Temperature",
                "celsius",
                "Temperature of the GPU and, where it has a sensor, of its memory.",
                Query(expr=each_gpu("nvidia_gpu_temperature_celsius"), legend=LEGEND),
                Query(
                    expr=each_gpu("nvidia_gpu_memory_temperature_celsius"),
                    legend=f"{LEGEND} memory",
                ),
                steps=HOT,
                width=8,
            ),
            graph(
                "Fan",
                "percent",
                "Share of the maximum speed; absent on boards without a fan.",
                Query(expr=each_gpu("nvidia_gpu_fanspeed_percent"), legend=LEGEND),
                highest=100,
                width=8,
            ),
        ),
    )


def work() -> Section:
    """Return the panels about the GPUs' work in detail."""
    return Section(
        title="Work in detail",
        panels=(
            ratio(
                "Multiprocessors and tensor cores",
                "Share of the SMs and tensor cores that are active, which the duty cycle does not"
                " show. Hopper and newer.",
                ("nvidia_gpu_sm_active_ratio", "SM"),
                ("nvidia_gpu_tensor_active_ratio", "tensor"),
            ),
            ratio(
                "Memory bandwidth used",
                "Share of the peak bandwidth. Hopper and newer.",
                ("nvidia_gpu_dram_bandwidth_ratio", ""),
            ),
            ratio(
                "Memory busy",
                "Share of the averaging window in which device memory was read or written.",
                ("nvidia_gpu_memory_bandwidth_duty_cycle_ratio", ""),
            ),
            ratio(
                "Video engines",
                "Share of the time in which the encoder, the decoder and the engines for JPEG and"
                " optical flow were busy.",
                ("nvidia_gpu_encoder_utilization_ratio", "encoder"),
                ("nvidia_gpu_decoder_utilization_ratio", "decoder"),
                ("nvidia_gpu_jpeg_utilization_ratio", "JPEG"),
                ("nvidia_gpu_ofa_utilization_ratio", "optical flow"),
            ),
            graph(
                "Power / power limit",
                "percentunit",
                "Near 100 % the driver throttles the clocks.",
                Query(
                    expr=f"{each_gpu('nvidia_gpu_power_usage_milliwatts')} / 1000"
                    f" / {each_gpu('nvidia_gpu_power_limit_watts')}",
                    legend=LEGEND,
                ),
                steps=((None, "green"), (0.98, "orange")),
            ),
            graph(
                "SM clock / maximum",
                "percentunit",
                "Idle GPUs lower their clocks.",
                Query(
                    expr=f"{each_gpu('nvidia_gpu_clock_hertz', matching=SM)}"
                    f" / {each_gpu('nvidia_gpu_clock_max_hertz', matching=SM)}",
                    legend=LEGEND,
                ),
                highest=1,
            ),
            graph(
                "Memory by process",
                "bytes",
                "The 32 processes of each GPU that use most, also without Kubernetes.",
                Query(
                    expr=each_gpu(
                        "nvidia_gpu_process_memory_used_bytes", by=f"{GPU}, pid, process"
                    ),
                    legend=f"{LEGEND} {{{{process}}}} {{{{pid}}}}",
                ),
            ),
            graph(
                "Performance state",
                "short",
                "From 0 (fastest) to 15 (slowest).",
                Query(expr=each_gpu("nvidia_gpu_performance_state"), legend=LEGEND),
                highest=15,
            ),
            graph(
                "PCIe",
                "Bps",
                "Traffic over 20 ms, measured every 5 to 10 s.",
                Query(
                    expr=each_gpu("nvidia_gpu_pcie_receive_bytes_per_second"),
                    legend=f"{LEGEND} to the GPU",
                ),
                Query(
                    expr=each_gpu("nvidia_gpu_pcie_transmit_bytes_per_second"),
                    legend=f"{LEGEND} from the GPU",
                ),
            ),
            graph(
                "NVLink",
                "Bps",
                "Sum over all links of a GPU.",
                Query(
                    expr=each_rate("nvidia_gpu_nvlink_receive_bytes_total"),
                    legend=f"{LEGEND} to the GPU",
                ),
                Query(
                    expr=each_rate("nvidia_gpu_nvlink_transmit_bytes_total"),
                    legend=f"{LEGEND} from the GPU",
                ),
            ),
        ),
    )


def build() -> Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "GPU / Node",
        "One node's GPUs, the pods that use them, and its exporter.",
        (
            choice(
                "node",
                "Node",
                f"label_values(nvidia_gpu_num_devices{{{CLUSTER}}}, node_name)",
                several=False,
            ),
            # The label `instance` of the exporter's own metrics, which have no node name.
            choice(
                "instance",
                "Exporter",
                f"label_values(nvidia_gpu_num_devices{{{NODE}}}, instance)",
                hidden=True,
            ),
        ),
        (overview(), work(), health(), exporter()),
    )
