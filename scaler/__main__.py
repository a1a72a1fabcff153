# SPDX-License-Identifier: Apache-2.0
"""gpu-scaler: run | status | why-not | explain | simulate | idle | check | completion."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from scaler.cli.config import ENVIRONMENT_PREFIX, parse_run_arguments
from scaler.cli.parser import build_parser
from toolkit.cli.arguments import EXIT_USAGE, UsageError
from toolkit.cli.unknown_variables import unknown_variables

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130
GARBAGE_THRESHOLDS = (200_000, 20, 100)


def main(arguments: Sequence[str] | None = None, *, program: str = "gpu-scaler") -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for wrong usage."""
    try:
        parser = build_parser(os.environ, version("gpu-scaler"), program)
        for sentence in unknown_variables(parser, os.environ, prefix=ENVIRONMENT_PREFIX):
            _print_error(sentence)
        parsed = parser.parse_args(arguments)
        status = _COMMANDS[parsed.command](parsed)
        sys.stdout.flush()
        return status
    except UsageError as error:
        sys.stderr.write(error.text("gpu-scaler"))
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough, as `head` does: Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE


def kubectl_plugin() -> int:
    """Run `kubectl gpu-scaler`."""
    return main(program="kubectl gpu-scaler")


def kubectl_plugin_completion() -> int:
    """Print what can follow the words that kubectl passes."""
    from toolkit.cli.kubectl_completion import kubectl_completion  # noqa: PLC0415

    parser = build_parser({}, version("gpu-scaler"), "kubectl gpu-scaler")
    sys.stdout.write(kubectl_completion(parser, sys.argv[1:]))
    return 0


def _run(parsed: argparse.Namespace) -> int:
    # Only this command imports the whole program: `check` and `--help` start fast.
    from scaler import app  # noqa: PLC0415
    from scaler.kube.errors import ClusterError  # noqa: PLC0415
    from toolkit import logs  # noqa: PLC0415
    from toolkit.web.model import WebConfigError  # noqa: PLC0415

    config = parse_run_arguments(parsed)
    logs.set_up(level=config.log_level, log_format=config.log_format)
    # The watched cluster and the readings are millions of objects without reference cycles. The
    # default thresholds scan all of them several times per loop, which took 40 % of its time. With
    # (20_000, 50, 400) each loop over 2,500 nodes stops twice for 50 ms, with these not at all.
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    _raise_open_files()
    try:
        return asyncio.run(app.run(config))
    except WebConfigError as error:
        raise UsageError(error.problems) from error
    except (ClusterError, app.StartError, OSError) as error:
        _print_error(str(error))
        return EXIT_FAILURE


def _raise_open_files() -> None:
    """Allow as many open files as the kernel lets this process have, as Go's runtime does.

    Each exporter keeps a connection, and containers often begin with a soft limit of 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS takes no infinity.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _status(parsed: argparse.Namespace) -> int:
    from scaler.cli.decisions import print_status  # noqa: PLC0415

    return 0 if print_status(parsed) else EXIT_FAILURE


def _why_not(parsed: argparse.Namespace) -> int:
    from scaler.cli.decisions import print_why_not  # noqa: PLC0415

    return 0 if print_why_not(parsed) else EXIT_FAILURE


def _explain(parsed: argparse.Namespace) -> int:
    from scaler.cli.decisions import print_explanation  # noqa: PLC0415

    return 0 if print_explanation(parsed) else EXIT_FAILURE


def _idle(parsed: argparse.Namespace) -> int:
    from scaler.cli.idle import parse_idle_arguments  # noqa: PLC0415
    from scaler.cli.idle_command import (  # noqa: PLC0415
        NothingRecordedError,
        drawn_idle,
        read_idle,
        shown_idle,
    )
    from scaler.readings.prometheus.ranges import PastError  # noqa: PLC0415

    settings = parse_idle_arguments(parsed)
    try:
        result = asyncio.run(read_idle(settings))
    except (PastError, NothingRecordedError) as error:
        _print_error(str(error))
        return EXIT_FAILURE
    if settings.plot is not None:
        try:
            Path(settings.plot).write_text(drawn_idle(settings, result), encoding="utf-8")
        except OSError as error:
            _print_error(f"--plot: cannot write {settings.plot}: {error.strerror}")
            return EXIT_FAILURE
    sys.stdout.write(shown_idle(settings, result))
    return 0 if result.is_complete else EXIT_INTERRUPTED


def _check(parsed: argparse.Namespace) -> int:
    from scaler.cli.check import check  # noqa: PLC0415

    return 0 if check(parsed) else EXIT_FAILURE


def _simulate(parsed: argparse.Namespace) -> int:
    from scaler.cli.recorded_deployments import NoHistoryError  # noqa: PLC0415
    from scaler.cli.simulate import parse_simulate_arguments  # noqa: PLC0415
    from scaler.cli.simulate_command import shown, simulate  # noqa: PLC0415
    from scaler.kube.contexts import namespace_of  # noqa: PLC0415
    from scaler.readings.prometheus.ranges import PastError  # noqa: PLC0415

    settings = parse_simulate_arguments(
        parsed, default_namespace=lambda: namespace_of(parsed.kubeconfig, parsed.context)
    )
    try:
        found = asyncio.run(simulate(settings))
    except (NoHistoryError, PastError) as error:
        _print_error(str(error))
        return EXIT_FAILURE
    except OSError as error:
        _print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return EXIT_FAILURE
    for sentence in (*found.notes, *found.problems):
        _print_error(sentence)
    if found.simulations:
        sys.stdout.write(shown(settings, found.simulations))
    if not found.is_complete:
        _print_error("interrupted: what was not read or simulated until then is missing")
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if found.problems else 0


def _completion(parsed: argparse.Namespace) -> int:
    from toolkit.cli.completion import completion_script  # noqa: PLC0415

    # An empty environment, because its values would become part of the script.
    sys.stdout.write(completion_script(build_parser({}, version("gpu-scaler")), parsed.shell))
    return 0


def _print_error(message: str) -> None:
    sys.stderr.write(f"gpu-scaler: {message}\n")


_COMMANDS = {
    "run": _run,
    "status": _status,
    "why-not": _why_not,
    "explain": _explain,
    "simulate": _simulate,
    "idle": _idle,
    "check": _check,
    "completion": _completion,
}

if __name__ == "__main__":
    sys.exit(main())
