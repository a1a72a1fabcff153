"""Pure: the command line of `gpu-scaler` with all its commands."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from scaler.cli.config import (
    ENVIRONMENT_PREFIX,
    add_kubeconfig_arguments,
    add_lease_arguments,
    add_run_arguments,
)
from toolkit.cli.arguments import SHELLS, CommandParser, CommandsFormatter, Parser
from toolkit.cli.flags import Flags, environment_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = """
A flag that is not given takes its value from the environment variable in
brackets, where that is set."""
_STATUS = "exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted"


def build_parser(environ: Mapping[str, str], version: str) -> Parser:
    """Return the parser; `command` is the word given, flags take their defaults from `environ`."""
    parser = Parser(
        prog="gpu-scaler",
        description="Scales Deployments on GPU metrics, and says why.",
        epilog=f"gpu-scaler COMMAND --help says more of each.\n\n{_STATUS}",
        formatter_class=CommandsFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gpu-scaler {version}")
    commands = parser.add_subparsers(
        title="commands",
        dest="command",
        required=True,
        metavar="COMMAND",
        parser_class=CommandParser,
    )

    def command(name: str, text: str, *, more: str = "", status: str = _STATUS) -> CommandParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.{more}",
            epilog=status,
            usage=f"%(prog)s [FLAG ...]{_POSITIONALS.get(name, '')}",
        )

    run = command("run", "watch, decide and scale until SIGTERM", more=_ENVIRONMENT)
    add_run_arguments(run, environ)

    status = command("status", "show a table of all opted-in Deployments")
    status.add_argument("-n", "--namespace", metavar="NAME", help="only this namespace")
    _add_remote_arguments(status, environ)

    why_not = command("why-not", "show why each other Deployment was not scaled just now")
    why_not.add_argument("-n", "--namespace", metavar="NAME", help="only this namespace")
    _add_remote_arguments(why_not, environ)

    explain = command("explain", "show why the last decision on a Deployment was taken")
    explain.add_argument(
        "deployment",
        metavar="NAMESPACE/NAME",
        type=_workload,
        help="other kinds: NAMESPACE/statefulsets.apps:NAME",
    )
    explain.add_argument(
        "--history", action="store_true", help="what was decided in the last hour instead"
    )
    _add_remote_arguments(explain, environ)

    check = command(
        "check",
        "validate the annotations in manifests, offline",
        status="exit status: 0 all are right, 1 something is wrong or cannot be read, 2 wrong\n"
        "usage, 130 interrupted",
    )
    check.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON; - is standard input")

    completion = command("completion", "print a script that completes commands and flags")
    completion.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help="for this one")
    completion.epilog = f"bash: source <(gpu-scaler completion bash)\n\n{_STATUS}"
    return parser


_POSITIONALS = {
    "explain": " NAMESPACE/NAME",
    "check": " FILE [FILE ...]",
    "completion": " " + "|".join(SHELLS),
}


def _add_remote_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    parser.add_argument(
        *("-o", "--output"),
        choices=("text", "json", "yaml"),
        default="text",
        metavar="text|json|yaml",
        help="how it is written (default text)",
    )
    asked = parser.add_argument_group("which scaler is asked")
    asked.add_argument(
        "--server",
        metavar="URL",
        type=_url,
        default=environ.get(environment_name(ENVIRONMENT_PREFIX, "server")),
        help="URL of a scaler (default: the holder of the Lease, through the Kubernetes API)"
        f" [{environment_name(ENVIRONMENT_PREFIX, 'server')}]",
    )
    add_lease_arguments(Flags(asked, environ, prefix=ENVIRONMENT_PREFIX))
    # No variable: Kubernetes sets GPU_SCALER_PORT itself where a Service has that name.
    asked.add_argument(
        "--port", metavar="PORT", type=_port, default=9446, help="the scaler's port (default 9446)"
    )
    add_kubeconfig_arguments(
        Flags(parser.add_argument_group("Kubernetes API"), environ, prefix=ENVIRONMENT_PREFIX)
    )


def _workload(text: str) -> str:
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAMESPACE/NAME of a Deployment, such as default/web"
        )
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+\S*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL like http://HOST:9446")
    return text


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)
