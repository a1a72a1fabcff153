# SPDX-License-Identifier: Apache-2.0
"""The alerts of the group gpu-exporter."""

from __future__ import annotations

from typing import Final

from tests.integration.monitoring.cases import Case

EXPORTER: Final = 'instance="n1",job="gpu-exporter"'
GPU: Final = 'uuid="GPU-1",node_name="n1"'
ON_NODE: Final = {"instance": "n1", "job": "gpu-exporter"}


EXPORTERS: Final = (
    Case(
        alert="GPUExportersAbsent",
        what="the last exporter is scraped no more",
        series={f"nvidia_gpu_exporter_ready{{{EXPORTER}}}": "1x4 stale"},
        quiet=(4, 14),
        fires=15,
        description="Prometheus has scraped no GPU exporter for 10 minutes. No alert about GPUs"
        " can fire.",
    ),
    Case(
        alert="GPUExportersAbsent",
        what="one of two is",
        series={
            f"nvidia_gpu_exporter_ready{{{EXPORTER}}}": "1x4 stale",
            'nvidia_gpu_exporter_ready{instance="n2",job="gpu-exporter"}': "0x30",
        },
        quiet=(30,),
    ),
    Case(
        alert="GPUExporterDown",
        what="one that is found by a PodMonitor does not answer",
        series={'up{instance="n1",job="gpu-exporter/gpu-exporter"}': "1x2 0x9"},
        quiet=(2, 7),
        fires=8,
        labels=ON_NODE | {"job": "gpu-exporter/gpu-exporter"},
        description="Prometheus has not been able to scrape the exporter n1 for 5 minutes."
        " Deployments with pods on that node do not scale down.",
    ),
    Case(
        alert="GPUExporterDown",
        what="it is replaced, or another job is down",
        series={
            f"up{{{EXPORTER}}}": "1x2 0x3 1x9",
            'up{instance="n1",job="node-exporter"}': "0x20",
            'up{instance="n1",job="my-gpu-exporter"}': "0x20",
        },
        quiet=(8, 14),
    ),
    Case(
        alert="GPUDriverDown",
        what="NVML cannot be used",
        series={
            f"nvidia_gpu_exporter_nvml_up{{{EXPORTER}}}": "1 0x9",
            f"nvidia_gpu_exporter_nvml_released{{{EXPORTER}}}": "0x9",
        },
        quiet=(0, 2),
        fires=3,
        labels=ON_NODE,
        description="NVML on n1 has not responded for 2 minutes, and nobody has asked the"
        " exporter to release it.",
    ),
    Case(
        alert="GPUDriverDown",
        what="NVML is released for a reset",
        series={
            f"nvidia_gpu_exporter_nvml_up{{{EXPORTER}}}": "1 0x9",
            f"nvidia_gpu_exporter_nvml_released{{{EXPORTER}}}": "0 1x9",
        },
        quiet=(9,),
    ),
    Case(
        alert="GPUExporterStale",
        what="readings are too old",
        series={
            f"nvidia_gpu_exporter_ready{{{EXPORTER}}}": "1 0x9",
            f"nvidia_gpu_exporter_nvml_up{{{EXPORTER}}}": "1x9",
            f"nvidia_gpu_exporter_nvml_released{{{EXPORTER}}}": "0x9",
        },
        quiet=(0, 2),
        fires=3,
        labels=ON_NODE,
        description="The exporter n1 responds but has published no current readings for 2 minutes.",
    ),
    Case(
        alert="GPUExporterStale",
        what="the driver is down, which has an alert of its own",
        series={
            f"nvidia_gpu_exporter_ready{{{EXPORTER}}}": "1 0x9",
            f"nvidia_gpu_exporter_nvml_up{{{EXPORTER}}}": "1 0x9",
            f"nvidia_gpu_exporter_nvml_released{{{EXPORTER}}}": "0x9",
        },
        quiet=(9,),
    ),
    Case(
        alert="GPUExporterStale",
        what="NVML is released for a reset",
        series={
            f"nvidia_gpu_exporter_ready{{{EXPORTER}}}": "1 0x9",
            f"nvidia_gpu_exporter_nvml_up{{{EXPORTER}}}": "1x9",
            f"nvidia_gpu_exporter_nvml_released{{{EXPORTER}}}": "0 1x9",
        },
        quiet=(9,),
    ),
    Case(
        alert="GPUCallHanging",
        what="a call does not return",
        series={
            f"nvidia_gpu_exporter_hanging_call_seconds"
            f'{{{EXPORTER},function="nvmlDeviceGetMemoryInfo_v2"}}': "_ 5+60x9"
        },
        quiet=(1, 2),
        fires=3,
        labels=ON_NODE | {"function": "nvmlDeviceGetMemoryInfo_v2"},
        description="nvmlDeviceGetMemoryInfo_v2 on n1 has not returned for 2m 5s.",
    ),
    Case(
        alert="GPUCallHanging",
        what="it returned after a while",
        series={
            f"nvidia_gpu_exporter_hanging_call_seconds"
            f'{{{EXPORTER},function="nvmlDeviceGetMemoryInfo_v2"}}': "5 25 stale"
        },
        quiet=(1, 2, 4),
    ),
    Case(
        alert="GPUPodsUnknown",
        what="the kubelet does not answer",
        series={f"nvidia_gpu_exporter_pod_resources_up{{{EXPORTER}}}": "1 0x9"},
        quiet=(5,),
        fires=6,
        labels=ON_NODE,
        description="For 5 minutes the exporter n1 has not been able to get from the kubelet"
        " which pods use which GPUs.",
    ),
    Case(
        alert="GPUPodsUnknown",
        what="it is asked for no pods, or restarts",
        series={
            f"nvidia_gpu_exporter_ready{{{EXPORTER}}}": "1x9",
            'nvidia_gpu_exporter_pod_resources_up{instance="n2"}': "1 0x3 1x5",
        },
        quiet=(3, 9),
    ),
    Case(
        alert="GPUDevicesUnmatched",
        what="two devices stay unknown",
        series={f"nvidia_gpu_exporter_pod_resources_unmatched_devices{{{EXPORTER}}}": "0 2x20"},
        quiet=(0, 15),
        fires=16,
        labels=ON_NODE,
        description="n1 has had allocated devices that match no known GPU for 15 minutes (now 2)."
        " Their pods have no GPU metrics.",
    ),
    Case(
        alert="GPUDevicesUnmatched",
        what="they are found out",
        series={f"nvidia_gpu_exporter_pod_resources_unmatched_devices{{{EXPORTER}}}": "2x9 0x20"},
        quiet=(9, 20),
    ),
)
