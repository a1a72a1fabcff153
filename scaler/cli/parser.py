# SPDX-License-Identifier: Apache-2.0
"""Pure: the parser of the `gpu-scaler` command line."""

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
from scaler.cli.idle import add_idle_arguments
from scaler.cli.metricsapi import MAX_PORT
from scaler.cli.simulate import add_simulate_arguments
from toolkit.cli.arguments import SHELLS, CommandsFormatter, Parser
from toolkit.cli.flags import (
    Flags,
    add_output_argument,
    environment_name,
    flag_groups,
    whole_number,
)
from toolkit.cli.http_access import add_access_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = """
Each flag can also be set by the environment variable in brackets. The flag
takes precedence."""
_SIMULATE = """ It compares
targets with what was, and with the arithmetic of the HorizontalPodAutoscaler:
GPU hours, saturation, changes and cost. It only reads: nothing is ever written
to a cluster.

  gpu-scaler simulate prod/web --prometheus.url http://prometheus:9090
  gpu-scaler simulate --csv load.csv"""
_NAME_FORMS = (
    "NAMESPACE/NAME of a Deployment, or as in kubectl: NAME, deploy/NAME, sts/NAME,"
    " rollouts.argoproj.io/NAME"
)
_STATUS = "exit status: 0 success, 1 failure, 2 usage error, 130 interrupted"


def build_parser(environ: Mapping[str, str], version: str, program: str = "gpu-scaler") -> Parser:
    """Return the parser; it stores the command as `command` and reads defaults from `environ`."""
    parser = Parser(
        prog=program,
        description="Scale Deployments on GPU metrics, and explain each decision.",
        epilog=f"Run {program} COMMAND --help for the flags of a command.\n\n{_STATUS}",
        formatter_class=CommandsFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gpu-scaler {version}")
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )

    def command(name: str, text: str, *, more: str = "", status: str = _STATUS) -> Parser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.{more}",
            epilog=status,
            usage=f"%(prog)s [FLAG ...]{_POSITIONALS.get(name, '')}",
        )

    run = command("run", "watch Deployments and scale them until SIGTERM", more=_ENVIRONMENT)
    add_run_arguments(run, environ)

    status = command("status", "show a table of all opted-in Deployments")
    _add_name_arguments(status)
    status.add_argument(
        "-w", "--watch", action="store_true", help="print the table again every 2 s, until Ctrl-C"
    )
    _add_remote_arguments(status, environ)

    why_not = command("why-not", "show why Deployments were not scaled in the last loop")
    _add_name_arguments(why_not)
    _add_remote_arguments(why_not, environ)

    explain = command("explain", "show the last decision for a Deployment and its reasons")
    explain.add_argument("deployment", metavar="NAME", help=_NAME_FORMS)
    explain.add_argument(
        *("-n", "--namespace"),
        metavar="NAME",
        help="namespace of a name without one (default: the context's, else default)",
    )
    explain.add_argument(
        "--history", action="store_true", help="show the decisions of the last hour instead"
    )
    _add_remote_arguments(explain, environ)

    simulate = command(
        "simulate",
        "show what gpu-scaler would have done with the load of the last days",
        more=_SIMULATE,
        status="exit status: 0 success, 1 failure or a Deployment without history, 2 usage\n"
        "error, 130 interrupted (what was done is printed)",
    )
    add_simulate_arguments(simulate, environ)

    idle = command("idle", "report idle GPUs of the past, as Prometheus has recorded them")
    add_idle_arguments(idle, environ)

    check = command(
        "check",
        "validate the annotations in manifests, offline",
        status="exit status: 0 no errors, 1 errors found or a file is unreadable, 2 usage error,\n"
        "130 interrupted",
    )
    _add_check_arguments(check, environ)

    completion = command("completion", "print a shell completion script")
    completion.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help="shell")
    completion.epilog = f"bash: source <(gpu-scaler completion bash)\n\n{_STATUS}"
    return parser


CHECK_SOURCES = ("exporters", "prometheus")
_POSITIONALS = {
    "status": " [NAME ...]",
    "why-not": " [NAME ...]",
    "explain": " NAME",
    "simulate": " [NAME ...]",
    "check": " FILE [FILE ...]",
    "completion": " " + "|".join(SHELLS),
}


def _add_check_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    add_output_argument(
        parser,
        ("text", "json", "github"),
        more="github writes annotations for pull requests",
    )
    flags = Flags(parser, environ, prefix=ENVIRONMENT_PREFIX)
    flags.text(
        "source",
        "|".join(CHECK_SOURCES),
        "prometheus",
        "what the scaler reads; with exporters alone, gpu-scaler/query is an error",
    )
    flags.text("kinds", "NAMES", "deployments.apps", "kinds that the scaler scales")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="YAML or JSON file, a folder of such files, or a pattern such as 'apps/*.yaml';"
        " - is standard input",
    )


def _add_name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{_NAME_FORMS} (default: all Deployments)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        *("-n", "--namespace"),
        metavar="NAME",
        help="namespace (default: all; of a NAME without one: the context's, else default)",
    )
    where.add_argument(
        "-A", "--all-namespaces", action="store_true", help="all namespaces, the default"
    )


def _add_remote_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    add_output_argument(parser, ("text", "json", "yaml"))
    group = flag_groups(parser, environ, prefix=ENVIRONMENT_PREFIX)
    scaler = parser.add_argument_group("connection to the scaler")
    scaler.add_argument(
        "--server",
        metavar="URL",
        type=_url,
        default=environ.get(environment_name(ENVIRONMENT_PREFIX, "server")),
        help="URL of the scaler (default: the Lease's holder, through the Kubernetes API)"
        f" [{environment_name(ENVIRONMENT_PREFIX, 'server')}]",
    )
    add_lease_arguments(Flags(scaler, environ, prefix=ENVIRONMENT_PREFIX))
    # No variable: Kubernetes itself sets GPU_SCALER_PORT for a Service named gpu-scaler.
    scaler.add_argument(
        "--port",
        metavar="PORT",
        type=whole_number(1, MAX_PORT),
        help="port of the scaler (default: from the Lease)",
    )
    add_access_arguments(group("with --server"), "server", "the scaler")
    add_kubeconfig_arguments(group("Kubernetes API"))


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+\S*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://HOST:9446")
    return text
