# SPDX-License-Identifier: Apache-2.0
"""The real exporter on simulated GPUs, as a process: for a look without a GPU and for measuring.

`python -m simulator.exporter --once` shows one node's exposition: every GPU of the model busy at a
different share, all but the last held by pods.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __main__ as exporter
from simulator.driver import SimulatedDriver
from simulator.gpus import MODELS, GpuSpec
from simulator.nvml.binding import bind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.kubelet import SimulatedKubelet

START_TIMEOUT_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the exporter on simulated GPUs; unknown flags are the exporter's own."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator.exporter",
        description="The real exporter on simulated GPUs; all further flags are gpu-exporter's.",
    )
    parser.add_argument("--gpus", type=int, default=8, help="number of GPUs; default 8")
    parser.add_argument(
        "--mig-instances", type=int, default=0, help="MIG instances per GPU; default none"
    )
    parser.add_argument("--model", choices=sorted(MODELS), default="H100", help="default H100")
    parser.add_argument(
        "--pod-resources.socket",
        dest="socket",
        help="socket of a kubelet; default: a simulated one, all GPUs but the last held by pods",
    )
    parsed, exporter_flags = parser.parse_known_args(arguments)
    with ExitStack() as stack:
        driver = stack.enter_context(busy_driver(parsed.model, parsed.gpus, parsed.mig_instances))
        socket_path = parsed.socket or stack.enter_context(_kubelet(driver))
        commands = (exporter.DOCTOR, exporter.TOP)
        command = [one for one in exporter_flags[:1] if one in commands]
        flags = [f"--pod-resources.socket={socket_path}", *exporter_flags[len(command) :]]
        return exporter.main([*command, *flags], binding=bind(driver))


def busy_driver(model: str, gpus: int, mig_instances: int = 0) -> SimulatedDriver:
    """Return a node's GPUs that have been busy for a minute, each at a different share.

    With `mig_instances` each is divided into so many of the smallest profile.
    """
    profiles = None
    if mig_instances:
        profiles = (f"1g.{MODELS[model].nominal_memory_gb // 8}gb",) * mig_instances
    spec = GpuSpec(model=model, mig_profiles=profiles)
    driver = SimulatedDriver([spec] * gpus, clock=lambda: time.time() - 60)
    for index, gpu in enumerate(driver.gpus):
        for uuid in [mig.uuid for mig in gpu.mig_devices if mig is not None] or [gpu.uuid]:
            driver.set_load(uuid, 100 * index / gpus)
            total = driver.device(uuid).memory_total_bytes
            driver.set_memory_used(uuid, total * index // gpus)
    driver.clock = time.time
    return driver


def hold_all_but_one(driver: SimulatedDriver, kubelet: SimulatedKubelet) -> None:
    """Give every GPU or MIG instance but the last to a pod of its own."""
    # Not at the top: gRPC would count as the exporter's memory where this process runs no kubelet.
    from simulator.plugin_devices import GPU_RESOURCE  # noqa: PLC0415

    profiles = [mig.profile for gpu in driver.gpus for mig in gpu.mig_devices if mig is not None]
    resources = [f"nvidia.com/mig-{profile}" for profile in profiles] or [GPU_RESOURCE] * len(
        driver.gpus
    )
    for index, resource in enumerate(resources[:-1]):
        kubelet.allocate("default", f"serving-{index}", "main", resource, 1)


@contextmanager
def _kubelet(driver: SimulatedDriver) -> Iterator[Path]:
    """Run a kubelet that gave all GPUs but the last to pods, on a loop of its own."""
    from simulator.kubelet import SimulatedKubelet  # noqa: PLC0415  (as above)

    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        path = Path(folder) / "kubelet.sock"
        started, stop = threading.Event(), threading.Event()

        async def serve() -> None:
            async with SimulatedKubelet(driver, str(path)) as kubelet:
                hold_all_but_one(driver, kubelet)
                started.set()
                await asyncio.to_thread(stop.wait)

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="kubelet", daemon=True)
        thread.start()
        if not started.wait(START_TIMEOUT_SECONDS):
            msg = f"the simulated kubelet did not start within {START_TIMEOUT_SECONDS:g} s"
            raise RuntimeError(msg)
        try:
            yield path
        finally:
            stop.set()
            thread.join(START_TIMEOUT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
