# SPDX-License-Identifier: Apache-2.0
"""Pure: the families of PCIe, NVLink and its fabric, a part of `exporter.exposition.table`."""

from __future__ import annotations

from typing import Final

from exporter.model import Collector, Family, MetricType, Scope

_gauge: Final = Family.gauge
_counter: Final = Family.counter

PCIE_TRANSMIT: Final = _gauge(
    "pcie_transmit_bytes_per_second",
    "bytes per second",
    "PCIe traffic from the GPU over 20 ms, measured every 5 to 10 s.",
    of=Collector.PCIE,
    source="nvmlDeviceGetPcieThroughput",
)
PCIE_RECEIVE: Final = _gauge(
    "pcie_receive_bytes_per_second",
    "bytes per second",
    "PCIe traffic to the GPU over 20 ms, measured every 5 to 10 s.",
    of=Collector.PCIE,
    source="nvmlDeviceGetPcieThroughput",
)
PCIE_REPLAYS: Final = _counter(
    "pcie_replays",
    "replays",
    "PCIe packets that were retransmitted.",
    of=Collector.PCIE,
    source="nvmlDeviceGetPcieReplayCounter",
)
PCIE_GENERATION: Final = _gauge(
    "pcie_link_generation",
    "generation",
    "Current PCIe generation of the link; idle GPUs lower it.",
    of=Collector.PCIE,
    source="nvmlDeviceGetCurrPcieLinkGeneration",
)
PCIE_MAX_GENERATION: Final = _gauge(
    "pcie_link_max_generation",
    "generation",
    "Maximum PCIe generation of this GPU in this slot.",
    of=Collector.PCIE,
    source="nvmlDeviceGetMaxPcieLinkGeneration",
)
PCIE_WIDTH: Final = _gauge(
    "pcie_link_width",
    "lanes",
    "Current PCIe lanes of the link.",
    of=Collector.PCIE,
    source="nvmlDeviceGetCurrPcieLinkWidth",
)
PCIE_MAX_WIDTH: Final = _gauge(
    "pcie_link_max_width",
    "lanes",
    "Maximum PCIe lanes of this GPU in this slot.",
    of=Collector.PCIE,
    source="nvmlDeviceGetMaxPcieLinkWidth",
)

NVLINK_UP: Final = _gauge(
    "nvlink_up",
    "0 or 1",
    "1 while the link is active, read every 5 to 10 s.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetNvLinkState",
    labels=("link",),
)
NVLINK_TRANSMIT: Final = _counter(
    "nvlink_transmit_bytes",
    "bytes",
    "Data sent over all links, without protocol overhead.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX)",
)
NVLINK_RECEIVE: Final = _counter(
    "nvlink_receive_bytes",
    "bytes",
    "Data received over all links, without protocol overhead.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX)",
)
NVLINK_ERRORS: Final = _counter(
    "nvlink_errors",
    "errors",
    "Errors of a link: replay, recovery, crc_flit, crc_data, ecc_data. Absent on Blackwell and "
    "newer, which have the following four families.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetNvLinkErrorCounter",
    labels=("link", "error"),
)
NVLINK_RECOVERIES: Final = _counter(
    "nvlink_recoveries",
    "recoveries",
    "Recoveries of a link: successful, or failed, which leaves it down. Blackwell and newer.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_*)",
    labels=("link", "result"),
)
NVLINK_SYMBOL_ERRORS: Final = _counter(
    "nvlink_symbol_errors",
    "errors",
    "Symbol errors received on a link. Blackwell and newer.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS)",
    labels=("link",),
)
NVLINK_EFFECTIVE_ERRORS: Final = _counter(
    "nvlink_effective_errors",
    "errors",
    "Packet errors received on a link. Blackwell and newer.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS)",
    labels=("link",),
)
NVLINK_BIT_ERRORS: Final = _gauge(
    "nvlink_bit_error_ratio",
    "ratio 0-1",
    "Bit error ratio of a link, by symbol or effective errors. Blackwell and newer.",
    of=Collector.NVLINK,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_NVLINK_COUNT_SYMBOL_BER, "
    "NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_BER)",
    labels=("link", "errors"),
)

FABRIC_STATE: Final = _gauge(
    "fabric_state",
    "0 or 1",
    "1 for where the GPU is in joining the NVLink fabric, 0 for the others: not_started, "
    "in_progress, completed, failed (completed with an error); other is unknown to this exporter.",
    of=Collector.FABRIC,
    source="nvmlDeviceGetGpuFabricInfoV",
    labels=("state",),
)
FABRIC_INFO: Final = Family(
    name="nvidia_gpu_fabric_info",
    type=MetricType.INFO,
    unit="",
    help="The NVLink cluster that the GPU has joined, and its clique there, in which GPUs reach "
    "each other over NVLink; join by uuid.",
    collector=Collector.FABRIC,
    source="nvmlDeviceGetGpuFabricInfoV",
    labels=("cluster_uuid", "clique_id"),
    scope=Scope.DEVICE,
)
