# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter's command line."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from exporter import __version__
from exporter.cli.config import TopConfig, parse, parse_top
from exporter.cli.flags import ENVIRONMENT_PREFIX, add_top_flags, build_parser
from toolkit import logs
from toolkit.cli.arguments import EXIT_USAGE, SHELLS, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from exporter.cli.config import ExporterConfig

# By its own name this module is `__main__` for some, which says nothing in a log.
log = logging.getLogger("exporter")

EXIT_FAILURE: Final = 1
EXIT_RESTART: Final = 3
"""The kubelet has to restart the container: see `exporter.nvml.sampler.restart_reason`."""
EXIT_INTERRUPTED: Final = 130
DOCTOR: Final = "doctor"
TOP: Final = "top"
COMPLETION: Final = "completion"
GARBAGE_THRESHOLD: Final = 5000
SWITCH_SECONDS: Final = 0.0005
STANDARD_ERROR: Final = 2


def main(arguments: Sequence[str] | None = None, *, binding: ModuleType | None = None) -> int:
    """Run the program over `binding` (nvidia-ml-py unless given) and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == [COMPLETION]:
        return _completion(arguments[1:])
    command = arguments[0] if arguments and arguments[0] in (DOCTOR, TOP) else ""
    if any(name.startswith(ENVIRONMENT_PREFIX) for name in os.environ):
        _name_unknown_variables()
    parsing = partial(
        parse_top if command == TOP else parse,
        arguments[1:] if command else arguments,
        os.environ,
        host_name=socket.gethostname(),
        version=__version__,
    )
    try:
        config = parsing()
    except UsageError as error:
        sys.stderr.write(error.text("gpu-exporter"))
        return EXIT_USAGE
    if isinstance(config, TopConfig):
        return _show_gpus(config, binding)
    binding = _prepared(binding)
    logs.set_up(
        level="error" if command == DOCTOR else config.log_level,
        log_format=config.log_format,
    )
    if command == DOCTOR:
        return asyncio.run(_examine_node(config, binding))
    return asyncio.run(_print_once(config, binding) if config.once else run(config, binding))


def _name_unknown_variables() -> None:
    # Most have no such variable, and neither this import nor another parser.
    from toolkit.cli.unknown_variables import unknown_variables  # noqa: PLC0415

    parser = build_parser({}, __version__)
    for sentence in unknown_variables(parser, os.environ, prefix=ENVIRONMENT_PREFIX):
        sys.stderr.write(f"gpu-exporter: {sentence}\n")


def _prepared(binding: ModuleType | None) -> ModuleType:
    """Return the binding to NVML; `_settle` must follow once all is imported."""
    # Little of what is imported is garbage, and looking for it takes a tenth of the start.
    gc.disable()
    # aiohttp loads the system's certificate authorities when it is imported, 2 MB of them. The
    # exporter asks the cluster's API server only, by the authority of its service account.
    os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
    if binding is None:
        import pynvml  # noqa: PLC0415  (not the memory of two where another one is given)

        binding = pynvml
    return binding


async def run(config: ExporterConfig, binding: ModuleType) -> int:
    """Serve until a signal ends it, or only a new process can go on."""
    # Nothing of this is imported before the configuration is known.
    from exporter.app import NvmlRequiredError, RestartNeededError, running  # noqa: PLC0415
    from toolkit.listening.listener import BindError  # noqa: PLC0415
    from toolkit.web.model import WebConfigError  # noqa: PLC0415

    _settle()
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
            loop.add_signal_handler(signal.SIGQUIT, exporter.log_state)
            # The stacks come at once, even from a thread that hangs; the loop's handler follows.
            faulthandler.register(signal.SIGQUIT, STANDARD_ERROR, all_threads=True, chain=True)
            await stop.wait()
            log.info("Exiting on a signal")
    except NvmlRequiredError as error:
        log.error("NVML is required and cannot be used", extra={"error": str(error)})
        return EXIT_FAILURE
    except RestartNeededError as error:
        log.error(
            "Exiting so that the kubelet restarts the container: this process can no longer use "
            "NVML",
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
    finally:
        faulthandler.unregister(signal.SIGQUIT)
    return 0


async def _examine_node(config: ExporterConfig, binding: ModuleType) -> int:
    """Print what `doctor` found."""
    # Those who do not ask for it do not pay for its imports.
    from exporter.doctor.examination import examine  # noqa: PLC0415
    from exporter.doctor.finding import Level, render  # noqa: PLC0415
    from exporter.doctor.host import Host  # noqa: PLC0415

    _settle()
    findings = await examine(
        config,
        binding=binding,
        host=Host(),
        environment=os.environ,
        host_name=socket.gethostname(),
    )
    sys.stdout.write(render(findings))
    return EXIT_FAILURE if any(one.level is Level.FAILURE for one in findings) else 0


def _show_gpus(config: TopConfig, binding: ModuleType | None) -> int:
    """Print the table of `top`; Ctrl-C and a reader that has seen enough, such as head, end it."""
    if config.url is None:
        binding = _prepared(binding)
    logs.set_up(level="error", log_format=config.exporter.log_format)
    from exporter.top.command import show  # noqa: PLC0415

    if config.url is None:
        _settle()
    try:
        return 0 if asyncio.run(show(config, binding)) else EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE


async def _print_once(config: ExporterConfig, binding: ModuleType) -> int:
    """Print one exposition."""
    from exporter.app import once  # noqa: PLC0415

    _settle()
    result = await once(config, binding)
    sys.stdout.write(result.exposition.decode())
    sys.stdout.flush()
    if result.problem is not None:
        sys.stderr.write(f"gpu-exporter: NVML did not answer: {result.problem}\n")
        return EXIT_FAILURE
    return 0


def _completion(arguments: Sequence[str]) -> int:
    from toolkit.cli.completion import completion_script  # noqa: PLC0415

    if len(arguments) != 1 or arguments[0] not in SHELLS:
        sys.stderr.write(f"gpu-exporter: completion needs one of {', '.join(SHELLS)}\n")
        return EXIT_USAGE
    parser = build_parser({}, __version__)
    # Each is read before the flags are; here they are words like others.
    add_top_flags(parser, {})
    parser.add_argument("command", choices=(DOCTOR, TOP, COMPLETION), nargs="?")
    parser.add_argument("shell", choices=SHELLS, nargs="?")
    sys.stdout.write(completion_script(parser, arguments[0]))
    return 0


def _settle() -> None:
    """Let no scrape wait long for what else the interpreter does."""
    # All that is imported stays: without it a full collection takes a fraction of a millisecond
    # instead of twenty, in which no scrape could be answered.
    gc.freeze()
    gc.enable()
    # What rendering makes by the thousand has no cycles: looking for them took a third of its time.
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
    # The NVML thread keeps to itself what it does between calls; a scrape waits for its turn no
    # longer than this, each time.
    sys.setswitchinterval(SWITCH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
