# SPDX-License-Identifier: Apache-2.0
"""PCIe and NVLink."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.exposition import link_families as families
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
# Blackwell and newer count these of each link in place of the former.
_LINK_COUNTS: Final = (
    (
        families.NVLINK_RECOVERIES,
        ("successful",),
        "NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS",
    ),
    (
        families.NVLINK_RECOVERIES,
        ("failed",),
        "NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS",
    ),
    (families.NVLINK_SYMBOL_ERRORS, (), "NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS"),
    (families.NVLINK_EFFECTIVE_ERRORS, (), "NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS"),
)
_LINK_RATIOS: Final = (
    ("symbol", "NVML_FI_DEV_NVLINK_COUNT_SYMBOL_BER"),
    ("effective", "NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_BER"),
)
_BIT_ERROR_RATIO: Final = range(1 << 12)


def pcie(gpu: Gpu) -> Iterator[Sample]:
    """Yield the PCIe traffic, the replays and what the link runs at."""
    for family, constant in (
        (families.PCIE_TRANSMIT, "NVML_PCIE_UTIL_TX_BYTES"),
        (families.PCIE_RECEIVE, "NVML_PCIE_UTIL_RX_BYTES"),
    ):
        direction = getattr(gpu.binding, constant)
        measure = partial(gpu.ask, "nvmlDeviceGetPcieThroughput", direction)
        kilobytes = gpu.seldom(_SELDOM_SECONDS, constant, measure)
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
        yield from gpu.seldom(_SELDOM_SECONDS, link, partial(_link, gpu, link))
    yield from gpu.seldom(_SELDOM_SECONDS, "fields of links", partial(_link_fields, gpu, count))


def _link(gpu: Gpu, link: int) -> list[Sample]:
    """Return the state of a link, if known, and its errors."""
    state = gpu.ask("nvmlDeviceGetNvLinkState", link)
    if state is None:
        return []
    samples = [families.NVLINK_UP.sample(state, str(link))]
    for error, constant in _LINK_ERRORS.items():
        counter = getattr(gpu.binding, constant)
        errors = gpu.ask("nvmlDeviceGetNvLinkErrorCounter", link, counter)
        samples += families.NVLINK_ERRORS.known(errors, str(link), error)
    return samples


def _link_fields(gpu: Gpu, count: int) -> list[Sample]:
    """Return what only field values report about each link, read in one call."""
    counts = [(family, labels, getattr(gpu.binding, name)) for family, labels, name in _LINK_COUNTS]
    ratios = [(errors, getattr(gpu.binding, name)) for errors, name in _LINK_RATIOS]
    numbers = [*(field for _, _, field in counts), *(field for _, field in ratios)]
    fields = [(number, link) for link in range(count) for number in numbers]
    values = gpu.ask_fields(fields)
    samples: list[Sample] = []
    for link in range(count):
        for family, labels, field in counts:
            samples += family.known(values.get((field, link)), str(link), *labels)
        for errors, field in ratios:
            ratio = _bit_error_ratio(values.get((field, link)))
            samples += families.NVLINK_BIT_ERRORS.known(ratio, str(link), errors)
    return samples


def _bit_error_ratio(encoded: float | None) -> float | None:
    """Return the ratio that nvml.h has as a mantissa (bits 8 to 11) and a negative exponent."""
    known = within(_BIT_ERROR_RATIO, encoded)
    return None if known is None else (known >> 8) * 10.0 ** -(known & 0xFF)
