"""gpu-scaler: run | status | why-not | explain | simulate | idle | check | completion."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scaler.cli.config import parse_run_arguments
from scaler.cli.parser import build_parser
from toolkit.cli.arguments import EXIT_USAGE, UsageError
from toolkit.cli.flags import Values

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from scaler.reporting.serialization import DecisionDocument

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130
GARBAGE_THRESHOLDS = (200_000, 20, 100)
_T = TypeVar("_T")


def main(arguments: Sequence[str] | None = None, *, program: str = "gpu-scaler") -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for wrong usage."""
    try:
        parsed = build_parser(os.environ, version("gpu-scaler"), program).parse_args(arguments)
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
    from scaler.reporting.explanation import status_table  # noqa: PLC0415

    return _list(
        parsed,
        lambda _: True,
        lambda decisions: status_table(decisions, now_unix_seconds=time.time()),
    )


def _why_not(parsed: argparse.Namespace) -> int:
    from scaler.reporting.explanation import why_not_table  # noqa: PLC0415

    return _list(parsed, lambda decision: decision.get("outcome") != "scaled", why_not_table)


def _list(
    parsed: argparse.Namespace,
    is_wanted: Callable[[dict[str, Any]], bool],
    table: Callable[[list[DecisionDocument]], str],
) -> int:
    from scaler.reporting.serialization import DecisionDocument, DecisionsDocument  # noqa: PLC0415

    document = _get(parsed, "/api/v1/decisions")
    if document is None or (answer := _decoded(document, DecisionsDocument)) is None:
        return EXIT_FAILURE
    known = [
        decision
        for decision in answer.decisions
        if parsed.namespace in (None, decision.get("namespace"))
    ]
    decisions = [decision for decision in known if is_wanted(decision)]
    if parsed.output != "text":
        _print_data(document | {"decisions": decisions}, parsed.output)
        return 0
    if answer.holding:
        _print_error(f"holding all decisions: {answer.holding}")
    if answer.stopped:
        _print_error(answer.stopped)
    if not answer.leading:
        leader = answer.leader or "no replica"
        _print_error(f"{answer.identity} is not the leader: {leader} holds the Lease")
    if not known:
        where = f" in namespace {parsed.namespace}" if parsed.namespace else ""
        _print_error(f"no Deployment{where} has the annotation gpu-scaler/enabled")
        return 0
    documents = _decoded(decisions, list[DecisionDocument])
    if documents is None:
        return EXIT_FAILURE
    sys.stdout.write(table(documents))
    return 0


def _explain(parsed: argparse.Namespace) -> int:
    from scaler.reporting.explanation import explain_text, history_table  # noqa: PLC0415
    from scaler.reporting.serialization import DecisionDocument, DecisionRunDocument  # noqa: PLC0415

    namespace, _, name = parsed.deployment.partition("/")
    path = f"/api/v1/decisions/{namespace}/{name}"
    document = _get(parsed, f"{path}/history" if parsed.history else path)
    if document is None:
        return EXIT_FAILURE
    if parsed.output != "text":
        _print_data(document, parsed.output)
    if not document.keys() & {"decision", "history"}:
        _print_error(str(document.get("error", "the scaler returned no decision")))
        return EXIT_FAILURE
    if parsed.output != "text":
        return 0
    text = None
    if "history" in document:
        if (runs := _decoded(document["history"], list[DecisionRunDocument])) is not None:
            text = history_table(runs, now_unix_seconds=time.time())
    elif (decision := _decoded(document["decision"], DecisionDocument)) is not None:
        text = explain_text(decision, now_unix_seconds=time.time())
    if text is None:
        return EXIT_FAILURE
    sys.stdout.write(text)
    return 0


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
    from scaler.cli.recorded import NoHistoryError  # noqa: PLC0415
    from scaler.cli.simulate import parse_simulate_arguments  # noqa: PLC0415
    from scaler.cli.simulate_command import shown, simulate  # noqa: PLC0415
    from scaler.readings.prometheus.ranges import PastError  # noqa: PLC0415

    settings = parse_simulate_arguments(parsed)
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
        _print_error("interrupted: what was not done is missing")
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if found.problems else 0


def _completion(parsed: argparse.Namespace) -> int:
    from toolkit.cli.completion import completion_script  # noqa: PLC0415

    # An empty environment, because its values would become part of the script.
    sys.stdout.write(completion_script(build_parser({}, version("gpu-scaler")), parsed.shell))
    return 0


def _get(parsed: argparse.Namespace, path: str) -> dict[str, Any] | None:
    from scaler.cli.access import parse_access  # noqa: PLC0415
    from scaler.cli.api_client import ScalerClient, ScalerClientError  # noqa: PLC0415
    from scaler.kube.errors import ClusterError  # noqa: PLC0415
    from scaler.readings.settings import HttpAccess  # noqa: PLC0415

    values = Values(parsed)
    access = parse_access(values, "server")
    if parsed.server is None and access != HttpAccess():
        values.problems.append("--server.* flags are set, but apply only with --server")
    client = ScalerClient(
        server=parsed.server,
        kubeconfig=parsed.kubeconfig,
        context=parsed.context,
        lease_namespace=parsed.lease_namespace,
        lease_name=parsed.lease_name,
        port=parsed.port,
        access=access,
    )
    values.check()
    try:
        return asyncio.run(client.get(path))
    except (ScalerClientError, ClusterError) as error:
        _print_error(str(error))
        return None


def _decoded(data: Any, type_: type[_T]) -> _T | None:
    from scaler.reporting.serialization import decode  # noqa: PLC0415

    try:
        return decode(data, type_)
    except ValueError as error:
        _print_error(
            f"cannot decode the scaler's response, which may be of another version: {error};"
            " use -o json, or the gpu-scaler command of the scaler's version"
        )
        return None


def _print_data(document: dict[str, Any], form: str) -> None:
    if form == "yaml":
        import yaml  # noqa: PLC0415

        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        return
    import orjson  # noqa: PLC0415

    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


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
