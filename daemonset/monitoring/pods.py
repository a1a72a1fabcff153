# SPDX-License-Identifier: Apache-2.0
"""The dashboard of applications: what each pod makes of the GPUs that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemonset.monitoring.parts import (
    BAD_ABOVE_0,
    CLUSTER,
    FULL,
    HOT,
    NAMESPACE_KEY,
    NODE_KEY,
    Column,
    Key,
    Panel,
    assemble,
    choice,
    graph,
    number,
    table,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

UID: Final = "gpu-pods"
PODS: Final = f'{CLUSTER},namespace_name=~"$namespace",pod_name=~"$pod"'
POD: Final = "namespace_name, pod_name"
LEGEND: Final = "{{namespace_name}}/{{pod_name}}"
HOLDER: Final = "namespace_name, pod_name, container_name, node_name, uuid, name, allocate_mode"
WHOLE_DEVICE: Final = "On a shared GPU this is the value of the whole device."


def each(metric: str, *, by: str = f"{POD}, uuid") -> str:
    """Return the metric once per pod and GPU, however many of its containers use the GPU."""
    return f"max by ({by}) ({metric}{{{PODS}}})"


USED: Final = each("nvidia_gpu_memory_used_bytes", by=f"{POD}, container_name, uuid")
TOTAL_OF_USED: Final = (
    f"({each('nvidia_gpu_memory_total_bytes')}"
    f" and on ({POD}, uuid) nvidia_gpu_memory_used_bytes{{{PODS}}})"
)


def mean(metric: str) -> str:
    """Return the mean over each pod's GPUs."""
    return f"avg by ({POD}) ({each(metric)})"


def overview() -> list[Panel]:
    """Return the figures at the top and the table of pods."""
    return [
        number(
            "Pods with GPUs",
            "short",
            "Pods that use at least one GPU or MIG instance.",
            f"count({each('nvidia_gpu_memory_total_bytes', by=POD)})",
            width=6,
        ),
        number(
            "GPUs in use",
            "short",
            "GPUs and MIG instances in use; a shared one counts once.",
            f"count({each('nvidia_gpu_memory_total_bytes', by='uuid')})",
            width=6,
        ),
        number(
            "Duty cycle",
            "percent",
            "Mean over the GPUs in use; a shared one counts once.",
            f"avg({each('nvidia_gpu_duty_cycle', by='uuid')})",
            width=6,
        ),
        number(
            "Memory used",
            "bytes",
            "Sum over all pods, without containers on shared GPUs whose use cannot be told apart.",
            f"sum({USED})",
            width=6,
        ),
        table(
            "Pods and their GPUs",
            "One row per container and GPU or MIG instance. Duty cycle and temperature are"
            " those of the whole device.",
            (
                NAMESPACE_KEY,
                Key("pod_name", "Pod"),
                Key("container_name", "Container"),
                NODE_KEY,
                Key("uuid", "UUID"),
                Key("name", "Model"),
                Key("allocate_mode", "Allocation"),
            ),
            (
                Column("Duty cycle", each("nvidia_gpu_duty_cycle", by=HOLDER), "percent"),
                Column("Memory used", each("nvidia_gpu_memory_used_bytes", by=HOLDER), "bytes"),
                Column(
                    "Temperature", each("nvidia_gpu_temperature_celsius", by=HOLDER), "celsius", HOT
                ),
            ),
        ),
    ]


def readings() -> list[Panel]:
    """Return the panels by pod that need no collector."""
    return [
        graph(
            "Duty cycle by pod",
            "percent",
            f"Mean over the pod's GPUs. {WHOLE_DEVICE}",
            {LEGEND: mean("nvidia_gpu_duty_cycle")},
            highest=100,
        ),
        graph(
            "Memory used by pod",
            "bytes",
            "Sum over the pod's containers and GPUs; absent on shared GPUs if their use"
            " cannot be told apart.",
            {LEGEND: f"sum by ({POD}) ({USED})"},
        ),
        graph(
            "Memory used / memory by pod",
            "percentunit",
            "Share of the memory of the pod's GPUs, counting only GPUs whose use is known.",
            {LEGEND: f"sum by ({POD}) ({USED}) / sum by ({POD}) ({TOTAL_OF_USED})"},
            steps=FULL,
            highest=1,
        ),
        graph(
            "GPUs by pod",
            "short",
            "GPUs and MIG instances that each pod uses.",
            {LEGEND: f"count by ({POD}) ({each('nvidia_gpu_memory_total_bytes')})"},
            stacked=True,
        ),
        graph(
            "Power by pod",
            "watt",
            f"Sum over the pod's boards. {WHOLE_DEVICE} MIG instances have none.",
            {LEGEND: f"sum by ({POD}) ({each('nvidia_gpu_power_usage_milliwatts')}) / 1000"},
        ),
        graph(
            "Hottest GPU by pod",
            "celsius",
            "The pod's hottest GPU. MIG instances have no temperature.",
            {LEGEND: each("nvidia_gpu_temperature_celsius", by=POD)},
            steps=HOT,
        ),
    ]


def detail() -> list[Panel]:
    """Return the panels that need collectors."""
    container = f"{POD}, container_name"
    return [
        graph(
            "Duty cycle by container",
            "percent",
            "Each container's own use of its GPUs, as the sum over its processes and GPUs."
            " Several GPUs can exceed 100 %.",
            {
                f"{LEGEND} {{{{container_name}}}}": f"sum by ({container})"
                f" ({each('nvidia_gpu_container_duty_cycle', by=f'{container}, uuid')})"
            },
        ),
        graph(
            "Memory used by container",
            "bytes",
            "Each container's own memory, as the sum over its processes and GPUs.",
            {
                f"{LEGEND} {{{{container_name}}}}": f"sum by ({container})"
                f" ({each('nvidia_gpu_container_memory_used_bytes', by=f'{container}, uuid')})"
            },
        ),
        graph(
            "Active SMs by pod",
            "percentunit",
            "Share of the SMs that are active, which the duty cycle does not show: mean over"
            " the pod's GPUs. Hopper and newer.",
            {LEGEND: mean("nvidia_gpu_sm_active_ratio")},
            highest=1,
            width=8,
        ),
        graph(
            "Active tensor cores by pod",
            "percentunit",
            "Share of the tensor cores that are active: mean over the pod's GPUs. Hopper and"
            " newer.",
            {LEGEND: mean("nvidia_gpu_tensor_active_ratio")},
            highest=1,
            width=8,
        ),
        graph(
            "Memory bandwidth used by pod",
            "percentunit",
            "Share of the peak bandwidth: mean over the pod's GPUs. Hopper and newer.",
            {LEGEND: mean("nvidia_gpu_dram_bandwidth_ratio")},
            highest=1,
            width=8,
        ),
        graph(
            "Xid errors on the pod's GPUs",
            "short",
            "Errors since the exporter started, whichever pod used the GPU then.",
            {
                f"{LEGEND} Xid {{{{xid}}}}": f"sum by ({POD}, xid)"
                f" ({each('nvidia_gpu_xid_errors_total', by=f'{POD}, uuid, xid')}) > 0"
            },
            steps=BAD_ABOVE_0,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    in_namespace = f'{CLUSTER},namespace_name=~"$namespace",pod_name!=""'
    return assemble(
        UID,
        "GPU / Pods",
        "GPU use of applications, by pod.",
        (
            choice(
                "namespace",
                "Namespace",
                f'label_values(nvidia_gpu_memory_total_bytes{{{CLUSTER},pod_name!=""}},'
                " namespace_name)",
            ),
            choice(
                "pod",
                "Pod",
                f"label_values(nvidia_gpu_memory_total_bytes{{{in_namespace}}}, pod_name)",
            ),
        ),
        {"Pods": overview(), "Readings": readings(), "In detail": detail()},
    )
