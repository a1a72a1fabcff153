# SPDX-License-Identifier: Apache-2.0
"""What one release's exporter published and its scaler required, kept for later releases' tests.

`python -m tests.skew` writes the files of the version in the tree. Those of released versions stay
as they are: programs of two releases run side by side in every upgrade.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
import msgspec

from exporter import __version__
from exporter.app import running
from exporter.exposition.table import BASE_FAMILIES
from exporter.model import Collector
from scaler.readings.devices import FAMILIES
from scaler.readings.exposition import asked_names, families_for
from scaler.readings.prometheus.names import PRESETS
from scaler.web.gpu_details import FAMILIES as DETAIL_FAMILIES
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from simulator.plugin_devices import GPU_RESOURCE
from tests.sharednode import FakeNode, configured, process
from tests.waiting import until

FOLDER: Final = Path(__file__).with_name("fixtures") / "exporter"
GPU_METRICS: Final = tuple(FAMILIES)
BASE: Final = frozenset(one.name for one in BASE_FAMILIES)
_PAST_SECONDS: Final = 60.0
_MODE_LABEL: Final = "allocate_mode"


def recorded() -> dict[str, str]:
    """Return the pages of exporters, by the names of their files."""
    return {
        path.name: gzip.decompress(path.read_bytes()).decode()
        for path in sorted(FOLDER.glob("*.txt.gz"))
    }


def required() -> dict[str, Any]:
    """Return the series that the scaler asks exporters for, and the labels by which it reads them.

    The age and the interval of the readings have no labels.
    """
    families = sorted({*families_for(GPU_METRICS), *DETAIL_FAMILIES})
    names = PRESETS["gpu-exporter"]
    labels = {
        *(names.namespace_label, names.pod_label, names.node_label, names.model_label),
        *(names.container_label or "", *names.device_labels, _MODE_LABEL),
    }
    own = [name for name in asked_names(families) if name not in families]
    return {"families": families, "labels": sorted(labels), "without_labels": own}


async def _page(collectors: frozenset[Collector], *, shared: bool) -> str:
    """Return the page of an exporter on a node with one GPU for each pod, or for both.

    One more GPU has MIG instances.
    """
    whole = [GpuSpec(model="H100")] * (1 if shared else 2)
    gpus = [*whole, GpuSpec(model="H100", mig_profiles=("1g.10gb",) * 2)]
    with TemporaryDirectory(prefix="gpu-") as folder:
        node = FakeNode(Path(folder))
        # The load lies in the past, so that averages over the window do not rise any more.
        driver = SimulatedDriver(gpus, clock=lambda: time.time() - _PAST_SECONDS)
        driver.set_load(0, 60)
        driver.clock = time.time
        for pid, pod in ((100, "web"), (200, "batch")):
            node.process_of(pid, pod)
        driver.set_processes(0, [process(100, 20, 40), process(200, 10, 20)])
        socket = str(Path(folder) / "kubelet.sock")
        config = replace(configured(node, socket), collectors=collectors)
        async with SimulatedKubelet(driver, socket, replicas=2 if shared else 1) as kubelet:
            mig = next(one.resource_name for one in kubelet.devices if "mig" in one.resource_name)
            assert kubelet.allocate("default", "web", "main", GPU_RESOURCE, 1)
            assert kubelet.allocate("default", "batch", "main", GPU_RESOURCE, 1)
            assert kubelet.allocate("default", "web", "side", mig, 1)
            async with (
                running(config, bind(driver)) as started,
                aiohttp.ClientSession() as session,
            ):
                text = ""

                async def read() -> bool:
                    nonlocal text
                    url = "http://{}:{}/metrics".format(*started.address)
                    async with session.get(url, headers={"Accept": "text/plain"}) as answer:
                        text = await answer.text()
                    return all(
                        f'container_name="{one}"' in text for one in ("main", "side")
                    ) and all(name in text for name in BASE - {"nvidia_gpu_fanspeed_percent"})

                await until(read, what="all readings")
                return text


async def _main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, collectors in (("base", frozenset[Collector]()), ("all", frozenset(Collector))):
        text = await _page(collectors, shared=name == "all")
        (FOLDER / f"{__version__}-{name}.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    document = msgspec.json.format(msgspec.json.encode(required()))
    (FOLDER / f"{__version__}-required.json").write_bytes(document + b"\n")


if __name__ == "__main__":
    asyncio.run(_main())
