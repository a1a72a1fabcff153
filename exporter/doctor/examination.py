# SPDX-License-Identifier: Apache-2.0
"""All steps in the order in which a reading passes them."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Final

from exporter.doctor.finding import failure, warning
from exporter.doctor.gpus import check_gpus
from exporter.doctor.kubelet import check_kubelet
from exporter.doctor.labels import check_finished_pods, check_node_name, check_processes
from exporter.doctor.serving import check_serving
from exporter.nvml import Nvml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from exporter.cli.config import ExporterConfig
    from exporter.doctor.finding import Finding
    from exporter.doctor.host import Host
    from exporter.model import Readings

GPUS_TIMEOUT_SECONDS: Final = 30.0
"""GPUs that wake up take seconds; a call that takes longer hangs in the driver."""
_READ_HOST: Final = (
    "run as user 0; SELinux or AppArmor may also forbid it; until then the findings on the "
    "library, the driver and the devices may be incomplete"
)


async def examine(
    config: ExporterConfig,
    *,
    binding: ModuleType,
    host: Host,
    environment: Mapping[str, str],
    host_name: str,
) -> list[Finding]:
    """Return the findings of all steps. Takes `GPUS_TIMEOUT_SECONDS` and some more at most."""
    nvml = Nvml(binding, window_seconds=1.0, on_error=lambda _: None)
    found, readings = await asyncio.to_thread(_gpus, nvml, host)
    return [
        *found,
        *(warning("host", one, _READ_HOST) for one in host.unreadable()),
        *await check_kubelet(config, readings),
        check_node_name(config, environment, host_name),
        check_finished_pods(config),
        check_processes(config),
        *await check_serving(config),
    ]


def _gpus(nvml: Nvml, host: Host) -> tuple[list[Finding], Readings | None]:
    answers: queue.Queue[tuple[list[Finding], Readings | None]] = queue.Queue()

    def check() -> None:
        try:
            answers.put(check_gpus(nvml, host))
        except Exception as error:  # noqa: BLE001  (it is a finding)
            text = f"checking the GPUs failed unexpectedly: {type(error).__name__}: {error}"
            answers.put(([failure("driver", text, "please report it")], None))

    # A daemon: a call that never returns must not keep the process from ending.
    threading.Thread(target=check, daemon=True).start()
    try:
        return answers.get(timeout=GPUS_TIMEOUT_SECONDS)
    except queue.Empty:
        call = nvml.running_call
        gpu = "a GPU" if call is None or call.gpu_index is None else f"GPU {call.gpu_index}"
        hanging = failure(
            "driver",
            f"{call.function if call else 'NVML'} has not returned for {GPUS_TIMEOUT_SECONDS:g} s",
            f"{gpu} hangs: see the node's kernel log for NVRM and Xid; it needs a reset or "
            "a reboot",
        )
        return [hanging], None
