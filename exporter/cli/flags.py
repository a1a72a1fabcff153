# SPDX-License-Identifier: Apache-2.0
"""Pure: the exporter's flags, and the parser and the help made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.model import Collector
from toolkit.cli.arguments import SHELLS, Parser
from toolkit.cli.flags import LOG_FORMATS, LOG_LEVELS, flag_groups
from toolkit.cli.http_access import add_access_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from toolkit.cli.flags import Flags

ENVIRONMENT_PREFIX: Final = "GPU_EXPORTER_"
DEFAULT_SOCKET: Final = "/var/lib/kubelet/pod-resources/kubelet.sock"
ALL_COLLECTORS: Final = "all"


def build_parser(environ: Mapping[str, str], version: str) -> Parser:
    """Return the parser; flags take their defaults from `environ`."""
    parser = Parser(
        prog="gpu-exporter",
        usage="gpu-exporter [FLAG ...]\n"
        "       gpu-exporter doctor [FLAG ...]\n"
        "       gpu-exporter top [FLAG ...]\n"
        f"       gpu-exporter completion {'|'.join(SHELLS)}",
        description="Publishes NVIDIA GPU metrics, each labelled with the pod that holds the GPU."
        "\n\ndoctor, with the same flags, checks this node step by step instead and says"
        "\nwhat to fix. top prints a table of the GPUs and their pods; its own flags are in"
        "\ngpu-exporter top --help. completion prints a script that completes flags:"
        "\nsource <(gpu-exporter completion bash)"
        "\n\nA flag that is not given takes its value from the environment variable in"
        "\nbrackets, where that is set.",
        epilog="exit status: 0 done, or ended by a signal; 1 failed (doctor: GPUs or pods cannot"
        "\nbe seen); 2 wrong usage or web configuration; 3 exits so that the kubelet"
        "\nrestarts the container, because this process cannot use NVML any more",
    )
    _add_flags(parser, environ, version)
    return parser


def build_top_parser(environ: Mapping[str, str], version: str) -> Parser:
    """Return the parser of `gpu-exporter top`, which takes the exporter's flags too."""
    parser = Parser(
        prog="gpu-exporter top",
        usage="gpu-exporter top [FLAG ...]",
        description="Prints the GPUs of this node and the containers that hold them, read through"
        "\nNVML and the kubelet's socket. - is unknown. With --url it asks an exporter"
        "\ninstead; then only --watch, --nvml.interval and --url.* have an effect.",
        epilog="exit status: 0 printed; 1 no readings; 2 wrong usage; 130 Ctrl-C",
    )
    add_top_flags(parser, environ)
    _add_flags(parser, environ, version)
    return parser


def add_top_flags(parser: Parser, environ: Mapping[str, str]) -> None:
    """Add the flags that only `gpu-exporter top` has."""
    group = parser.add_argument_group("table")
    group.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="print the table again every --nvml.interval, until Ctrl-C",
    )
    group.add_argument(
        "--url",
        metavar="URL",
        help="exporter to ask, http://NODE:9445/metrics (default: the GPUs of this node)",
    )
    access = flag_groups(parser, environ, prefix=ENVIRONMENT_PREFIX)("with --url")
    add_access_arguments(access, "url", "the exporter")


def _add_flags(parser: Parser, environ: Mapping[str, str], version: str) -> None:
    parser.add_argument("--version", action="version", version=f"gpu-exporter {version}")
    group = flag_groups(parser, environ, prefix=ENVIRONMENT_PREFIX)
    _add_gpu_flags(group("GPUs"))
    _add_pod_flags(group("pods"))
    _add_serving_flags(group("serving and log"))


def _add_gpu_flags(flags: Flags) -> None:
    flags.text(
        "nvml.interval", "DURATION", "2s", "Time between two readings of the GPUs, 100ms to 1m"
    )
    flags.text(
        "nvml.window", "DURATION", "10s", "Time over which the duty cycle is averaged, up to 5m"
    )
    flags.text(
        "nvml.release-for",
        "DURATION",
        "10m",
        "Time for which SIGUSR1 releases NVML, for a GPU reset or a change of the MIG mode, 1s to "
        "24h; SIGUSR2 takes it back earlier",
    )
    flags.text(
        "collectors",
        "NAMES",
        "",
        "Groups of further families, separated by commas, beside the base set, which is always "
        f"on: {ALL_COLLECTORS}, or some of {', '.join(Collector)} (default: none)",
    )
    flags.text("no-collectors", "NAMES", "", "Groups to exclude from those, separated by commas")
    flags.switch("nvml.required", "Exit with status 1 instead of retrying if NVML cannot be used")


def _add_pod_flags(flags: Flags) -> None:
    flags.text(
        "node-name",
        "NAME",
        "",
        "Value of the label node_name (default: environment NODE_NAME, else MY_NODE_NAME, else "
        "the host's name)",
    )
    flags.text(
        "pod-resources.socket",
        "FILE",
        DEFAULT_SOCKET,
        "The kubelet's pod-resources socket; empty for no pod labels",
    )
    flags.text(
        "pod-resources.extra-names",
        "NAMES",
        "",
        "Additional resource names, separated by commas, besides nvidia.com/gpu, "
        "nvidia.com/gpu.shared and nvidia.com/mig-*",
    )
    flags.text(
        "pod-labels",
        "REGEX",
        "",
        "Regular expression for whole names of pod labels to publish as nvidia_gpu_pod_labels; "
        "reads the Kubernetes API (default: none)",
    )
    flags.text(
        "job-files",
        "DIR",
        "",
        "Folder in which a batch scheduler's prolog names the jobs of each GPU, to publish as "
        "nvidia_gpu_hpc_job (default: none)",
    )
    flags.text("path.procfs", "DIR", "/proc", "Path of /proc, for the collector containers")
    flags.text(
        "path.logs",
        "DIR",
        "/var/log",
        "Path of the node's /var/log, which has pods and containers, for the collector containers "
        "and to detect finished pods",
    )
    flags.text(
        "path.cgroup",
        "DIR",
        "/sys/fs/cgroup",
        "Path of the node's /sys/fs/cgroup, to detect finished pods",
    )
    flags.switch(
        "dra",
        "Look up GPUs held by dynamic resource allocation in the Kubernetes API (ResourceSlices)",
    )


def _add_serving_flags(flags: Flags) -> None:
    flags.text(
        "web.listen-address",
        "HOST:PORT",
        ":9445",
        "Address to serve on: HOST:PORT or :PORT, unix:/PATH for a socket in the file system, or "
        "systemd for the sockets of its .socket unit",
    )
    flags.text("web.telemetry-path", "PATH", "/metrics", "Path of the metrics")
    flags.text(
        "web.config.file",
        "FILE",
        "",
        "File with TLS certificates and users, in the format of Prometheus' exporter-toolkit "
        "(default: plain HTTP for everyone)",
    )
    flags.text(
        "web.max-requests", "NUMBER", "40", "Maximum requests answered at once; 0 for no limit"
    )
    flags.text("log.level", "|".join(LOG_LEVELS), "info", "Lowest level to log")
    flags.text("log.format", "|".join(LOG_FORMATS), "logfmt", "Format of the log")
    flags.switch(
        "once",
        "Print the metrics once to standard output and exit; status 0 only if NVML answered",
    )
