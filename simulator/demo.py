"""gpu-demo: a GPU Deployment scales out under load and back in after it, narrated.

Everything that matters is real: nvidia-ml-py, the exporter of each node behind its own port, the
pod-resources socket, and the scaler as a process of its own with a kubeconfig. Simulated are the
driver, the kubelets and the load; the Kubernetes API is the embedded one. Windows are shortened by
the Deployment's own annotations and the programs' own flags.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.demo_script import (
    CHAPTERS,
    STORY_DEADLINE_SECONDS,
    Chapter,
    Sight,
    header,
    row,
    same_line,
)
from simulator.nodes import NodeSpec, SimulatedNodes, running_nodes
from simulator.scenario import (
    MAX_REPLICAS,
    NAME_PRESS,
    NAME_SERVING,
    NAMESPACE,
    TARGET_PERCENT,
    press_deployment,
    serving_deployment,
)
from simulator.workload import Workload
from toolkit.cli.arguments import EXIT_USAGE, Parser, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
START_DEADLINE_SECONDS: Final = 20
TICK_SECONDS: Final = 0.5
SCALER_END_SECONDS: Final = 6


SCALER_NAMESPACE: Final = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "gpu-scaler"},
}
EXPORTER_CONFIG: Final = ExporterConfig(nvml_interval_seconds=1.0, nvml_window_seconds=3.0)


class DemoError(RuntimeError):
    """The story did not happen; the message says what was awaited and what was seen."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit 0 only if every chapter of the story really happened."""
    parser = Parser(prog="gpu-demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running until Ctrl-C, and say where"
    )
    parser.add_argument("--version", action="version", version=f"gpu-demo {version('gpu-scaler')}")
    try:
        parsed = parser.parse_args(arguments)
    except UsageError as error:
        sys.stderr.write(error.text("gpu-demo"))
        return EXIT_USAGE
    logging.basicConfig(level=logging.ERROR)
    try:
        asyncio.run(_demo(keep=parsed.keep))
    except DemoError as error:
        _say(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What runs while the story is told."""

    client: KubeClient
    session: aiohttp.ClientSession
    workload: Workload
    scaler_url: str
    began_seconds: float


async def _demo(*, keep: bool) -> None:
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu-demo-")))
        api = await stack.enter_async_context(running_apiserver())
        kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
        client = await stack.enter_async_context(KubeClient(api.url))
        specs = [NodeSpec(name=f"gpu-node-{n}", gpus=("H100",) * 8) for n in (1, 2)]
        nodes = await stack.enter_async_context(
            running_nodes(client, specs, exporter_config=EXPORTER_CONFIG)
        )
        workload = await stack.enter_async_context(_applied(Workload(nodes)))
        await client.post("/api/v1/namespaces", SCALER_NAMESPACE)
        scaler_url = await stack.enter_async_context(_scaler(kubeconfig, folder / "scaler.log"))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        )
        stage = Stage(
            client=client,
            session=session,
            workload=workload,
            scaler_url=scaler_url,
            began_seconds=began,
        )
        await client.post(DEPLOYMENTS, serving_deployment())
        await client.post(DEPLOYMENTS, press_deployment())
        _say(f"2 simulated nodes with 8 H100 each; {NAME_SERVING}: 1 GPU per pod, 1 replica,")
        _say(f"target duty cycle {TARGET_PERCENT}, at most {MAX_REPLICAS} replicas\n")
        _say(header())
        peak = await tell(stage)
        _say("\nHAPPENED, all of it:")
        for chapter in CHAPTERS:
            _say(f"  ok  {chapter.title}: {chapter.expectation}")
        rescales = await _rescales(client)
        _say(f"{rescales} rescales, up to {peak} pods, in {time.monotonic() - began:.0f} s.")
        if keep:
            await _keep(kubeconfig, scaler_url, nodes)


async def tell(stage: Stage) -> int:
    """Play all chapters and return the highest number of replicas that were ready."""
    peak, last = 0, None
    for chapter in CHAPTERS:
        _say(_bold(f"--- {chapter.title}"))
        await stage.client.patch(
            f"{DEPLOYMENTS}/{NAME_PRESS}/scale", {"spec": {"replicas": chapter.press_replicas}}
        )
        last, best = await _play(stage, chapter, last)
        peak = max(peak, best)
    return peak


async def _play(stage: Stage, chapter: Chapter, last: Sight | None) -> tuple[Sight, int]:
    end = min(
        time.monotonic() + chapter.deadline_seconds, stage.began_seconds + STORY_DEADLINE_SECONDS
    )
    peak = 0
    while True:
        sight = await _look(stage)
        if not same_line(last, sight):
            _say(_coloured(sight, row(sight, width=_terminal_width(), blocks=_can_draw())))
        last, peak = sight, max(peak, sight.ready_replicas)
        if chapter.reached(sight):
            return sight, peak
        if time.monotonic() > end:
            seen = row(sight, width=None, blocks=False)
            msg = f"{chapter.title}: awaited {chapter.expectation}; last seen in time: {seen}"
            raise DemoError(msg)
        await asyncio.sleep(TICK_SECONDS)


async def _look(stage: Stage) -> Sight:
    deployment = await stage.client.get(f"{DEPLOYMENTS}/{NAME_SERVING}")
    decision: dict[str, Any] = {}
    try:
        async with stage.session.get(
            f"{stage.scaler_url}/api/v1/decisions/{NAMESPACE}/{NAME_SERVING}"
        ) as response:
            decision = (await response.json()).get("decision", {})
    except (aiohttp.ClientError, TimeoutError) as error:
        decision = {"reason": "NoAnswer", "message": str(error)}
    metrics = decision.get("metrics") or [{}]
    mean_milli = metrics[0].get("mean_milli")
    return Sight(
        at_seconds=time.monotonic() - stage.began_seconds,
        requests_per_second=stage.workload.traffic.offered_requests_per_second,
        duty_cycle_percent=None if mean_milli is None else mean_milli / 1000,
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
async def _applied(workload: Workload) -> AsyncIterator[Workload]:
    """Apply the load while the context lasts; a failure of it ends the demo."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(workload.run())
            yield workload
            task.cancel()
    except* DemoError as group_of_one:
        raise group_of_one.exceptions[0] from None


@asynccontextmanager
async def _scaler(kubeconfig: Path, log: Path) -> AsyncIterator[str]:
    """Run the real scaler as a process and yield its URL once it is ready."""
    url = f"http://127.0.0.1:{_free_port()}"
    command = [
        *(sys.executable, "-m", "scaler", "run"),
        *("--kubeconfig", str(kubeconfig), "--interval", "1s"),
        *("--web.listen-address", url.removeprefix("http://")),
    ]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
        try:
            await _until_ready(url, process, log)
            yield url
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(SCALER_END_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    end = time.monotonic() + START_DEADLINE_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end and process.returncode is None:
            try:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    said = await asyncio.to_thread(log.read_text)
    msg = f"the scaler was not ready within {START_DEADLINE_SECONDS} s; it said:\n{said[-2000:]}"
    raise DemoError(msg)


async def _keep(kubeconfig: Path, scaler_url: str, nodes: SimulatedNodes) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _say("\nEverything is still running; Ctrl-C ends it. From another terminal:\n")
    _say(f"  export KUBECONFIG={kubeconfig}")
    _say("  kubectl get deployments,pods")
    _say(f"  kubectl scale deployment {NAME_PRESS} --replicas=2")
    _say(f"  {_program('gpu-scaler')} status --server {scaler_url}")
    _say(f"  {_program('gpu-scaler')} explain {NAMESPACE}/{NAME_SERVING} --server {scaler_url}\n")
    _say(f"  status page  {scaler_url}/\n")
    _say(f"  scaler    {scaler_url}/metrics")
    # In order of names: which exporter started first differs from run to run.
    for _, node in sorted(nodes.nodes.items()):
        host, port = node.exporter_address
        _say(f"  exporter  http://{host}:{port}/metrics   ({node.name})")
    await stop.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def _coloured(sight: Sight, text: str) -> str:
    above = (sight.duty_cycle_percent or 0) > TARGET_PERCENT
    return _styled(text, "33") if above else text


if __name__ == "__main__":
    sys.exit(main())
