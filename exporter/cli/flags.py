"""Pure: the exporter's flags, and the parser and the help made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.model import Collector
from toolkit.cli.arguments import SHELLS, Parser
from toolkit.cli.flags import LOG_FORMATS, LOG_LEVELS, Flags

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_PREFIX: Final = "GPU_EXPORTER_"
DEFAULT_SOCKET: Final = "/var/lib/kubelet/pod-resources/kubelet.sock"
ALL_COLLECTORS: Final = "all"


def build_parser(environ: Mapping[str, str], version: str) -> Parser:
    """Return the parser; flags take their defaults from `environ`."""
    parser = Parser(
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
        "\nbe seen); 2 wrong usage or web configuration; 3 exits so that the kubelet"
        "\nrestarts the container, because this process cannot use NVML any more",
    )
    parser.add_argument("--version", action="version", version=f"gpu-exporter {version}")

    def group(title: str) -> Flags:
        return Flags(parser.add_argument_group(title), environ, prefix=ENVIRONMENT_PREFIX)

    _add_gpu_flags(group("GPUs"))
    _add_pod_flags(group("pods"))
    _add_serving_flags(group("serving and log"))
    return parser


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
        "Time for which SIGUSR1 releases NVML, so that a GPU can be reset or its MIG mode "
        "changed, 1s to 24h; SIGUSR2 takes it back before",
    )
    flags.text(
        "collectors",
        "NAMES",
        "",
        "Groups of further families, separated by commas, beside the base set, which is always "
        f"on: {ALL_COLLECTORS}, or some of {', '.join(Collector)} (default: none)",
    )
    flags.text("no-collectors", "NAMES", "", "Groups to leave out of those, separated by commas")
    flags.switch(
        "nvml.required", "Exit with status 1, instead of retrying, when NVML cannot be used"
    )


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
        "The kubelet's pod-resources socket; empty: no pod labels",
    )
    flags.text(
        "pod-resources.extra-names",
        "NAMES",
        "",
        "Further resource names, separated by commas, beside nvidia.com/gpu, "
        "nvidia.com/gpu.shared and nvidia.com/mig-*",
    )
    flags.text(
        "pod-labels",
        "REGEX",
        "",
        "Regular expression for names of pod labels to publish as nvidia_gpu_pod_labels, "
        "matched as a whole; asks the Kubernetes API (default: none)",
    )
    flags.text("path.procfs", "DIR", "/proc", "Where /proc is; for the collector containers")
    flags.text(
        "path.logs",
        "DIR",
        "/var/log",
        "Where the node's /var/log/pods and /var/log/containers are; for the collector "
        "containers and to tell finished pods",
    )
    flags.text(
        "path.cgroup",
        "DIR",
        "/sys/fs/cgroup",
        "Where the node's /sys/fs/cgroup is; to tell finished pods",
    )
    flags.switch(
        "dra",
        "Ask the Kubernetes API (ResourceSlices) which GPUs pods hold by dynamic resource "
        "allocation",
    )


def _add_serving_flags(flags: Flags) -> None:
    flags.text(
        "web.listen-address", "HOST:PORT", ":9445", "Address to serve on, HOST:PORT or :PORT"
    )
    flags.text("web.telemetry-path", "PATH", "/metrics", "Path under which to expose metrics")
    flags.text(
        "web.config.file",
        "FILE",
        "",
        "File with TLS certificates and users, in the format of Prometheus' exporter-toolkit "
        "(default: plain HTTP for everybody)",
    )
    flags.text("web.max-requests", "NUMBER", "40", "Requests answered at once; 0: any number")
    flags.text("log.level", "|".join(LOG_LEVELS), "info", "How much is logged")
    flags.text("log.format", "|".join(LOG_FORMATS), "logfmt", "How it is written")
    flags.switch(
        "once",
        "Print one exposition to standard output and exit; status 0 only if NVML answered",
    )
