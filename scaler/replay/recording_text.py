# SPDX-License-Identifier: Apache-2.0
"""Pure: recordings as a JSON document, to keep, to replay again and to attach to a bug report."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import msgspec

from scaler.decision.proposals import SATURATING_METRICS
from scaler.model import TOTAL_METRICS, Metric, ObjectRef
from scaler.replay.demand import HIGHEST_PERCENT, LONGEST_STEP_SECONDS
from scaler.replay.model import MAX_TARGETS, RecordedMetric, Recording

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION: Final = 2
READABLE_VERSIONS: Final = (1, 2)
"""Version 1 has no annotations and no targets."""
MAX_BYTES: Final = 256 * 2**20
"""Seven days of 1,000 Deployments at one point a minute take 150 MB."""
MAX_RECORDINGS: Final = 2_000
MAX_POINTS: Final = 10_000_000
"""Points of all recordings together."""
_MAX_VALUE_MILLI: Final = 10**18
_MAX_REPLICAS: Final = 100_000
_MAX_START_SECONDS: Final = 86_400.0
_MAX_UNIX_SECONDS: Final = 1e11

_SHARED: Final = (
    *("begun_unix_seconds", "step_seconds", "replicas"),
    *("gpus_per_replica", "gpu_model", "start_seconds", "notes", "annotations", "targets"),
)
"""Fields that are alike in the text and in a recording."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
_AnnotationName = Annotated[str, msgspec.Meta(min_length=1, max_length=317)]
_AnnotationValue = Annotated[str, msgspec.Meta(max_length=262_144)]
"""All annotations of an object together have that many bytes at most."""
_TargetText = Annotated[str, msgspec.Meta(max_length=253)]
_Milli = Annotated[int, msgspec.Meta(ge=0, le=_MAX_VALUE_MILLI)]
_Replicas = Annotated[int, msgspec.Meta(ge=0, le=_MAX_REPLICAS)]


_Form = TypeVar("_Form")


class RecordingTextError(ValueError):
    """A text is no recording; the message says where and why."""


class _MetricText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    metric: Metric
    demand_milli: tuple[_Milli | None, ...]
    floor: tuple[Literal[0, 1], ...]


class _RecordingText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    namespace: _Name
    name: _Name
    kind: Annotated[str, msgspec.Meta(max_length=253)] = ""
    begun_unix_seconds: Annotated[float, msgspec.Meta(ge=0, le=_MAX_UNIX_SECONDS)]
    step_seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_STEP_SECONDS)]
    gpus_per_replica: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    gpu_model: Annotated[str, msgspec.Meta(max_length=253)] | None
    start_seconds: Annotated[float, msgspec.Meta(ge=0, le=_MAX_START_SECONDS)] | None
    notes: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=2_000)], ...], msgspec.Meta(max_length=100)
    ]
    annotations: Annotated[
        dict[_AnnotationName, _AnnotationValue], msgspec.Meta(max_length=1_000)
    ] = {}
    targets: Annotated[tuple[_TargetText, ...], msgspec.Meta(max_length=MAX_TARGETS)] = ()
    metrics: Annotated[tuple[_MetricText, ...], msgspec.Meta(min_length=1, max_length=len(Metric))]
    replicas: tuple[_Replicas | None, ...]


class _RecordingsText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    gpu_scaler_recording: int
    gpu_scaler_version: Annotated[str, msgspec.Meta(max_length=253)]
    recordings: Annotated[
        tuple[_RecordingText, ...], msgspec.Meta(min_length=1, max_length=MAX_RECORDINGS)
    ]


class _Head(msgspec.Struct, frozen=True):
    """What every version of the document has."""

    gpu_scaler_recording: int


def recordings_text(recordings: Iterable[Recording], *, gpu_scaler_version: str) -> bytes:
    """Return the document of these recordings, as UTF-8 with one recording per line."""
    head = msgspec.json.encode(
        {"gpu_scaler_recording": VERSION, "gpu_scaler_version": gpu_scaler_version}
    )
    lines = b",\n".join(msgspec.json.encode(_text(one)) for one in recordings)
    return head[:-1] + b',"recordings":[\n' + lines + b"\n]}\n"


def read_recordings(data: bytes) -> tuple[Recording, ...]:
    """Return the recordings of a document.

    Raises:
        RecordingTextError: it is no such document, of another version, or beyond the limits.
    """
    if len(data) > MAX_BYTES:
        raise RecordingTextError(
            f"is {len(data)} bytes long; allowed are up to {MAX_BYTES}: record fewer Deployments"
            " or a shorter time"
        )
    # Editors may begin a file with it.
    data = data.removeprefix(codecs.BOM_UTF8)
    version = _decoded(
        data, _Head, "is not a recording that gpu-scaler simulate --record wrote"
    ).gpu_scaler_recording
    if version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise RecordingTextError(
            f"has version {version} of the recording format; this gpu-scaler reads versions {known}"
        )
    document = _decoded(data, _RecordingsText, "is not a valid recording")
    points = sum(len(one.replicas) * len(one.metrics) for one in document.recordings)
    if points > MAX_POINTS:
        raise RecordingTextError(f"has {points} points; allowed are up to {MAX_POINTS}")
    seen: set[tuple[str, str, str]] = set()
    for number, one in enumerate(document.recordings):
        key = (one.namespace, one.kind, one.name)
        if key in seen:
            raise RecordingTextError(
                f"has a second recording of the same workload at $.recordings[{number}]"
            )
        seen.add(key)
    return tuple(_recording(one, number) for number, one in enumerate(document.recordings))


def _decoded(data: bytes, form: type[_Form], problem: str) -> _Form:
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingTextError(f"{problem}: {error}") from None


def _text(recording: Recording) -> _RecordingText:
    return _RecordingText(
        namespace=recording.ref.namespace,
        name=recording.ref.name,
        kind=recording.ref.kind,
        metrics=tuple(
            _MetricText(
                metric=one.metric,
                demand_milli=one.demand_milli,
                floor=tuple(1 if floor else 0 for floor in one.floor),
            )
            for one in recording.metrics
        ),
        **{name: getattr(recording, name) for name in _SHARED},
    )


def _recording(text: _RecordingText, number: int) -> Recording:
    where = f"$.recordings[{number}]"
    if not text.replicas:
        raise RecordingTextError(f"has no points at {where}")
    names = [one.metric for one in text.metrics]
    if len(set(names)) < len(names) or len(TOTAL_METRICS.intersection(names)) > 1:
        raise RecordingTextError(
            f"has the metrics {', '.join(names)} at {where}: each may be there once, and only one"
            f" of {', '.join(sorted(TOTAL_METRICS))}"
        )
    for place, one in enumerate(text.metrics):
        _check_metric(one, text.replicas, f"{where}.metrics[{place}]")
    shown = (text.namespace, text.name, text.kind, text.gpu_model or "", *text.notes)
    for name in (*shown, *text.annotations, *text.targets):
        if not name.isprintable():
            raise RecordingTextError(f"has a control character in a text at {where}: {name!r:.80}")
    return Recording(
        ref=ObjectRef(namespace=text.namespace, name=text.name, kind=text.kind),
        metrics=tuple(
            RecordedMetric(
                metric=one.metric,
                demand_milli=one.demand_milli,
                floor=tuple(floor == 1 for floor in one.floor),
            )
            for one in text.metrics
        ),
        **{name: getattr(text, name) for name in _SHARED},
    )


def _check_metric(text: _MetricText, replicas: tuple[int | None, ...], where: str) -> None:
    lengths = len(text.demand_milli), len(text.floor), len(replicas)
    if len(set(lengths)) > 1:
        raise RecordingTextError(
            f"has series of different lengths at {where}: demand_milli has {lengths[0]} points,"
            f" floor {lengths[1]}, replicas {lengths[2]}"
        )
    if text.demand_milli.count(None) == lengths[0]:
        raise RecordingTextError(f"has no value in demand_milli at {where}")
    if text.metric not in SATURATING_METRICS:
        return
    for step, (demand, pods) in enumerate(zip(text.demand_milli, replicas, strict=True)):
        if demand is not None and pods is not None and demand > pods * HIGHEST_PERCENT * 1000:
            raise RecordingTextError(
                f"has a demand of {demand / 1000:g} at {where}.demand_milli[{step}], and"
                f" {pods} pods in replicas: each pod has at most 100 % {text.metric}"
            )
