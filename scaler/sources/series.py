"""Pure: the samples of a text exposition, where series seen before are not parsed anew.

An exporter shows the same series in every answer and only their values change. Parsing labels is
nearly all of the work of reading an answer, so what a series is called is parsed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from scaler.model import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Whose value it is: the metric's name, the pod if one holds the GPU, and the GPU.

    `shared` is True where several may hold it.
    """

    name: str
    pod: ObjectRef | None
    uuid: str
    shared: bool = False


def read_samples(
    text: str, known: Mapping[str, Series]
) -> tuple[list[tuple[Series, float]], dict[str, Series]]:
    """Return the samples of `text` (format 0.0.4) in its order, and its series by their text.

    `known` is the second part of an earlier result.

    Raises:
        ValueError: a line is no sample.
    """
    samples: list[tuple[Series, float]] = []
    seen: dict[str, Series] = {}
    for line in text.split("\n"):
        if not line or line.isspace() or line.lstrip().startswith("#"):
            continue
        # Neither a value nor a timestamp has a brace, a label's value may have any.
        end = line.rfind("}") + 1
        written, rest = (line[:end], line[end:].split()) if end else _without_labels(line)
        if len(rest) not in (1, 2) or "_" in rest[0]:
            msg = f"the line is no sample: {line[:200]!r}"
            raise ValueError(msg)
        series = known.get(written) or _parse(written)
        seen[written] = series
        samples.append((series, float(rest[0])))
    return samples, seen


def _without_labels(line: str) -> tuple[str, list[str]]:
    name, *rest = line.split()
    return name, rest


def _parse(written: str) -> Series:
    (family,) = text_string_to_metric_families(f"{written} 0\n")
    (sample,) = family.samples
    pod = sample.labels.get("pod_name")
    namespace = sample.labels.get("namespace_name", "")
    return Series(
        name=sample.name,
        pod=ObjectRef(namespace=namespace, name=pod) if pod else None,
        uuid=sample.labels.get("uuid", ""),
        shared=sample.labels.get("allocate_mode") == "share",
    )
