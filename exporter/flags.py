"""Pure: the table of the exporter's flags, and the parser and the help made of it."""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import Final, NamedTuple, NoReturn

from exporter.model import Collector

ENVIRONMENT_PREFIX: Final = "GPU_EXPORTER_"
DEFAULT_SOCKET: Final = "/var/lib/kubelet/pod-resources/kubelet.sock"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("logfmt", "json")
ALL_COLLECTORS: Final = "all"
SHELLS: Final = ("bash", "zsh", "fish")
_COLUMNS: Final = 80


class Flag(NamedTuple):
    """A flag with a value; words between bars as `metavar` are all that it takes."""

    metavar: str
    default: str
    help: str


_VALUES_BY_TOPIC: Final = {
    "GPUs": {
        "nvml.interval": Flag(
            "DURATION", "2s", "Time between two readings of the GPUs, 100ms to 1m."
        ),
        "nvml.window": Flag(
            "DURATION", "10s", "Time over which the duty cycle is averaged, up to 5m."
        ),
        "nvml.release-for": Flag(
            "DURATION",
            "10m",
            "Time for which SIGUSR1 releases NVML, so that a GPU can be reset or its MIG mode "
            "changed, 1s to 24h; SIGUSR2 takes it back before.",
        ),
        "collectors": Flag(
            "NAMES",
            "",
            "Groups of further families, separated by commas, beside the base set, which is always "
            f"on: {ALL_COLLECTORS}, or some of {', '.join(Collector)}. Default: none.",
        ),
        "no-collectors": Flag("NAMES", "", "Groups to leave out of those, separated by commas."),
    },
    "pods": {
        "node-name": Flag(
            "NAME",
            "",
            "Value of the label node_name. Default: environment NODE_NAME, else MY_NODE_NAME, else "
            "the host's name.",
        ),
        "pod-resources.socket": Flag(
            "FILE", DEFAULT_SOCKET, "The kubelet's pod-resources socket. Empty: no pod labels."
        ),
        "pod-resources.extra-names": Flag(
            "NAMES",
            "",
            "Further resource names, separated by commas, beside nvidia.com/gpu, "
            "nvidia.com/gpu.shared and nvidia.com/mig-*.",
        ),
        "pod-labels": Flag(
            "REGEX",
            "",
            "Regular expression for names of pod labels to publish as nvidia_gpu_pod_labels, "
            "matched as a whole; asks the Kubernetes API. Default: none.",
        ),
        "path.procfs": Flag("DIR", "/proc", "Where /proc is; for the collector containers."),
        "path.logs": Flag(
            "DIR",
            "/var/log",
            "Where the node's /var/log/pods and /var/log/containers are; for the collector "
            "containers and to tell finished pods.",
        ),
        "path.cgroup": Flag(
            "DIR", "/sys/fs/cgroup", "Where the node's /sys/fs/cgroup is; to tell finished pods."
        ),
    },
    "serving and log": {
        "web.listen-address": Flag(
            "HOST:PORT", ":9445", "Address to serve on, HOST:PORT or :PORT."
        ),
        "web.telemetry-path": Flag("PATH", "/metrics", "Path under which to expose metrics."),
        "web.config.file": Flag(
            "FILE",
            "",
            "File with TLS certificates and users, in the format of Prometheus' exporter-toolkit. "
            "Default: plain HTTP for everybody.",
        ),
        "web.max-requests": Flag("NUMBER", "40", "Requests answered at once; 0: any number."),
        "log.level": Flag("|".join(LOG_LEVELS), "info", "How much is logged."),
        "log.format": Flag("|".join(LOG_FORMATS), "logfmt", "How it is written."),
    },
}
_SWITCHES_BY_TOPIC: Final = {
    "GPUs": {
        "nvml.required": "Exit with status 1, instead of retrying, when NVML cannot be used.",
    },
    "pods": {
        "dra": "Ask the Kubernetes API (ResourceSlices) which GPUs pods hold by dynamic resource "
        "allocation.",
    },
    "serving and log": {
        "once": "Print one exposition to standard output and exit; status 0 only if NVML answered.",
    },
}
VALUE_FLAGS: Final = {
    name: flag for flags in _VALUES_BY_TOPIC.values() for name, flag in flags.items()
}


class UsageError(Exception):
    """What argparse would have printed before exiting."""


def environment_name(flag: str) -> str:
    """Return the environment variable of a flag: `nvml.interval` is GPU_EXPORTER_NVML_INTERVAL."""
    return ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", flag).upper()


def build_parser(version: str) -> argparse.ArgumentParser:
    """Return the parser; it raises UsageError in place of exiting."""
    parser = _Parser(
        prog="gpu-exporter",
        usage="gpu-exporter [FLAG ...]\n"
        "       gpu-exporter doctor [FLAG ...]\n"
        f"       gpu-exporter completion {'|'.join(SHELLS)}",
        description="Publishes NVIDIA GPU metrics, each labelled with the pod that holds the GPU."
        "\n\ndoctor, with the same flags, checks this node step by step instead and says"
        "\nwhat to fix. completion prints a script that completes flags:"
        "\nsource <(gpu-exporter completion bash)"
        "\n\nA flag that is not given takes its value from the environment variable in"
        "\nbrackets, where that is set.",
        epilog="exit status: 0 done, or ended by a signal; 1 failed (doctor: GPUs or pods cannot"
        "\nbe seen); 2 wrong usage or web configuration; 3 to be started anew, because this"
        "\nprocess cannot use NVML any more",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gpu-exporter {version}")
    for topic, flags in _VALUES_BY_TOPIC.items():
        group = parser.add_argument_group(topic)
        for name, flag in flags.items():
            shown = f" Default: {flag.default}" if flag.default else ""
            group.add_argument(
                f"--{name}",
                dest=name,
                metavar=flag.metavar,
                help=f"{flag.help}{shown} [{environment_name(name)}]",
            )
        for name, text in _SWITCHES_BY_TOPIC[topic].items():
            group.add_argument(
                f"--{name}",
                dest=name,
                action="store_const",
                const="true",
                help=f"{text} [{environment_name(name)}=true]",
            )
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Below each flag what it does; names with hyphens stay in one piece."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=8, width=_COLUMNS)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse's words, and what they mean to those who did not write the program.
        for pattern, words in (
            (r"argument (\S+): expected one argument", r"\1: needs a value"),
            (r"argument (\S+): ignored explicit argument (.+)", r"\1: takes no value, but got \2"),
        ):
            message = re.sub(pattern, words, message)
        raise UsageError(message)
