# SPDX-License-Identifier: Apache-2.0
"""gpu-demo: a GPU Deployment scales out under load and back in after it, narrated.

Everything that matters is real: nvidia-ml-py, the exporter of each node behind its own port, the
pod-resources socket, and the scaler as a process of its own with a kubeconfig. Simulated are the
driver, the kubelets and the load; the Kubernetes API is the embedded one. Windows are shortened by
the Deployment's own annotations and the programs' own flags.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp

from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.demo_scaler import DemoError, demo_scaler, free_port
from simulator.demo_script import (
    CHAPTER_DEADLINE_SECONDS,
    GPU_STORY,
    STORY_DEADLINE_SECONDS,
    Chapter,
    Sight,
    Story,
    row,
    same_line,
)
from simulator.llm_script import llm_story
from simulator.llm_servers import ModelServers, pod_addresses
from simulator.nodes import NodeSpec, SimulatedNodes, running_nodes
from simulator.scenario import NAMESPACE
from simulator.workload import Workload
from toolkit.cli.arguments import EXIT_USAGE, Parser, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
TICK_SECONDS: Final = 0.5

SCALER_NAMESPACE: Final = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "gpu-scaler"},
}
EXPORTER_CONFIG: Final = ExporterConfig(nvml_interval_seconds=1.0, nvml_window_seconds=3.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit 0 only if every chapter of the story really happened."""
    parser = Parser(prog="gpu-demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running until Ctrl-C, and say where"
    )
    parser.add_argument(
        "--llm", action="store_true", help="tell the story of a model server, scaled on requests"
    )
    parser.add_argument("--version", action="version", version=f"gpu-demo {version('gpu-scaler')}")
    try:
        parsed = parser.parse_args(arguments)
    except UsageError as error:
        sys.stderr.write(error.text("gpu-demo"))
        return EXIT_USAGE
    logging.basicConfig(level=logging.ERROR)
    try:
        asyncio.run(_demo(keep=parsed.keep, is_llm=parsed.llm))
    except DemoError as error:
        _say(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class Load(Protocol):
    """What makes the load: requests, as the story counts them, and busy GPUs."""

    @property
    def offered(self) -> float:
        """The requests of all clients."""

    @property
    def busy_percent(self) -> float:
        """The mean duty cycle of the serving pods."""

    async def run(self) -> None:
        """Apply the load until cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What runs while the story is told."""

    client: KubeClient
    session: aiohttp.ClientSession
    workload: Load
    scaler_url: str
    began_seconds: float
    story: Story = GPU_STORY


async def _demo(*, keep: bool, is_llm: bool) -> None:
    began = time.monotonic()
    port = _server_port() if is_llm else None
    story = GPU_STORY if port is None else llm_story(port)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-demo-")))
        api = await stack.enter_async_context(running_apiserver())
        kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
        client = await stack.enter_async_context(KubeClient(api.url))
        specs = [NodeSpec(name=f"gpu-node-{n}", gpus=("H100",) * 8) for n in (1, 2)]
        nodes = await stack.enter_async_context(
            running_nodes(
                client,
                specs,
                exporter_config=EXPORTER_CONFIG,
                pod_ips=None if port is None else pod_addresses(),
            )
        )
        load = Workload(nodes) if port is None else ModelServers(nodes, port=port)
        await stack.enter_async_context(_applied(load))
        await client.post("/api/v1/namespaces", SCALER_NAMESPACE)
        scaler_url = await stack.enter_async_context(demo_scaler(kubeconfig, folder / "scaler.log"))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        )
        stage = Stage(
            client=client,
            session=session,
            workload=load,
            scaler_url=scaler_url,
            began_seconds=began,
            story=story,
        )
        await client.post(DEPLOYMENTS, story.serving)
        await client.post(DEPLOYMENTS, story.press)
        _say(f"2 simulated nodes with 8 H100 each; {story.introduction}\n")
        _say(story.header())
        peak = await tell(stage)
        _say("\nHAPPENED, all of it:")
        for chapter in story.chapters:
            _say(f"  ok  {chapter.title}: {chapter.expectation}")
        rescales = await _rescales(client)
        _say(f"{rescales} rescales, up to {peak} pods, in {time.monotonic() - began:.0f} s.")
        if keep:
            await _keep(kubeconfig, scaler_url, nodes, story)


async def tell(stage: Stage) -> int:
    """Play all chapters and return the highest number of replicas that were ready."""
    peak, last = 0, None
    for chapter in stage.story.chapters:
        _say(_bold(f"--- {chapter.title}"))
        await stage.client.patch(
            f"{DEPLOYMENTS}/{stage.story.name_press}/scale",
            {"spec": {"replicas": chapter.press_replicas}},
        )
        last, best = await _play(stage, chapter, last)
        peak = max(peak, best)
    return peak


async def _play(stage: Stage, chapter: Chapter, last: Sight | None) -> tuple[Sight, int]:
    end = min(
        time.monotonic() + CHAPTER_DEADLINE_SECONDS, stage.began_seconds + STORY_DEADLINE_SECONDS
    )
    peak, story = 0, stage.story
    reached_seconds = math.inf
    while True:
        sight = await _look(stage)
        if not same_line(last, sight):
            line = row(sight, width=_terminal_width(), blocks=_can_draw(), story=story)
            _say(_styled(line, "33") if (sight.value or 0) > story.target else line)
        last, peak = sight, max(peak, sight.ready_replicas)
        reached_seconds = (
            min(reached_seconds, time.monotonic()) if chapter.reached(sight) else math.inf
        )
        if time.monotonic() - reached_seconds >= chapter.lasting_seconds:
            return sight, peak
        if time.monotonic() > end:
            seen = row(sight, width=None, blocks=False, story=story)
            msg = f"{chapter.title}: awaited {chapter.expectation}; last seen in time: {seen}"
            raise DemoError(msg)
        await asyncio.sleep(TICK_SECONDS)


async def _look(stage: Stage) -> Sight:
    deployment = await stage.client.get(f"{DEPLOYMENTS}/{stage.story.name_serving}")
    decision: dict[str, Any] = {}
    try:
        async with stage.session.get(
            f"{stage.scaler_url}/api/v1/decisions/{NAMESPACE}/{stage.story.name_serving}"
        ) as response:
            decision = (await response.json()).get("decision", {})
    except (aiohttp.ClientError, TimeoutError) as error:
        decision = {"reason": "NoAnswer", "message": str(error)}
    metrics = decision.get("metrics") or [{}]
    mean_milli = metrics[0].get("mean_milli")
    return Sight(
        at_seconds=time.monotonic() - stage.began_seconds,
        load=stage.workload.offered,
        value=None if mean_milli is None else mean_milli / 1000,
        busy_percent=stage.workload.busy_percent,
        ready_replicas=deployment.get("status", {}).get("readyReplicas", 0),
        wanted_replicas=deployment["spec"]["replicas"],
        desired_replicas=decision.get("desired_replicas"),
        reason=decision.get("reason", "Starting"),
        message=decision.get("message", "no decision yet"),
    )


async def _rescales(client: KubeClient) -> int:
    events = await client.list_(f"/api/v1/namespaces/{NAMESPACE}/events")
    return sum(
        event.get("count", 1) for event in events["items"] if event["reason"] == "SuccessfulRescale"
    )


@asynccontextmanager
async def _applied(load: Load) -> AsyncIterator[None]:
    """Apply the load while the context lasts; a failure of it ends the demo."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(load.run())
            yield
            task.cancel()
    except* DemoError as group_of_one:
        raise group_of_one.exceptions[0] from None


async def _keep(kubeconfig: Path, scaler_url: str, nodes: SimulatedNodes, story: Story) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _say("\nEverything is still running; Ctrl-C ends it. From another terminal:\n")
    addresses = {
        name: "http://{}:{}/metrics".format(*node.exporter_address)
        # In order of names: which exporter started first differs from run to run.
        for name, node in sorted(nodes.nodes.items())
    }
    _say(f"  export KUBECONFIG={shlex.quote(str(kubeconfig))}")
    _say(f"  export GPU_SCALER_SERVER={scaler_url}")
    _say("  kubectl get deployments,pods")
    _say(f"  kubectl scale deployment {story.name_press} --replicas=2")
    _say(f"  {_program('gpu-scaler')} status")
    _say(f"  {_program('gpu-scaler')} explain {NAMESPACE}/{story.name_serving}")
    _say(f"  {_program('gpu-exporter')} top --url {next(iter(addresses.values()))}\n")
    _say(f"  status page  {scaler_url}/\n")
    _say(f"  scaler    {scaler_url}/metrics")
    for name, address in addresses.items():
        _say(f"  exporter  {address}   ({name})")
    await stop.wait()


def _server_port() -> int:
    address = next(pod_addresses())
    try:
        return free_port(address)
    except OSError as error:
        msg = f"--llm gives each pod an address such as {address}, as Linux allows: {error}"
        raise DemoError(msg) from None


def _program(name: str) -> str:
    beside_python = Path(sys.executable).parent / name
    return str(beside_python) if beside_python.exists() else name


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _can_draw() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _styled(text: str, code: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def _bold(text: str) -> str:
    return _styled(text, "1")


if __name__ == "__main__":
    sys.exit(main())
