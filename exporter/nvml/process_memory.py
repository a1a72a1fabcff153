# SPDX-License-Identifier: Apache-2.0
"""The processes of a GPU by their PIDs, for machines without Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.exposition import board_families as families
from exporter.nvml.process_lists import are_hidden, impossible_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Sample
    from exporter.nvml.gpu import Gpu

# By their versions: without, nvidia-ml-py raises what is no NVMLError where the driver is older.
FUNCTIONS: Final = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)
"""Those that compute come first: every driver knows them, but may lack the other kinds."""
MOST_PROCESSES: Final = 32
"""How many processes of a GPU have series: a PID makes a new one for each process."""
_MOST_CHARACTERS: Final = 64
# One that has ended, or that the exporter may not see.
_NAMELESS: Final = frozenset({"NOT_FOUND", "NO_PERMISSION", "INVALID_ARGUMENT"})


def processes(gpu: Gpu) -> Iterator[Sample]:
    """Yield how many processes the GPU has, and the memory of those that use most."""
    memory = _memory_by_pid(gpu)
    if memory is None:
        return
    yield families.PROCESSES.sample(len(memory))
    known = [(used_bytes, pid) for pid, used_bytes in memory.items() if used_bytes is not None]
    for used_bytes, pid in sorted(known, reverse=True)[:MOST_PROCESSES]:
        yield families.PROCESS_MEMORY_USED.sample(used_bytes, str(pid), _name(gpu, pid))


def _memory_by_pid(gpu: Gpu) -> dict[int, int | None] | None:
    """Return the bytes by PID, None where they are unknown, hidden, or cannot be true."""
    memory: dict[int, int | None] = {}
    for function in FUNCTIONS:
        listed = gpu.ask(function)
        if listed is None:
            if function == FUNCTIONS[0] or not gpu.lacks(function):
                return None
            continue
        entries = [(one.pid, one.usedGpuMemory) for one in listed]
        if impossible_entry(entries, None) is not None:
            return None
        # A process that computes and draws is listed twice with the same memory.
        memory.update(entries)
    if not memory:
        info = gpu.ask("nvmlDeviceGetMemoryInfo")
        if info is None or are_hidden(memory, info.used):
            return None
    return memory


def _name(gpu: Gpu, pid: int) -> str:
    path = gpu.ask_system("nvmlSystemGetProcessName", pid, expected=_NAMELESS) or ""
    return str(path).rpartition("/")[2][:_MOST_CHARACTERS]
