# SPDX-License-Identifier: Apache-2.0
"""The dashboard of the cluster: number, owners, load and health of its GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemonset.monitoring.parts import (
    BAD_ABOVE_0,
    CLUSTER,
    FULL,
    HOT,
    NAMESPACE_KEY,
    NODE_KEY,
    POD_KEY,
    Column,
    Key,
    Panel,
    assemble,
    graph,
    number,
    table,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

UID: Final = "gpu-cluster"
HELD: Final = f'{CLUSTER},pod_name!=""'
HOLDER: Final = "namespace_name, pod_name, node_name, uuid"
PER_GPU: Final = "A GPU that several containers share counts once."
USED: Final = (
    "max by (node_name, uuid, namespace_name, pod_name, container_name)"
    f" (nvidia_gpu_memory_used_bytes{{{CLUSTER}}})"
)
TOTAL_OF_USED: Final = (
    f"(max by (node_name, uuid) (nvidia_gpu_memory_total_bytes{{{CLUSTER}}})"
    f" and on (uuid) nvidia_gpu_memory_used_bytes{{{CLUSTER}}})"
)
DUTY_CYCLE: Final = f"max by (node_name, uuid) (nvidia_gpu_duty_cycle{{{CLUSTER}}})"
POWER_WATTS: Final = (
    f"max by (node_name, uuid) (nvidia_gpu_power_usage_milliwatts{{{CLUSTER}}}) / 1000"
)
TEMPERATURE: Final = f"max by (node_name) (nvidia_gpu_temperature_celsius{{{CLUSTER}}})"
HELD_BY_NODE: Final = (
    f"count by (node_name) (max by (node_name, uuid) (nvidia_gpu_memory_total_bytes{{{HELD}}}))"
    f" or 0 * max by (node_name) (nvidia_gpu_num_devices{{{CLUSTER}}})"
)


def overview() -> list[Panel]:
    """Return the panels of the overview."""
    return [
        number(
            "GPUs",
            "short",
            "GPUs that the drivers report, including lost ones.",
            f"sum(max by (cluster, node_name) (nvidia_gpu_num_devices{{{CLUSTER}}}))",
        ),
        number(
            "Held by pods",
            "short",
            f"GPUs and MIG instances that pods use. {PER_GPU}",
            f"count(max by (uuid) (nvidia_gpu_memory_total_bytes{{{HELD}}}))"
            f" or 0 * count(nvidia_gpu_memory_total_bytes{{{CLUSTER}}})",
        ),
        number(
            "Duty cycle",
            "percent",
            f"Mean over all GPUs that report it, including free ones. {PER_GPU}",
            f"avg({DUTY_CYCLE})",
        ),
        number(
            "Memory used",
            "percentunit",
            "Of GPUs whose memory in use is known. A shared GPU is missing unless its memory"
            " can be attributed to its containers.",
            f"sum({USED}) / sum({TOTAL_OF_USED})",
            steps=FULL,
        ),
        number(
            "Lost GPUs",
            "short",
            "GPUs that a driver reports but that cannot be read.",
            "sum(max by (cluster, instance)"
            f" (nvidia_gpu_exporter_unreadable_devices{{{CLUSTER}}}))",
            steps=BAD_ABOVE_0,
        ),
        number(
            "Exporters without readings",
            "short",
            "Exporters that respond but publish no current readings; /readyz says why. Excludes"
            " exporters that do not respond.",
            f"count(max by (cluster, instance) (nvidia_gpu_exporter_ready{{{CLUSTER}}}) == 0)"
            f" or 0 * count(nvidia_gpu_exporter_ready{{{CLUSTER}}})",
            steps=BAD_ABOVE_0,
        ),
    ]


def nodes() -> list[Panel]:
    """Return the panels of the nodes."""
    held = f"({HELD_BY_NODE})"
    return [
        table(
            "Nodes",
            "One row per node with an exporter, as of the end of the time range.",
            (NODE_KEY,),
            (
                Column("GPUs", f"max by (node_name) (nvidia_gpu_num_devices{{{CLUSTER}}})"),
                Column("Held", held),
                Column("Duty cycle", f"avg by (node_name) ({DUTY_CYCLE})", "percent"),
                Column(
                    "Memory used",
                    f"sum by (node_name) ({USED}) / sum by (node_name) ({TOTAL_OF_USED})",
                    "percentunit",
                    FULL,
                ),
                Column("Power", f"sum by (node_name) ({POWER_WATTS})", "watt"),
                Column("Hottest", TEMPERATURE, "celsius", HOT),
            ),
        ),
        graph(
            "Duty cycle by node",
            "percent",
            f"Mean over the node's GPUs that report it. {PER_GPU}",
            {"{{node_name}}": f"avg by (node_name) ({DUTY_CYCLE})"},
            highest=100,
        ),
        graph(
            "Power by node",
            "watt",
            "Sum over the node's boards.",
            {"{{node_name}}": f"sum by (node_name) ({POWER_WATTS})"},
            stacked=True,
        ),
    ]


def namespaces() -> list[Panel]:
    """Return the panels of GPU use by namespace."""
    by_holder = f"max by ({HOLDER})"
    return [
        graph(
            "GPUs held by namespace",
            "short",
            "GPUs and MIG instances. One that pods of several namespaces share counts for"
            " each of them.",
            {
                "{{namespace_name}}": "count by (namespace_name) (max by (namespace_name, uuid)"
                f" (nvidia_gpu_memory_total_bytes{{{HELD}}}))"
            },
            stacked=True,
        ),
        graph(
            "Duty cycle of the GPUs held, by namespace",
            "percent",
            "Mean over the GPUs that the namespace's pods use. A shared GPU counts with the"
            " duty cycle of the whole device.",
            {
                "{{namespace_name}}": "avg by (namespace_name) (max by (namespace_name, uuid)"
                f" (nvidia_gpu_duty_cycle{{{HELD}}}))"
            },
            highest=100,
        ),
        table(
            "Held for an hour and never busy",
            "GPUs that the same pod has held for an hour in which the duty cycle stayed below 1 %.",
            (NAMESPACE_KEY, POD_KEY, Key("node_name", "Node"), Key("uuid", "UUID")),
            (
                Column(
                    "Busiest moment",
                    f"{by_holder} (max_over_time(nvidia_gpu_duty_cycle{{{HELD}}}[1h])) < 1"
                    f" and {by_holder} (nvidia_gpu_duty_cycle{{{HELD}}} offset 1h)",
                    "percent",
                ),
            ),
        ),
    ]


def health() -> list[Panel]:
    """Return the panels of problems."""
    by_xid = "max by (node_name, uuid, xid)"
    by_place = "max by (node_name, uuid, location)"
    by_reason = "max by (node_name, uuid, reason)"
    return [
        graph(
            "Xid errors",
            "short",
            "Errors that drivers reported, by Xid. A pod that ends at the same time can hide an"
            " error here; the alerts still fire.",
            {
                "{{node_name}} Xid {{xid}}": f"sum by (node_name, xid) ({by_xid}"
                f" (increase(nvidia_gpu_xid_errors_total{{{CLUSTER}}}[$__rate_interval]))) > 0"
            },
        ),
        graph(
            "Uncorrected memory errors",
            "short",
            "ECC errors since the driver was loaded.",
            {
                "{{node_name}}": f"sum by (node_name) ({by_place}"
                f' (nvidia_gpu_ecc_volatile_errors_total{{{CLUSTER},error="uncorrected"}}))'
            },
            steps=BAD_ABOVE_0,
        ),
        graph(
            "GPUs held back by heat or hardware",
            "percentunit",
            "Share of time in which a reason other than power settings reduced the clocks, for"
            " the most affected GPU of each node.",
            {
                "{{node_name}} {{reason}}": f"max by (node_name, reason) ({by_reason}"
                f" (rate(nvidia_gpu_clocks_event_seconds_total{{{CLUSTER},"
                'reason=~".*thermal.*|hw_.*"}[$__rate_interval])))'
            },
            highest=1,
        ),
        graph(
            "Age of the readings",
            "s",
            "Of each exporter's newest readings. Readings older than 3 intervals, and at least"
            " 10 s, are not published.",
            {
                "{{instance}}": "max by (instance)"
                f" (nvidia_gpu_exporter_snapshot_age_seconds{{{CLUSTER}}})"
            },
            steps=((None, "green"), (10, "red")),
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "GPU / Cluster",
        "All GPUs that the exporters show: how many, who holds them, how busy and how well they"
        " are.",
        (),
        {"Overview": overview(), "Nodes": nodes(), "Namespaces": namespaces(), "Health": health()},
    )
