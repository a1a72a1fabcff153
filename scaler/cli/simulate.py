# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags of `gpu-scaler simulate`."""

from __future__ import annotations

import math
import re
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
from scaler.cli.workload import parse_workload
from scaler.model import Metric, ObjectRef
from scaler.policy.annotations import MAX_REPLICAS, MIN_REPLICAS, PREFIX
from scaler.replay.csv_text import CsvColumns
from scaler.replay.demand import LONGEST_STEP_SECONDS, MAX_STEPS
from scaler.replay.model import MAX_TARGETS
from scaler.replay.plans import Wishes
from toolkit.cli.flags import Values, add_output_argument, flag_groups

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from scaler.readings.settings import PrometheusSettings
    from scaler.replay.prices import Prices

LONGEST_START_SECONDS = 6 * 3600.0
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateSettings:
    """What to simulate and how to show it.

    One of `prometheus`, `csv` and `recording` is set. Empty `deployments` are those that are opted
    in, or all with `is_for_all`. `step_seconds` is None to choose by the time or to find it in the
    CSV, `start_seconds` to measure it.
    """

    deployments: tuple[ObjectRef, ...]
    is_for_all: bool
    prometheus: PrometheusSettings | None
    since_seconds: float
    step_seconds: float | None
    csv: str | None
    csv_columns: CsvColumns
    csv_counts: bool
    recording: str | None
    wishes: Wishes
    start_seconds: float | None
    prices: Prices
    max_saturated: float
    output: str
    plot: str | None
    record: str | None
    anonymizes: bool
    kubeconfig: str | None
    context: str | None


def add_simulate_arguments(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Add the flags; `GPU_SCALER_<FLAG>` overrides the default of some."""
    group = flag_groups(parser, environ, prefix=ENVIRONMENT_PREFIX)
    parser.add_argument(
        "deployments",
        nargs="*",
        metavar="NAME",
        help="Deployments, as NAMESPACE/NAME or as in kubectl (default: those with the annotation"
        " gpu-scaler/enabled)",
    )
    parser.add_argument(
        *("-n", "--namespace"),
        metavar="NAME",
        help="namespace of names without one (default: the context's, else default)",
    )
    parser.add_argument("--all", action="store_true", help="all Deployments with GPU pods")
    add_output_argument(parser, OUTPUTS)
    history = group("history: from Prometheus (below), or one of these files")
    add_since_argument(history)
    history.text("step", "DURATION", None, "time between two values (default: 30s for 7d)")
    history.text(
        "csv",
        "FILE",
        None,
        "CSV with the columns time, pod, value of one Deployment, or time, value with its total;"
        " - is standard input",
    )
    history.text(
        "csv-columns",
        "time=NAME,...",
        None,
        "names of the columns time, pod and value, if they are not recognized",
    )
    history.switch(
        "csv-counter", "the values of the CSV are counters: their increase per second counts"
    )
    history.text("recording", "FILE", None, "file that --record has written")
    policy = group("policy, where it differs from the Deployment's annotations")
    policy.text(
        "metric",
        "NAME",
        None,
        "metric whose targets are compared (default: that of its first target, else duty_cycle;"
        " query for a total)",
    )
    policy.text("query", "PROMQL", None, "expression for the whole Deployment, as gpu-scaler/query")
    policy.text(
        "targets",
        "NUMBERS",
        None,
        "targets of this metric to compare, separated by commas (default: its own, else"
        " 40,50,60,70); other metrics keep theirs",
    )
    policy.text("min-replicas", "NUMBER", None, "minimum replica count")
    policy.text(
        "max-replicas",
        "NUMBER",
        None,
        "maximum replica count (default: its own, else twice the highest so far, at least 10)",
    )
    policy.repeated(
        "annotation", "NAME=VALUE", "further annotation of the policy, such as window=1m"
    )
    policy.text(
        "start-time",
        "DURATION",
        None,
        "time from a pod's creation until it serves (default: measured, else 60s)",
    )
    report = group("report")
    add_price_argument(report)
    report.text(
        "max-saturated",
        "PERCENT",
        "1",
        "percentage of the time that the recommended target may be saturated",
    )
    report.text("plot", "FILE", None, "also write curves as FILE.svg or FILE.html")
    report.text(
        "record", "FILE", None, "also write the history and the policy, to simulate them again"
    )
    report.switch(
        "anonymize",
        "replace names of namespaces and Deployments in all output, and leave out queries and"
        " other text that may contain names",
    )
    add_past_arguments(group("Prometheus"))
    add_kubeconfig_arguments(group("Kubernetes API, for annotations and owners of pods"))


def parse_simulate_arguments(
    arguments: argparse.Namespace, *, default_namespace: Callable[[], str]
) -> SimulateSettings:
    """Return the settings; `default_namespace` is that of names without one.

    Raises:
        UsageError: with every invalid value, not only the first.
    """
    values = Values(arguments)
    csv, recording = values.optional("csv"), values.optional("recording")
    prometheus = None if csv or recording else parse_past(values)
    if csv and recording:
        values.problem("recording", "not together with --csv")
    if not csv and not recording and prometheus is None:
        values.problem(
            "prometheus.url",
            "required, such as http://prometheus.monitoring:9090; or pass --csv or --recording",
        )
    deployments = _deployments(values, arguments, default_namespace)
    if deployments and arguments.all:
        values.problems.append("--all: not together with names of Deployments")
    if csv and len(deployments) > 1:
        values.problem("csv", "has one Deployment; pass at most one NAMESPACE/NAME")
    wishes = _wishes(values)
    if wishes.query is not None and prometheus is not None and len(deployments) != 1:
        values.problem("query", "is for one Deployment: pass its NAMESPACE/NAME")
    since = parse_since(values)
    step = parse_step(
        values,
        since_seconds=math.inf if csv else since,
        highest_seconds=LONGEST_STEP_SECONDS,
    )
    if step is not None and not csv and since / step > MAX_STEPS:
        values.problem("step", f"gives more than {MAX_STEPS} steps of --since")
    start = None
    if values.optional("start-time") is not None:
        start = values.seconds("start-time", highest=LONGEST_START_SECONDS)
    settings = SimulateSettings(
        deployments=deployments,
        is_for_all=arguments.all,
        prometheus=prometheus,
        since_seconds=since,
        step_seconds=step,
        csv=csv,
        csv_columns=_columns(values),
        csv_counts=values.switch("csv-counter"),
        recording=recording,
        wishes=wishes,
        start_seconds=start,
        prices=parse_price(values),
        max_saturated=_share(values, "max-saturated"),
        output=arguments.output,
        plot=parse_plot(values),
        record=values.optional("record"),
        anonymizes=values.switch("anonymize"),
        kubeconfig=values.optional("kubeconfig"),
        context=values.optional("context"),
    )
    values.check()
    return settings


def _deployments(
    values: Values, arguments: argparse.Namespace, default_namespace: Callable[[], str]
) -> tuple[ObjectRef, ...]:
    found = []
    given: str | None = arguments.namespace
    for text in arguments.deployments:
        try:
            named = parse_workload(text, namespace_given=given is not None)
        except ValueError as error:
            values.problems.append(str(error))
            continue
        ref = named.ref(given or named.namespace or default_namespace())
        if ref.kind:
            values.problems.append(f"{text!r} is no Deployment: the past of others is not read")
        found.append(ref)
    return tuple(dict.fromkeys(found))


def _columns(values: Values) -> CsvColumns:
    text = values.optional("csv-columns")
    named: dict[str, str] = {}
    for part in (text or "").split(","):
        name, equals, column = part.partition("=")
        if equals and name in ("time", "pod", "value") and column:
            named[name] = column
        elif text is not None:
            values.problem("csv-columns", f"{part!r} is not time=NAME, pod=NAME or value=NAME")
    return CsvColumns(**named)


def _wishes(values: Values) -> Wishes:
    metric = None
    if values.optional("metric") is not None:
        name = values.choice("metric", tuple(Metric))
        metric = Metric(name) if name in tuple(Metric) else None
    query = values.optional("query")
    if query is not None and metric not in (None, Metric.QUERY):
        values.problem("query", "not together with another --metric than query")
    targets = tuple(filter(None, (values.optional("targets") or "").split(",")))
    if len(targets) > MAX_TARGETS:
        values.problem("targets", f"has {len(targets)} targets; allowed are up to {MAX_TARGETS}")
    annotations: dict[str, str] = {}
    for text in values.repeated("annotation"):
        name, equals, value = text.partition("=")
        if not name or not equals:
            values.problem("annotation", f"{text!r} is not NAME=VALUE, such as window=1m")
        annotations[PREFIX + name.removeprefix(PREFIX)] = value
    for flag, name in (("min-replicas", MIN_REPLICAS), ("max-replicas", MAX_REPLICAS)):
        if (given := values.optional(flag)) is not None:
            annotations[name] = given
    return Wishes(metric=metric, query=query, targets=targets, annotations=annotations)


def _share(values: Values, flag: str) -> float:
    text = values.text(flag)
    found = _SHARE.fullmatch(text)
    share = float(found[1]) / 100 if found else -1.0
    if not 0 <= share <= 1:
        values.problem(flag, f"{text!r} is not a percentage from 0 to 100, such as 1%")
        return 0.0
    return share
