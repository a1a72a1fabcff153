# SPDX-License-Identifier: Apache-2.0
"""gpu-simulator: simulated GPU nodes in a cluster that has real nodes but no GPU, all in one pod.

Runs under the service account of `daemonset/simulated.yaml`. Pods on these nodes are not run: they
are reported as running, and how busy their GPUs are follows from annotations (`workload.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from scaler.kube.errors import ClusterError
from simulator.gpus import MODELS
from simulator.nodeobjects import LOOPBACK
from simulator.nodes import NodeSpec, Site, running_nodes
from simulator.workload import Workload
from toolkit import logs
from toolkit.cli.arguments import EXIT_USAGE, Parser, UsageError
from toolkit.cli.flags import whole_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

log = logging.getLogger(__name__)

NAME_PREFIX: Final = "simulated-gpu"
OWNERS: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
# Short enough to watch, as in the demo.
EXPORTER_CONFIG: Final = ExporterConfig(nvml_interval_seconds=1.0, nvml_window_seconds=3.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the nodes until SIGTERM and return the exit status: 0, or 1 for what no waiting mends."""
    try:
        parsed = _parser().parse_args(arguments)
    except UsageError as error:
        sys.stderr.write(error.text("gpu-simulator"))
        return EXIT_USAGE
    logs.set_up(level="info", log_format="logfmt")
    try:
        asyncio.run(_run(parsed))
    except (ClusterError, OSError) as error:
        sys.stderr.write(f"gpu-simulator: {error}\n")
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 0
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="gpu-simulator",
        description="Adds simulated GPU nodes to a Kubernetes cluster until SIGTERM.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('gpu-scaler')}")
    parser.add_argument(
        "--nodes",
        type=whole_number(1, 100),
        default=2,
        metavar="N",
        help="number of nodes (default 2)",
    )
    parser.add_argument(
        "--gpus",
        type=whole_number(1, 100),
        default=8,
        metavar="N",
        help="GPUs of each node (default 8)",
    )
    parser.add_argument(
        "--model",
        choices=sorted(MODELS),
        default="H100",
        metavar="NAME",
        help=f"model of the GPUs: {', '.join(sorted(MODELS))} (default H100)",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("POD_IP", LOOPBACK),
        metavar="HOST",
        help=f"address of the exporters (default $POD_IP, else {LOOPBACK})",
    )
    parser.add_argument(
        "--first-port",
        type=whole_number(0, 65535),
        default=9445,
        metavar="PORT",
        help="port of the first exporter, the others follow; 0 takes free ones (default 9445)",
    )
    parser.add_argument(
        "--owner",
        default="gpu-simulator",
        metavar="NAME",
        help="ClusterRole with which nodes and exporter pods go (default gpu-simulator)",
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="kubeconfig file (default: the pod's service account, else ~/.kube/config)",
    )
    return parser


async def _run(parsed: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Cancelled and not asked: it may be waiting for an API server that does not answer.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    specs = [
        NodeSpec(name=f"{NAME_PREFIX}-{n}", gpus=(parsed.model,) * parsed.gpus, guest=True)
        for n in range(1, parsed.nodes + 1)
    ]
    async with await KubeClient.load(parsed.kubeconfig) as client:
        site = Site(
            host=parsed.host,
            first_port=parsed.first_port,
            owner=await _owner(client, parsed.owner),
        )
        async with running_nodes(
            client, specs, exporter_config=EXPORTER_CONFIG, schedules=False, site=site
        ) as nodes:
            log.info(
                "The nodes have joined",
                extra={"nodes": parsed.nodes, "gpus": parsed.nodes * parsed.gpus},
            )
            await Workload(nodes, noise=random.Random()).run()


async def _owner(client: KubeClient, name: str) -> dict[str, Any]:
    found = await client.get(f"{OWNERS}/{name}")
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "name": name,
        "uid": found["metadata"]["uid"],
        # Pods without a controller that have the labels of the exporter's DaemonSet would be taken
        # over by it, and deleted from a node where it wants none.
        "controller": True,
    }


if __name__ == "__main__":
    sys.exit(main())
