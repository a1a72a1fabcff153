# SPDX-License-Identifier: Apache-2.0
"""Pure: the GPUs of a node as a table, and sentences about what it cannot show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from toolkit.cli.table import table_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.top.rows import GpuRow, NodeGpus

HEAD: Final = ("GPU", "MODEL", "DUTY", "MEMORY", "POWER", "TEMP", "POD", "CONTAINER")
# Left out in this order where the terminal is narrower than the table.
_LEFT_OUT: Final = ((), ("CONTAINER",), ("CONTAINER", "MODEL"))
UNKNOWN: Final = "-"
# No name of a pod has parentheses.
FREE: Final = "(free)"
DIVIDED: Final = "(MIG)"
_UUID_CHARACTERS: Final = 12
_GIB: Final = 1 << 30


def gpu_table(node: NodeGpus, *, width: int | None) -> str:
    """Return the table; at most `width` columns wide, None for as wide as it is."""
    divided = {row.minor_number for row in node.rows if row.is_mig_instance} - {None}
    rows = [HEAD, *(_cells(row, node, divided=row.minor_number in divided) for row in node.rows)]
    text = ""
    for left_out in _LEFT_OUT:
        shown = [place for place, name in enumerate(HEAD) if name not in left_out]
        text = table_text([[row[place] for place in shown] for row in rows])
        if width is None or max(map(len, text.splitlines())) <= width:
            return text
    return "".join(f"{_clipped(line, width)}\n" for line in text.splitlines())


def notes(node: NodeGpus) -> Iterator[str]:
    """Yield sentences about GPUs and pods that the table lacks."""
    if node.device_count == 0:
        yield "the driver shows no GPU"
    if node.unreadable_count:
        yield (
            f"{node.unreadable_count} of {node.device_count} GPUs cannot be read;"
            " gpu-exporter doctor on the node says why"
        )
    if node.rows and not node.pods_known:
        yield "the pods are unknown: the kubelet's pod-resources socket is not read"
    if node.unmatched_count:
        yield (
            f"pods hold {node.unmatched_count} devices that match no GPU shown here; see"
            " --dra and --collectors containers"
        )


def _cells(row: GpuRow, node: NodeGpus, *, divided: bool) -> tuple[str, ...]:
    return (
        _gpu(row),
        _model(row),
        _rounded(row.duty_cycle_percent, "%"),
        _memory(row),
        _rounded(row.power_usage_milliwatts, "W", over=1000),
        _rounded(row.temperature_celsius, "C"),
        _holder(row, pods_known=node.pods_known, divided=divided and not row.is_mig_instance),
        row.container or UNKNOWN,
    )


def _gpu(row: GpuRow) -> str:
    number = None if row.minor_number is None else str(row.minor_number)
    short = row.uuid[:_UUID_CHARACTERS]
    if row.is_mig_instance:
        # Instances have the number of their GPU.
        return f"{number or UNKNOWN}/{short}"
    return number or short or UNKNOWN


def _model(row: GpuRow) -> str:
    if row.is_mig_instance and " MIG " in row.name:
        return f"MIG {row.name.rpartition(' MIG ')[2]}"
    return row.name.removeprefix("NVIDIA ") or UNKNOWN


def _memory(row: GpuRow) -> str:
    used, total = row.memory_used_bytes, row.memory_total_bytes
    if used is None and total is None:
        return UNKNOWN
    return f"{_gib(used)}/{_gib(total)}Gi"


def _gib(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value / _GIB:.1f}"


def _rounded(value: float | None, unit: str, *, over: float = 1) -> str:
    return UNKNOWN if value is None else f"{value / over:.0f}{unit}"


def _holder(row: GpuRow, *, pods_known: bool, divided: bool) -> str:
    if row.pod:
        return f"{row.namespace}/{row.pod}"
    if divided:
        return DIVIDED
    return FREE if pods_known else UNKNOWN


def _clipped(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"
