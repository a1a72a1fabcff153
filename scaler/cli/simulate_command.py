# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler simulate`: a history from Prometheus or a file, replayed under each policy.

It reads only; of files, it writes those that `--record` and `--plot` name.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from scaler.cli.interruption import interruption, unless
from scaler.cli.progress import Progress
from scaler.cli.recorded import read_recorded
from scaler.cli.recorded_deployments import NoHistoryError, RecordedDeployment
from scaler.model import ObjectRef
from scaler.policy.annotations import QUERY
from scaler.replay.anonymized import anonymized
from scaler.replay.answers import Learned
from scaler.replay.csv_recording import csv_recording
from scaler.replay.csv_text import CsvError, read_csv
from scaler.replay.documents import Simulation, simulations_csv, simulations_json
from scaler.replay.model import HPA, OURS
from scaler.replay.plans import Given, PlanError, policies_of, recorded_sources
from scaler.replay.recommendation import recommended
from scaler.replay.recording_text import (
    MAX_BYTES,
    RecordingTextError,
    read_recordings,
    recordings_text,
)
from scaler.replay.replay import as_it_was, replay
from scaler.replay.report import simulations_text
from scaler.replay.simulation_plot import simulations_html, simulations_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaler.cli.simulate import SimulateSettings
    from scaler.replay.model import Recording, ReplayResult

USUAL_START_SECONDS = 60.0
"""Where a start is neither given nor measured."""


@dataclass(slots=True)
class Simulated:
    """The simulations, and what to say beside them; `is_complete` unless interrupted."""

    simulations: list[Simulation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_complete: bool = True


async def simulate(settings: SimulateSettings) -> Simulated:
    """Return what was simulated until the end, or until SIGINT.

    Raises:
        NoHistoryError, PastError: there is nothing to simulate.
        OSError: a file cannot be read.
    """
    found = Simulated()
    with closing(Progress(sys.stderr)) as progress:
        async with interruption() as interrupted:
            recorded = await _recorded(settings, found, interrupted, progress)
            found.is_complete = not interrupted.is_set()
        recorded = [_with_flags(one, settings) for one in recorded]
        if settings.anonymizes:
            recorded = _anonymized(recorded)
            _hide_names(found)
            # They are among the recorded ones, as far as they name nothing.
            settings = replace(settings, wishes=replace(settings.wishes, annotations={}))
        # What was read before an interruption is simulated, until the next one.
        async with interruption() as interrupted:
            if settings.record is not None and recorded:
                await _written(found, settings.record, partial(_record, recorded=recorded))
            learned = Learned()
            for number, one in enumerate(recorded):
                # The first one shows at least what was.
                if interrupted.is_set() and found.simulations:
                    break
                progress.show("Simulating", number / len(recorded))
                simulation = await _simulation(settings, one, found, interrupted, learned)
                if simulation is not None:
                    found.simulations.append(simulation)
            found.is_complete = found.is_complete and not interrupted.is_set()
    if settings.plot is not None and found.simulations:
        draw = partial(_plot, settings=settings, simulations=found.simulations)
        await _written(found, settings.plot, draw)
    return found


async def _written(found: Simulated, name: str, write: Callable[[Path], None]) -> None:
    """Write a file; a failure is a problem, and what was read is still of use."""
    try:
        await asyncio.to_thread(write, Path(name))
    except OSError as error:
        found.problems.append(f"cannot write {name}: {error.strerror}")


def _hide_names(found: Simulated) -> None:
    """Replace what names Deployments."""
    if found.problems:
        found.problems = [
            f"problems that name Deployments are not shown: {len(found.problems)} (--anonymize)"
        ]
    found.notes = []


def _record(path: Path, recorded: Sequence[RecordedDeployment]) -> None:
    recordings = (one.recording for one in recorded)
    path.write_bytes(recordings_text(recordings, gpu_scaler_version=version("gpu-scaler")))


def _plot(path: Path, settings: SimulateSettings, simulations: Sequence[Simulation]) -> None:
    if path.suffix == ".html":
        text = simulations_html(simulations, settings.prices)
    else:
        text = simulations_svg(simulations)
    path.write_text(text, encoding="utf-8")


def shown(settings: SimulateSettings, simulations: Sequence[Simulation]) -> str:
    """Return the simulations in the format of the settings."""
    if settings.output == "json":
        return simulations_json(simulations, settings.prices)
    if settings.output == "csv":
        return simulations_csv(simulations, settings.prices)
    return simulations_text(simulations, settings.prices, is_wide=settings.output == "wide")


async def _recorded(
    settings: SimulateSettings,
    found: Simulated,
    interrupted: asyncio.Event,
    progress: Progress,
) -> list[RecordedDeployment]:
    if settings.csv is not None:
        recording = await unless(interrupted, partial(_of_csv, settings, settings.csv))
        return [] if recording is None else _alone(recording, settings, found)
    if settings.recording is not None:
        recordings = await unless(interrupted, partial(_of_file, settings.recording))
        if recordings is None:
            return []
        wanted = settings.deployments
        known = {one.ref for one in recordings}
        found.problems += [
            f"{ref}: is not in {settings.recording}" for ref in wanted if ref not in known
        ]
        chosen = [one for one in recordings if not wanted or one.ref in wanted]
        return [one for recording in chosen for one in _chosen(recording, settings, found)]
    assert settings.prometheus is not None
    history = await read_recorded(settings, settings.prometheus, interrupted, progress.show)
    found.problems += history.problems
    found.notes += history.notes
    return history.deployments


def _alone(
    recording: Recording, settings: SimulateSettings, found: Simulated
) -> list[RecordedDeployment]:
    """Return a recording without a cluster, unless its annotations or flags are wrong."""
    given = Given(ref=recording.ref, annotations=recording.annotations)
    wishes = settings.wishes
    try:
        sources = recorded_sources(
            given.effective(wishes), [one.metric for one in recording.metrics], wishes.query
        )
    except PlanError as error:
        found.problems.append(f"{recording.ref}: {error}")
        return []
    return [RecordedDeployment(given=given, sources=sources, recording=recording)]


def _with_flags(one: RecordedDeployment, settings: SimulateSettings) -> RecordedDeployment:
    """Return a recording that has what a replay needs, as the flags have it."""
    wishes, start = settings.wishes, settings.start_seconds
    texts = dict(one.given.effective(wishes))
    for source in one.sources:
        if source.query is not None:
            texts[QUERY] = source.query
    recording = replace(
        one.recording,
        annotations=texts,
        targets=wishes.targets or one.recording.targets,
        start_seconds=one.recording.start_seconds if start is None else start,
    )
    return replace(one, recording=recording)


def _chosen(
    recording: Recording, settings: SimulateSettings, found: Simulated
) -> list[RecordedDeployment]:
    """Return a recording of a file with the metric of `--metric` first, none without it."""
    wanted = settings.wishes.metric or recording.metric
    first = [one for one in recording.metrics if one.metric is wanted]
    if not first:
        names = ", ".join(one.metric for one in recording.metrics)
        found.problems.append(
            f"{recording.ref}: --metric {wanted} is not in {settings.recording}; it has {names}"
        )
        return []
    others = [one for one in recording.metrics if one.metric is not wanted]
    # The recorded targets are those of the metric that was first.
    targets = recording.targets if wanted is recording.metric else ()
    recording = replace(recording, metrics=(*first, *others), targets=targets)
    return _alone(recording, settings, found)


def _of_csv(settings: SimulateSettings, name: str) -> Recording:
    ref = next(
        iter(settings.deployments), ObjectRef("csv", "input" if name == "-" else Path(name).stem)
    )
    try:
        # Not in the encoding of the locale, which takes any byte for a character.
        file = sys.stdin.fileno() if name == "-" else Path(name)
        with open(file, encoding="utf-8", newline="", closefd=name != "-") as lines:
            samples = read_csv(lines, settings.csv_columns)
        return csv_recording(
            samples,
            ref,
            metric=settings.wishes.metric,
            step_seconds=settings.step_seconds,
            is_counter=settings.csv_counts,
        )
    except CsvError as error:
        raise NoHistoryError(f"{name} {error}") from error
    except UnicodeDecodeError as error:
        raise NoHistoryError(
            f"{name} is not UTF-8 text ({error.reason}): save it as CSV in UTF-8"
        ) from error


def _of_file(name: str) -> tuple[Recording, ...]:
    with Path(name).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        return read_recordings(data)
    except RecordingTextError as error:
        raise NoHistoryError(f"{name} {error}") from error


def _anonymized(recorded: Sequence[RecordedDeployment]) -> list[RecordedDeployment]:
    recordings = anonymized([one.recording for one in recorded])
    return [
        replace(
            one,
            given=Given(ref=recording.ref, annotations=recording.annotations),
            # They may name anything.
            sources=tuple(replace(source, query=None, selector=None) for source in one.sources),
            recording=recording,
        )
        for one, recording in zip(recorded, recordings, strict=True)
    ]


async def _simulation(
    settings: SimulateSettings,
    one: RecordedDeployment,
    found: Simulated,
    interrupted: asyncio.Event,
    learned: Learned,
) -> Simulation | None:
    recording = one.recording
    highest = max((count for count in recording.replicas if count is not None), default=0)
    wishes = replace(settings.wishes, targets=recording.targets)
    try:
        policies, notes = policies_of(one.given, wishes, one.sources, highest_replicas=highest)
    except PlanError as error:
        found.problems.append(f"{recording.ref}: {error}")
        return None
    start = recording.start_seconds
    if start is None:
        start = USUAL_START_SECONDS
        notes = (
            *notes,
            f"How long pods take to start is unknown: simulated with {start:g} s (--start-time).",
        )
    others = policies[0].targets[1:]
    counted = {one.metric for one in policies[0].targets}
    recording = replace(
        recording,
        metrics=tuple(metric for metric in recording.metrics if metric.metric in counted),
        notes=(*recording.notes, *notes),
        start_seconds=start,
    )
    results: list[ReplayResult] = [as_it_was(recording)]
    try:
        for policy in policies:
            for party in (OURS, HPA):
                result = await asyncio.to_thread(
                    replay,
                    recording,
                    policy,
                    party=party,
                    start_seconds=start,
                    learned=learned,
                    should_stop=interrupted.is_set,
                )
                results.append(result)
    except TimeoutError:
        # Interrupted: a recommendation would be of some of the targets.
        return Simulation(recording=recording, results=tuple(results), other_targets=others)
    recommendation = recommended(
        recording, results, policies[0], max_saturated=settings.max_saturated
    )
    return Simulation(
        recording=recording,
        results=tuple(results),
        other_targets=others,
        recommendation=recommendation,
    )
