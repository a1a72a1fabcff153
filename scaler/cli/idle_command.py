# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler idle`: reads what Prometheus has recorded of all GPUs, and reports idle ones.

It reads only: range queries of Prometheus, and lists of pods and ReplicaSets of the Kubernetes API.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from scaler.cli.interruption import interruption, until
from scaler.cli.progress import Progress
from scaler.cli.recorded_owners import read_cluster, read_kube_state
from scaler.cli.recorded_problems import why_other_pods
from scaler.model import Metric
from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.prometheus.absent_series import why_no_pods, why_no_series
from scaler.readings.prometheus.past_gpus import duty_series, highest_duty_query
from scaler.readings.prometheus.range_chunks import span
from scaler.readings.prometheus.ranges import PastError, RangeReader
from scaler.readings.prometheus.response import PromqlError
from scaler.replay.idle import IdleTally
from scaler.replay.idle_documents import idle_csv, idle_html, idle_json, idle_svg
from scaler.replay.idle_report import idle_text
from scaler.replay.owners import Owners, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.cli.idle import IdleSettings
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.replay.idle_model import IdleReport

STEPS_SECONDS = (60, 120, 300, 600, 1800, 3600)
"""The steps to choose from; a minute has a sample of most scrape intervals."""
STEPS_WISHED = 10_080
"""Steps at most, where none is given: a minute for 7 days."""

NAMED_GPUS = 3
"""GPUs that a sentence names."""


class NothingRecordedError(RuntimeError):
    """Prometheus has no series to report on; the message says what it has and what to pass."""


class IdleResult(NamedTuple):
    """The report, sentences about it, and whether all of the time was read."""

    report: IdleReport
    notes: list[str]
    is_complete: bool


async def read_idle(settings: IdleSettings) -> IdleResult:
    """Return the report on the last `since_seconds`; SIGINT ends the reading early.

    Raises:
        PastError: Prometheus does not answer.
        NothingRecordedError: it has nothing that names a GPU or a pod.
    """
    names = settings.prometheus.names
    steps = span(
        until_unix_seconds=time.time(),
        seconds=settings.since_seconds,
        step_seconds=settings.step_seconds or _step_seconds(settings.since_seconds),
    )
    tally = IdleTally(
        # The value at a step is that of the step that ends there.
        begun_unix_seconds=steps.begun_unix_seconds - steps.step_seconds,
        step_seconds=steps.step_seconds,
        steps=steps.steps,
        threshold=settings.threshold_percent,
    )
    query = highest_duty_query(
        names, step_seconds=steps.step_seconds, matchers=settings.prometheus.matchers
    )
    has_gpu = has_pod = False
    async with RangeReader(settings.prometheus) as reader, interruption() as interrupted:
        with closing(Progress(sys.stderr)) as progress:
            async for chunk in until(interrupted, reader.chunks([query], steps)):
                series = list(duty_series(chunk.rows[0], names))
                await asyncio.to_thread(tally.add, series)
                has_gpu = has_gpu or bool(series)
                has_pod = has_pod or any(one.pod is not None for one in series)
                progress.show("Reading", steps.share_until(chunk.span))
        is_complete = not interrupted.is_set()
        if not has_gpu and is_complete:
            raise NothingRecordedError(await why_no_series(reader, DUTY_CYCLE, steps))
        if has_pod and is_complete:
            why = await why_other_pods(reader, Metric.DUTY_CYCLE, steps)
            if why is not None:
                raise NothingRecordedError(why)
        owners, notes = await _owners(settings, reader, steps)
        if has_gpu and not has_pod:
            why = await why_no_pods(reader, DUTY_CYCLE, steps)
            notes.insert(0, f"All GPUs look free: {why}.")
    report = tally.report(
        owner_of=owners.of,
        price_of=settings.prices.per_gpu_hour,
        namespace=settings.namespace,
    )
    notes += _without_values(tally.gpus_without_values())
    if not is_complete:
        notes.insert(0, "Interrupted: the time that was not read is missing.")
    return IdleResult(report, [*notes, *_about(report, owners, settings)], is_complete)


def drawn_idle(settings: IdleSettings, result: IdleResult) -> str:
    """Return the picture of `--plot`, by the end of its name."""
    report = result.report
    if settings.plot is not None and settings.plot.endswith(".svg"):
        return idle_svg(report)
    text = idle_text(report, with_cost=settings.prices.any_given, is_wide=True, notes=result.notes)
    return idle_html(report, text)


def shown_idle(settings: IdleSettings, result: IdleResult) -> str:
    """Return the report in the format of the settings."""
    if settings.output == "json":
        return idle_json(result.report, result.notes)
    if settings.output == "csv":
        return idle_csv(result.report)
    return idle_text(
        result.report,
        with_cost=settings.prices.any_given,
        is_wide=settings.output == "wide",
        notes=result.notes,
    )


def _step_seconds(seconds: float) -> float:
    return next((one for one in STEPS_SECONDS if seconds / one <= STEPS_WISHED), STEPS_SECONDS[-1])


def _without_values(uuids: Sequence[str]) -> list[str]:
    """Return a sentence on GPUs that no row shows."""
    if not uuids:
        return []
    some = ", ".join(uuids[:NAMED_GPUS])
    more = f" and {len(uuids) - NAMED_GPUS} more" if len(uuids) > NAMED_GPUS else ""
    return [f"GPUs without any duty cycle from 0 to 100 are left out: {some}{more}."]


def _about(report: IdleReport, owners: Owners, settings: IdleSettings) -> list[str]:
    """Return sentences on what the report cannot tell."""
    notes = []
    if settings.namespace is not None and not report.pods:
        notes.append(f"No pod of the namespace {settings.namespace} held a GPU.")
    guessed = owners.ways()[Way.NAME]
    if guessed:
        whose = "one pod" if guessed == 1 else f"{guessed} pods"
        notes.append(f"The workload of {whose} is taken from the form of the pod's name.")
    if settings.prices.any_given and report.unpriced:
        models = ", ".join(one or "an unknown GPU model" for one in report.unpriced)
        notes.append(f"No cost: no --price matches {models}.")
    return notes


async def _owners(
    settings: IdleSettings, reader: RangeReader, steps: Span
) -> tuple[Owners, list[str]]:
    """Return the owners of pods, and why some may be missing."""
    owners = Owners()
    found = await read_cluster(settings.kubeconfig, settings.context, is_for_all=True)
    owners.add_pods(found.pods, Way.API)
    owners.add_replica_sets(found.replica_sets, Way.API)
    notes = [f"Some workloads are unknown: {problem}." for problem in found.problems]
    with suppress(PastError, PromqlError):
        await read_kube_state(reader, steps, owners)
    return owners, notes
