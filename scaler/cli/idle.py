# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags of `gpu-scaler idle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.cli.config import ENVIRONMENT_PREFIX, add_kubeconfig_arguments
from scaler.cli.past import (
    OUTPUTS,
    add_price_argument,
    add_since_argument,
    parse_plot,
    parse_price,
    parse_since,
    parse_step,
)
from scaler.cli.source import add_past_arguments, parse_past
from toolkit.cli.flags import Values, add_output_argument, flag_groups

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from scaler.readings.settings import PrometheusSettings
    from scaler.replay.prices import Prices

LONGEST_STEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSettings:
    """What to read and how to show it; `step_seconds` is None to choose by the time."""

    prometheus: PrometheusSettings
    since_seconds: float
    step_seconds: float | None
    threshold_percent: float
    prices: Prices
    namespace: str | None
    output: str
    plot: str | None
    kubeconfig: str | None
    context: str | None


def add_idle_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Add the flags; `GPU_SCALER_<FLAG>` overrides the default of some."""
    group = flag_groups(parser, environ, prefix=ENVIRONMENT_PREFIX)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NAME", help="namespace (default: all)")
    where.add_argument(
        "-A", "--all-namespaces", action="store_true", help="all namespaces, the default"
    )
    add_output_argument(parser, OUTPUTS, more="wide has a row per pod")
    report = group("report")
    add_since_argument(report)
    report.text(
        "step",
        "DURATION",
        None,
        "length of a step, at least the scrape interval (default: 1m, longer above 7d)",
    )
    report.text("threshold", "PERCENT", "5", "duty cycle under which a GPU counts as hardly used")
    add_price_argument(report)
    report.text("plot", "FILE", None, "also draw held, idle and free GPUs, as FILE.svg or .html")
    add_past_arguments(group("Prometheus"))
    add_kubeconfig_arguments(group("Kubernetes API, for the workloads of pods"))


def parse_idle_arguments(arguments: argparse.Namespace) -> IdleSettings:
    """Return the settings.

    Raises:
        UsageError: with every invalid value, not only the first.
    """
    values = Values(arguments)
    prometheus = parse_past(values)
    if prometheus is None:
        values.problem("prometheus.url", "required, such as http://prometheus.monitoring:9090")
    since = parse_since(values)
    prices = parse_price(values)
    step = parse_step(values, since_seconds=since, highest_seconds=LONGEST_STEP_SECONDS)
    plot = parse_plot(values)
    threshold = values.whole_number("threshold", 1, 100)
    values.check()
    assert prometheus is not None
    return IdleSettings(
        prometheus=prometheus,
        since_seconds=since,
        step_seconds=step,
        threshold_percent=threshold,
        prices=prices,
        namespace=arguments.namespace,
        output=arguments.output,
        plot=plot,
        kubeconfig=values.optional("kubeconfig"),
        context=values.optional("context"),
    )
