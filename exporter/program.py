"""gpu-exporter at work: from the configuration to the exit status.

Nothing of this is imported before the configuration is known: see `exporter.__main__`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from exporter import __version__
from exporter.app import NvmlRequiredError, RestartNeededError, once, running
from toolkit.cli.arguments import EXIT_USAGE
from toolkit.listening.listener import BindError
from toolkit.web.model import WebConfigError

if TYPE_CHECKING:
    from types import ModuleType

    from exporter.cli.config import ExporterConfig

log = logging.getLogger(__name__)

EXIT_FAILURE: Final = 1
EXIT_RESTART: Final = 3
"""The kubelet has to start the container anew: see `exporter.nvml.sampler.restart_reason`."""


async def run(config: ExporterConfig, binding: ModuleType) -> int:
    """Serve until a signal ends it, or only a new process can go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info(
        "Starting",
        extra={
            "version": __version__,
            "node_name": config.node_name,
            "interval_seconds": config.nvml_interval_seconds,
        },
    )
    try:
        async with running(config, binding) as exporter:
            loop.add_signal_handler(signal.SIGUSR1, exporter.release)
            loop.add_signal_handler(signal.SIGUSR2, exporter.resume)
            await stop.wait()
            log.info("Ending on a signal")
    except NvmlRequiredError as error:
        log.error("NVML is required and cannot be used", extra={"error": str(error)})
        return EXIT_FAILURE
    except RestartNeededError as error:
        log.error(
            "Exiting so that the kubelet restarts the container: NVML cannot be used any more",
            extra={"error": str(error), "status": EXIT_RESTART},
        )
        return EXIT_RESTART
    except WebConfigError as error:
        for problem in error.problems:
            log.error("The web configuration cannot be used", extra={"error": problem})
        return EXIT_USAGE
    except BindError as error:
        log.error(
            "The address cannot be bound",
            extra={
                "host": config.listen_host,
                "port": config.listen_port,
                "error": str(error),
            },
        )
        return EXIT_FAILURE
    return 0


async def examine_node(config: ExporterConfig, binding: ModuleType) -> int:
    """Print what `doctor` found."""
    # Those who do not ask for it do not pay for its imports.
    from exporter.doctor.examination import examine  # noqa: PLC0415
    from exporter.doctor.finding import Level, render  # noqa: PLC0415
    from exporter.doctor.host import Host  # noqa: PLC0415

    findings = await examine(
        config,
        binding=binding,
        host=Host(),
        environment=os.environ,
        host_name=socket.gethostname(),
    )
    sys.stdout.write(render(findings))
    return EXIT_FAILURE if any(one.level is Level.FAILURE for one in findings) else 0


async def print_once(config: ExporterConfig, binding: ModuleType) -> int:
    """Print one exposition."""
    result = await once(config, binding)
    sys.stdout.write(result.exposition.decode())
    sys.stdout.flush()
    if result.problem is not None:
        sys.stderr.write(f"gpu-exporter: NVML did not answer: {result.problem}\n")
        return EXIT_FAILURE
    return 0
