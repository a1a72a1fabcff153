"""gpu-exporter: configuration in, wiring, run."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from exporter import __version__, logs
from exporter.app import NvmlRequiredError, RestartNeededError, once, running
from exporter.config import ConfigError, parse
from exporter.webconfig import WebConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from exporter.config import Config

log = logging.getLogger(__name__)

DOCTOR: Final = "doctor"
GARBAGE_THRESHOLD: Final = 5000
SWITCH_SECONDS: Final = 0.0005
EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_RESTART: Final = 3
"""The kubelet has to start the container anew: see `exporter.sampler.restart_reason`."""


def main(arguments: Sequence[str] | None = None, *, binding: ModuleType | None = None) -> int:
    """Run the program over `binding` (nvidia-ml-py unless given) and return its exit status."""
    if binding is None:
        # Not above: a simulated one is not to cost the memory of two.
        import pynvml  # noqa: PLC0415

        binding = pynvml
    arguments = sys.argv[1:] if arguments is None else arguments
    doctor = list(arguments[:1]) == [DOCTOR]
    try:
        config = parse(
            arguments[1:] if doctor else arguments,
            os.environ,
            host_name=socket.gethostname(),
            version=__version__,
        )
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"gpu-exporter: {problem}\n")
        return EXIT_USAGE
    # All that is imported stays: without it a full collection takes a fraction of a millisecond
    # instead of twenty, in which no scrape could be answered.
    gc.collect()
    gc.freeze()
    # What rendering makes by the thousand has no cycles: looking for them took a third of its time.
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
    # The NVML thread keeps to itself what it does between calls; a scrape has to wait no longer for
    # its turn than this, each time.
    sys.setswitchinterval(SWITCH_SECONDS)
    logs.set_up(
        level="error" if doctor else config.log_level,
        log_format=config.log_format,
    )
    if doctor:
        return asyncio.run(_doctor(config, binding))
    return asyncio.run(_once(config, binding) if config.once else _run(config, binding))


async def _run(config: Config, binding: ModuleType) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info(
        "starting",
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
            log.info("ending on a signal")
    except NvmlRequiredError as error:
        log.error("NVML is required and cannot be used", extra={"reason": str(error)})
        return EXIT_FAILURE
    except RestartNeededError as error:
        log.error(
            "ending to be started anew, because this process cannot use NVML any more",
            extra={"reason": str(error), "status": EXIT_RESTART},
        )
        return EXIT_RESTART
    except WebConfigError as error:
        for problem in error.problems:
            log.error("the web configuration cannot be used", extra={"problem": problem})
        return EXIT_USAGE
    except OSError as error:
        log.error(
            "the address cannot be bound",
            extra={
                "host": config.listen_host,
                "port": config.listen_port,
                "reason": str(error),
            },
        )
        return EXIT_FAILURE
    return 0


async def _doctor(config: Config, binding: ModuleType) -> int:
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


async def _once(config: Config, binding: ModuleType) -> int:
    result = await once(config, binding)
    sys.stdout.write(result.exposition.decode())
    sys.stdout.flush()
    if result.problem is not None:
        sys.stderr.write(f"gpu-exporter: NVML did not answer: {result.problem}\n")
        return EXIT_FAILURE
    return 0


if __name__ == "__main__":
    sys.exit(main())
