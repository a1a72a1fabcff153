"""gpu-scaler: run | status | why-not | explain | check."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaler.commandline.config import (
    ConfigError,
    add_kubeconfig_arguments,
    add_run_arguments,
    parse_run_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EXIT_FAILURE = 1
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for wrong usage."""
    parsed = _parser(os.environ).parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except KeyboardInterrupt:
        return 130


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu-scaler",
        description="Scales Deployments on GPU metrics, and says why.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('gpu-scaler')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="watch, decide and scale until SIGTERM")
    add_run_arguments(run, environ)
    run.set_defaults(command=_run)

    status = commands.add_parser("status", help="a table of all opted-in Deployments")
    status.add_argument("-n", "--namespace", help="only this namespace")
    _add_remote_arguments(status, environ)
    status.set_defaults(command=_status)

    why_not = commands.add_parser(
        "why-not", help="why each other Deployment was not scaled just now"
    )
    why_not.add_argument("-n", "--namespace", help="only this namespace")
    _add_remote_arguments(why_not, environ)
    why_not.set_defaults(command=_why_not)

    explain = commands.add_parser("explain", help="why the last decision on a Deployment was taken")
    explain.add_argument(
        "deployment", metavar="NAMESPACE/NAME", help="other kinds: NAMESPACE/statefulsets.apps:NAME"
    )
    explain.add_argument(
        "--history", action="store_true", help="what was decided in the last hour instead"
    )
    _add_remote_arguments(explain, environ)
    explain.set_defaults(command=_explain)

    check = commands.add_parser("check", help="validate the annotations in manifests, offline")
    check.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON; - is standard input")
    check.set_defaults(command=_check)
    return parser


def _add_remote_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    parser.add_argument(
        "--server",
        default=environ.get("GPU_SCALER_SERVER"),
        help="URL of a scaler; default: the holder of the Lease, through the Kubernetes API"
        " [GPU_SCALER_SERVER]",
    )
    parser.add_argument("--lease-namespace", default="gpu-scaler", help="default gpu-scaler")
    parser.add_argument("--lease-name", default="gpu-scaler", help="default gpu-scaler")
    parser.add_argument("--port", type=int, default=9446, help="the scaler's port; default 9446")
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text")
    add_kubeconfig_arguments(parser, environ)


def _run(parsed: argparse.Namespace) -> int:
    # Only this command needs the whole program: `check` and `--help` answer at once.
    from scaler import app  # noqa: PLC0415
    from scaler.cluster.errors import ClusterError  # noqa: PLC0415
    from scaler.logs import set_up_logging  # noqa: PLC0415

    try:
        config = parse_run_arguments(parsed)
    except ConfigError as error:
        for problem in str(error).splitlines():
            _complain(problem)
        return EXIT_USAGE
    set_up_logging(level=config.log_level, log_format=config.log_format)
    try:
        return asyncio.run(app.run(config))
    except (ClusterError, app.StartError, OSError) as error:
        _complain(str(error))
        return EXIT_FAILURE


def _status(parsed: argparse.Namespace) -> int:
    from scaler.reporting.explanation import status_table  # noqa: PLC0415

    return _list(
        parsed,
        lambda _: True,
        lambda decisions: status_table(decisions, now_unix_seconds=time.time()),
    )


def _why_not(parsed: argparse.Namespace) -> int:
    from scaler.reporting.explanation import why_not_table  # noqa: PLC0415

    return _list(parsed, lambda decision: decision["outcome"] != "scaled", why_not_table)


def _list(
    parsed: argparse.Namespace,
    is_wanted: Callable[[dict[str, Any]], bool],
    table: Callable[[Any], str],
) -> int:
    document = _ask(parsed, "/api/v1/decisions")
    if document is None:
        return EXIT_FAILURE
    known = [
        decision
        for decision in document["decisions"]
        if parsed.namespace in (None, decision["namespace"])
    ]
    decisions = [decision for decision in known if is_wanted(decision)]
    if parsed.output != "text":
        _print_data(document | {"decisions": decisions}, parsed.output)
        return 0
    if document.get("holding"):
        _complain(f"holding all decisions: {document['holding']}")
    if document.get("stopped"):
        _complain(document["stopped"])
    if not document["leading"]:
        leader = document["leader"] or "nobody"
        _complain(f"{document['identity']} does not act: the Lease is held by {leader}")
    if not known:
        where = f" in namespace {parsed.namespace}" if parsed.namespace else ""
        _complain(f"no Deployment{where} carries the annotation gpu-scaler/enabled")
        return 0
    sys.stdout.write(table(decisions))
    return 0


def _explain(parsed: argparse.Namespace) -> int:
    from scaler.reporting.explanation import explain_text, history_table  # noqa: PLC0415

    namespace, separator, name = parsed.deployment.partition("/")
    if not (namespace and separator and name) or "/" in name:
        _complain(f"{parsed.deployment!r} is not NAMESPACE/NAME of a Deployment")
        return EXIT_USAGE
    path = f"/api/v1/decisions/{namespace}/{name}"
    document = _ask(parsed, f"{path}/history" if parsed.history else path)
    if document is None:
        return EXIT_FAILURE
    if parsed.output != "text":
        _print_data(document, parsed.output)
    elif "history" in document:
        sys.stdout.write(history_table(document["history"], now_unix_seconds=time.time()))
    elif "decision" in document:
        sys.stdout.write(explain_text(document["decision"], now_unix_seconds=time.time()))
    if not document.keys() & {"decision", "history"}:
        _complain(str(document.get("error", "the scaler gave no decision")))
        return EXIT_FAILURE
    return 0


def _check(parsed: argparse.Namespace) -> int:
    from scaler.policy.manifests import check_manifests  # noqa: PLC0415

    problems: list[str] = []
    files: list[tuple[str, str]] = []
    for name in parsed.files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{name}: cannot be read: {error}")
            continue
        files.append(("<stdin>" if name == "-" else name, text))
    problems.extend(check_manifests(files))
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    return EXIT_FAILURE if problems else 0


def _ask(parsed: argparse.Namespace, path: str) -> dict[str, Any] | None:
    from scaler.cluster.errors import ClusterError  # noqa: PLC0415
    from scaler.remote import Remote, RemoteError  # noqa: PLC0415

    remote = Remote(
        server=parsed.server,
        kubeconfig=parsed.kubeconfig,
        context=parsed.context,
        lease_namespace=parsed.lease_namespace,
        lease_name=parsed.lease_name,
        port=parsed.port,
    )
    try:
        return asyncio.run(remote.get(path))
    except (RemoteError, ClusterError) as error:
        _complain(str(error))
        return None


def _print_data(document: dict[str, Any], form: str) -> None:
    if form == "yaml":
        import yaml  # noqa: PLC0415

        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        return
    import orjson  # noqa: PLC0415

    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _complain(message: str) -> None:
    sys.stderr.write(f"gpu-scaler: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
