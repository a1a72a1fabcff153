"""The dashboard of applications: what each pod makes of the GPUs that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemonset.monitoring.parts import (
    BAD_ABOVE_0,
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
WHOLE_DEVICE: Final = "A shared GPU's is the whole device's, whichever pod used it."


def each(metric: str, *, by: str = f"{POD}, uuid") -> str:
    """Return the metric once for each pod and GPU, however many of its containers hold it."""
    return f"max by ({by}) ({metric}{{{PODS}}})"


USED: Final = each("nvidia_gpu_memory_used_bytes", by=f"{POD}, container_name, uuid")
TOTAL_OF_USED: Final = (
    f"({each('nvidia_gpu_memory_total_bytes')}"
    f" and on ({POD}, uuid) nvidia_gpu_memory_used_bytes{{{PODS}}})"
)


def mean(metric: str) -> str:
    """Return the mean over each pod's GPUs."""
    return f"avg by ({POD}) ({each(metric)})"


def overview() -> Section:
    """Return the numbers at the top and the list of the pods."""
    return Section(
        title="Pods",
        panels=(
            number(
                "Pods with GPUs",
                "short",
                "Pods that hold at least one GPU or MIG instance.",
                f"count({each('nvidia_gpu_memory_total_bytes', by=POD)})",
                width=6,
            ),
            number(
                "GPUs held",
                "short",
                "GPUs and MIG instances; one that several pods share counts once.",
                f"count({each('nvidia_gpu_memory_total_bytes', by='uuid')})",
                width=6,
            ),
            number(
                "Duty cycle",
                "percent",
                "Mean over the GPUs held; one that several pods share counts once.",
                f"avg({each('nvidia_gpu_duty_cycle', by='uuid')})",
                width=6,
            ),
            number(
                "Memory used",
                "bytes",
                "Where it is known: that of containers on a shared GPU is absent unless they can"
                " be told apart.",
                f"sum({USED})",
                width=6,
            ),
            table(
                "Pods and their GPUs",
                "A row for each container and GPU or MIG instance. Duty cycle and temperature are"
                " the whole device's.",
                (
                    Key(label="namespace_name", header="Namespace"),
                    Key(label="pod_name", header="Pod"),
                    Key(label="container_name", header="Container"),
                    Key(
                        label="node_name",
                        header="Node",
                        link=link_to("gpu-node", node=field("Node")),
                    ),
                    Key(label="uuid", header="UUID"),
                    Key(label="name", header="Model"),
                    Key(label="allocate_mode", header="Held"),
                ),
                (
                    Column(
                        header="Duty cycle",
                        expr=each("nvidia_gpu_duty_cycle", by=HOLDER),
                        unit="percent",
                    ),
                    Column(
                        header="Memory used",
                        expr=each("nvidia_gpu_memory_used_bytes", by=HOLDER),
                        unit="bytes",
                    ),
                    Column(
                        header="Temperature",
                        expr=each("nvidia_gpu_temperature_celsius", by=HOLDER),
                        unit="celsius",
                        steps=HOT,
                    ),
                ),
            ),
        ),
    )


def readings() -> Section:
    """Return what every exporter tells of a pod's GPUs."""
    return Section(
        title="Readings",
        panels=(
            graph(
                "Duty cycle by pod",
                "percent",
                f"Mean over the pod's GPUs. {WHOLE_DEVICE}",
                Query(expr=mean("nvidia_gpu_duty_cycle"), legend=LEGEND),
                highest=100,
            ),
            graph(
                "Memory used by pod",
                "bytes",
                "Sum over the pod's containers and GPUs; absent on shared GPUs unless containers"
                " can be told apart.",
                Query(expr=f"sum by ({POD}) ({USED})", legend=LEGEND),
            ),
            graph(
                "Memory used of what the pod's GPUs have",
                "percentunit",
                "Of the GPUs whose use is known.",
                Query(
                    expr=f"sum by ({POD}) ({USED}) / sum by ({POD}) ({TOTAL_OF_USED})",
                    legend=LEGEND,
                ),
                steps=FULL,
                highest=1,
            ),
            graph(
                "GPUs by pod",
                "short",
                "GPUs and MIG instances.",
                Query(
                    expr=f"count by ({POD}) ({each('nvidia_gpu_memory_total_bytes')})",
                    legend=LEGEND,
                ),
                stacked=True,
            ),
            graph(
                "Power by pod",
                "watt",
                f"Sum over the pod's boards. {WHOLE_DEVICE} MIG instances have none.",
                Query(
                    expr=f"sum by ({POD}) ({each('nvidia_gpu_power_usage_milliwatts')}) / 1000",
                    legend=LEGEND,
                ),
            ),
            graph(
                "Hottest GPU by pod",
                "celsius",
                "The pod's hottest GPU. MIG instances have no temperature.",
                Query(
                    expr=each("nvidia_gpu_temperature_celsius", by=POD),
                    legend=LEGEND,
                ),
                steps=HOT,
            ),
        ),
    )


def detail() -> Section:
    """Return what collectors tell beyond that."""
    container = f"{POD}, container_name"
    return Section(
        title="In detail",
        panels=(
            graph(
                "Each container's own part of the GPUs' time",
                "percent",
                "Sum over its processes and GPUs: what a container used of a shared GPU. Above"
                " 100 % with several GPUs.",
                Query(
                    expr=f"sum by ({container})"
                    f" ({each('nvidia_gpu_container_duty_cycle', by=f'{container}, uuid')})",
                    legend=f"{LEGEND} {{{{container_name}}}}",
                ),
            ),
            graph(
                "Each container's own memory",
                "bytes",
                "Sum over its processes and GPUs.",
                Query(
                    expr=f"sum by ({container})"
                    f" ({each('nvidia_gpu_container_memory_used_bytes', by=f'{container}, uuid')})",
                    legend=f"{LEGEND} {{{{container_name}}}}",
                ),
            ),
            graph(
                "Multiprocessors at work by pod",
                "percentunit",
                "Mean over the pod's GPUs: how much of them is at work, which the duty cycle does"
                " not tell. Hopper and newer.",
                Query(expr=mean("nvidia_gpu_sm_active_ratio"), legend=LEGEND),
                highest=1,
                width=8,
            ),
            graph(
                "Tensor cores at work by pod",
                "percentunit",
                "Mean over the pod's GPUs. Hopper and newer.",
                Query(expr=mean("nvidia_gpu_tensor_active_ratio"), legend=LEGEND),
                highest=1,
                width=8,
            ),
            graph(
                "Memory bandwidth used by pod",
                "percentunit",
                "Mean over the pod's GPUs, of the highest possible. Hopper and newer.",
                Query(expr=mean("nvidia_gpu_dram_bandwidth_ratio"), legend=LEGEND),
                highest=1,
                width=8,
            ),
            graph(
                "Xid errors on the pod's GPUs",
                "short",
                "Since the exporter started, whoever held the GPU then.",
                Query(
                    expr=f"sum by ({POD}, xid)"
                    f" ({each('nvidia_gpu_xid_errors_total', by=f'{POD}, uuid, xid')}) > 0",
                    legend=f"{LEGEND} Xid {{{{xid}}}}",
                ),
                steps=BAD_ABOVE_0,
            ),
        ),
    )


def build() -> Dashboard:
    """Return the dashboard."""
    in_namespace = f'{CLUSTER},namespace_name=~"$namespace",pod_name!=""'
    return assemble(
        UID,
        "GPU / Pods",
        "What applications make of the GPUs that they hold, by pod.",
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
        (overview(), readings(), detail()),
    )
