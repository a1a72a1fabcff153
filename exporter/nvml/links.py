"""PCIe and NVLink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter import families
from exporter.nvml.calls import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Sample
    from exporter.nvml.gpu import Gpu

# The driver measures PCIe traffic for 20 ms per direction while the call waits, and a board with 18
# links takes more calls for them than for all the rest; once in this time is enough for both.
_SELDOM_SECONDS: Final = 10.0
# Nothing real comes near this bound.
_LINKS: Final = range(257)

_ALL_LINKS: Final = 2**32 - 1
_LINK_ERRORS: Final = {
    "replay": "NVML_NVLINK_ERROR_DL_REPLAY",
    "recovery": "NVML_NVLINK_ERROR_DL_RECOVERY",
    "crc_flit": "NVML_NVLINK_ERROR_DL_CRC_FLIT",
    "crc_data": "NVML_NVLINK_ERROR_DL_CRC_DATA",
    "ecc_data": "NVML_NVLINK_ERROR_DL_ECC_DATA",
}


def pcie(gpu: Gpu) -> Iterator[Sample]:
    """Yield the PCIe traffic, the replays and what the link runs at."""
    for family, constant in (
        (families.PCIE_TRANSMIT, "NVML_PCIE_UTIL_TX_BYTES"),
        (families.PCIE_RECEIVE, "NVML_PCIE_UTIL_RX_BYTES"),
    ):
        direction = getattr(gpu.binding, constant)
        kilobytes = gpu.ask_seldom(_SELDOM_SECONDS, "nvmlDeviceGetPcieThroughput", direction)
        yield from family.known(kilobytes, times=1000)
    yield from families.PCIE_REPLAYS.known(gpu.ask("nvmlDeviceGetPcieReplayCounter"))
    for family, value in (
        (families.PCIE_GENERATION, gpu.ask("nvmlDeviceGetCurrPcieLinkGeneration")),
        (families.PCIE_MAX_GENERATION, gpu.ask_once("nvmlDeviceGetMaxPcieLinkGeneration")),
        (families.PCIE_WIDTH, gpu.ask("nvmlDeviceGetCurrPcieLinkWidth")),
        (families.PCIE_MAX_WIDTH, gpu.ask_once("nvmlDeviceGetMaxPcieLinkWidth")),
    ):
        yield from family.known(value)


def nvlink(gpu: Gpu) -> Iterator[Sample]:
    """Yield each link's state and errors, and the traffic of all links together."""
    binding = gpu.binding
    count_field = (binding.NVML_FI_DEV_NVLINK_LINK_COUNT, 0)
    transmit = (binding.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, _ALL_LINKS)
    receive = (binding.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, _ALL_LINKS)
    values = gpu.ask_fields((count_field, transmit, receive))
    count = within(_LINKS, values.get(count_field))
    if not count:
        return
    for family, field in (
        (families.NVLINK_TRANSMIT, transmit),
        (families.NVLINK_RECEIVE, receive),
    ):
        yield from family.known(values.get(field), times=1024)
    for link in range(count):
        state = gpu.ask_seldom(_SELDOM_SECONDS, "nvmlDeviceGetNvLinkState", link)
        if state is None:
            continue
        yield families.NVLINK_UP.sample(state, str(link))
        for error, constant in _LINK_ERRORS.items():
            counter = getattr(binding, constant)
            errors = gpu.ask_seldom(
                _SELDOM_SECONDS, "nvmlDeviceGetNvLinkErrorCounter", link, counter
            )
            yield from families.NVLINK_ERRORS.known(errors, str(link), error)
