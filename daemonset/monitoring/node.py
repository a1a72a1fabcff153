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
    NAMESPACE_KEY,
    POD_KEY,
    Column,
    Key,
    Panel,
    assemble,
    choice,
    graph,
    table,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

UID: Final = "gpu-node"
HOLDER: Final = "minor_number, uuid, name, namespace_name, pod_name, container_name, allocate_mode"
SM: Final = ',clock="sm"'


def overview() -> list[Panel]:
    """Return the panels that need no collector."""
    used = (
        f"sum by ({GPU}) (max by ({GPU}, namespace_name, pod_name, container_name)"
        f" (nvidia_gpu_memory_used_bytes{{{NODE}}}))"
    )
    return [
        table(
            "GPUs and their pods",
            "One row per container and GPU or MIG instance; a free device has a row without a"
            " pod. Duty cycle and temperature are those of the whole device.",
            (
                Key("minor_number", "GPU"),
                Key("uuid", "UUID"),
                Key("name", "Model"),
                NAMESPACE_KEY,
                POD_KEY,
                Key("container_name", "Container"),
                Key("allocate_mode", "Allocation"),
            ),
            (
                Column("Duty cycle", each_gpu("nvidia_gpu_duty_cycle", by=HOLDER), "percent"),
                Column("Memory used", each_gpu("nvidia_gpu_memory_used_bytes", by=HOLDER), "bytes"),
                Column("Memory", each_gpu("nvidia_gpu_memory_total_bytes", by=HOLDER), "bytes"),
                Column(
                    "Memory reserved",
                    each_gpu("nvidia_gpu_memory_reserved_bytes", by=HOLDER),
                    "bytes",
                ),
                Column(
                    "Temperature",
                    each_gpu("nvidia_gpu_temperature_celsius", by=HOLDER),
                    "celsius",
                    HOT,
                ),
            ),
        ),
        graph(
            "Duty cycle",
            "percent",
            "Share of the averaging window in which a kernel ran. A single small kernel can"
            " keep it at 100 %.",
            {LEGEND: each_gpu("nvidia_gpu_duty_cycle")},
            highest=100,
        ),
        graph(
            "Memory used",
            "percentunit",
            "Share of the memory of the device or MIG instance. On a shared GPU it is the sum"
            " over its containers, absent while their use cannot be told apart.",
            {LEGEND: f"{used} / {each_gpu('nvidia_gpu_memory_total_bytes')}"},
            steps=FULL,
            highest=1,
        ),
        graph(
            "Power",
            "watt",
            "Power draw of the board.",
            {LEGEND: f"{each_gpu('nvidia_gpu_power_usage_milliwatts')} / 1000"},
            width=8,
        ),
        graph(
            "Temperature",
            "celsius",
            "Temperature of the GPU and, where it has a sensor, of its memory.",
            {
                LEGEND: each_gpu("nvidia_gpu_temperature_celsius"),
                f"{LEGEND} memory": each_gpu("nvidia_gpu_memory_temperature_celsius"),
            },
            steps=HOT,
            width=8,
        ),
        graph(
            "Fan",
            "percent",
            "Share of the maximum speed; absent on boards without a fan.",
            {LEGEND: each_gpu("nvidia_gpu_fanspeed_percent")},
            highest=100,
            width=8,
        ),
    ]


def work() -> list[Panel]:
    """Return the panels about the GPUs' work in detail."""
    return [
        graph(
            "Multiprocessors and tensor cores",
            "percentunit",
            "Share of the SMs and tensor cores that are active, which the duty cycle does not"
            " show. Hopper and newer.",
            {
                f"{LEGEND} SM": each_gpu("nvidia_gpu_sm_active_ratio"),
                f"{LEGEND} tensor": each_gpu("nvidia_gpu_tensor_active_ratio"),
            },
            highest=1,
        ),
        graph(
            "Memory bandwidth used",
            "percentunit",
            "Share of the peak bandwidth. Hopper and newer.",
            {LEGEND: each_gpu("nvidia_gpu_dram_bandwidth_ratio")},
            highest=1,
        ),
        graph(
            "Memory busy",
            "percentunit",
            "Share of the averaging window in which device memory was read or written.",
            {LEGEND: each_gpu("nvidia_gpu_memory_bandwidth_duty_cycle_ratio")},
            highest=1,
        ),
        graph(
            "Video engines",
            "percentunit",
            "Share of the time in which the encoder, the decoder and the engines for JPEG and"
            " optical flow were busy.",
            {
                f"{LEGEND} encoder": each_gpu("nvidia_gpu_encoder_utilization_ratio"),
                f"{LEGEND} decoder": each_gpu("nvidia_gpu_decoder_utilization_ratio"),
                f"{LEGEND} JPEG": each_gpu("nvidia_gpu_jpeg_utilization_ratio"),
                f"{LEGEND} optical flow": each_gpu("nvidia_gpu_ofa_utilization_ratio"),
            },
            highest=1,
        ),
        graph(
            "Power / power limit",
            "percentunit",
            "Near 100 % the driver throttles the clocks.",
            {
                LEGEND: f"{each_gpu('nvidia_gpu_power_usage_milliwatts')} / 1000"
                f" / {each_gpu('nvidia_gpu_power_limit_watts')}"
            },
            steps=((None, "green"), (0.98, "orange")),
        ),
        graph(
            "SM clock / maximum",
            "percentunit",
            "Idle GPUs lower their clocks.",
            {
                LEGEND: f"{each_gpu('nvidia_gpu_clock_hertz', matching=SM)}"
                f" / {each_gpu('nvidia_gpu_clock_max_hertz', matching=SM)}"
            },
            highest=1,
        ),
        graph(
            "Memory by process",
            "bytes",
            "The 32 processes of each GPU that use most, also without Kubernetes.",
            {
                f"{LEGEND} {{{{process}}}} {{{{pid}}}}": each_gpu(
                    "nvidia_gpu_process_memory_used_bytes", by=f"{GPU}, pid, process"
                )
            },
        ),
        graph(
            "Performance state",
            "short",
            "From 0 (fastest) to 15 (slowest).",
            {LEGEND: each_gpu("nvidia_gpu_performance_state")},
            highest=15,
        ),
        graph(
            "PCIe",
            "Bps",
            "Traffic over 20 ms, measured every 5 to 10 s.",
            {
                f"{LEGEND} to the GPU": each_gpu("nvidia_gpu_pcie_receive_bytes_per_second"),
                f"{LEGEND} from the GPU": each_gpu("nvidia_gpu_pcie_transmit_bytes_per_second"),
            },
        ),
        graph(
            "NVLink",
            "Bps",
            "Sum over all links of a GPU.",
            {
                f"{LEGEND} to the GPU": each_rate("nvidia_gpu_nvlink_receive_bytes_total"),
                f"{LEGEND} from the GPU": each_rate("nvidia_gpu_nvlink_transmit_bytes_total"),
            },
        ),
    ]


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
        {"GPUs": overview(), "Work in detail": work(), "Health": health(), "Exporter": exporter()},
    )
