# SPDX-License-Identifier: Apache-2.0
"""Pure: limits for input from outside, in bytes, counts and lengths of text.

Input over its budget affects only its sender: the sender's values are missing, and the reason names
it. Each limit is enforced where the bytes arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

PAGE_BYTES: Final = 4 * 2**20
"""One exporter's page, decompressed. 16 GPUs with 7 MIG instances each take 100 kB."""
PAGE_SAMPLES: Final = 20_000
LINE_CHARACTERS: Final = 8 * 2**10
INLINE_CHARACTERS: Final = 64 * 2**10
"""A longer page is parsed in a thread, so that it does not block the event loop."""
INLINE_SAMPLES: Final = 256
"""Samples in a page of that length; more are also joined to pods in a thread."""
SERVER_PAGE_BYTES: Final = 2 * 2**20
"""One model server's page; a Ray Serve head under load has 540 kB."""
METRIC_SERIES: Final = 2_000
"""Series of one metric of that page; there is one per engine, model, deployment or endpoint."""
QUEUES: Final = 64
"""Different queues of one namespace: pages, and sums of one page."""
IDLE_WORKLOADS: Final = 1_000
"""Workloads without gpu-scaler's annotations whose idle GPUs are counted one by one."""
IDLE_WORKLOADS_OF_NAMESPACE: Final = 200
IDLE_NAMESPACES: Final = 200
"""Namespaces with pods that are not watched: whatever an exporter calls them."""
SELECTED_PODS: Final = 1_000
"""Pods that the selectors of one namespace's workloads may find, all of them together."""
SELECTIONS_OF_POD: Final = 10
"""And as many more for each pod of the namespace: selectors that overlap a little are fine."""
CHECKS_PER_SELECTION: Final = 10
"""Comparing a pod's labels with this many requirements counts as finding one pod."""
LOOKS_PER_SELECTION: Final = 100
"""Looking at this many pods that have one of the labels counts as finding one pod."""
TEXT_CHARACTERS: Final = 300
"""Text from outside that is quoted in a reason, a log line or an event."""
NAME_CHARACTERS: Final = 253
"""A name in Kubernetes."""

ANNOTATIONS: Final = 64
"""Annotations of gpu-scaler on one Deployment or Namespace: three times the known names."""
ANNOTATIONS_BYTES: Final = 32 * 2**10
"""Total size of their names and values; the longest query takes a quarter of it."""
ANNOTATIONS_LEFT_OUT: Final = "gpu-scaler/*"
"""Key that holds the number left out; no API server accepts it as an annotation's name."""
BEHAVIOR_BYTES: Final = 4 * 2**10
BEHAVIOR_NODES: Final = 200
"""Fields and values of a behavior; four policies in each direction make 60."""
BEHAVIOR_DEPTH: Final = 10
SCHEDULE_ENTRIES: Final = 16
"""Entries of a schedule, whose text has the budget of a behavior."""
PARSING_SECONDS: Final = 0.4
"""CPU time in one loop for parsing changed annotations."""
SCHEDULES_SECONDS: Final = 0.2
"""CPU time in one loop for looking up the entries of schedules; 2,000 with 16 each fit."""
SLICE_SECONDS: Final = 0.02
"""How long either may block the event loop at a time."""
PROBLEMS: Final = 20
"""Problems in a Deployment's annotations that are listed one by one."""
MESSAGE_BYTES: Final = 2 * 2**10
"""The message of a decision, as used in events, the log, the status page and the API."""

LOG_BYTES: Final = 2 * 2**10
"""Log bytes per minute about problems of one namespace's Deployments; a line takes 400."""
CHANGES_LOG_BYTES: Final = 64 * 2**10
"""Log bytes per minute about changed replica counts of one namespace."""


class OverBudgetError(ValueError):
    """Input exceeds its budget; the message says what is too large and what is allowed."""


def size_bytes(text: str) -> int:
    """Return the length in UTF-8; never raises."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def clipped(text: str, most_bytes: int = MESSAGE_BYTES) -> str:
    """Return the text, truncated to `most_bytes`."""
    if 4 * len(text) <= most_bytes or size_bytes(text) <= most_bytes:
        return text
    cut = text.encode(errors="replace")[: most_bytes - 3]
    return cut.decode(errors="ignore") + "..."


def kept_annotations(
    annotations: Mapping[str, str], *, first: str, known: AbstractSet[str]
) -> Mapping[str, str]:
    """Return the annotations of gpu-scaler within the budget, those with known names first.

    The annotation `first` always stays, at most clipped. The number left out is kept under
    `ANNOTATIONS_LEFT_OUT`, so that the Deployment is refused.
    """
    sizes = {name: size_bytes(name) + size_bytes(value) for name, value in annotations.items()}
    if len(sizes) <= ANNOTATIONS and sum(sizes.values()) <= ANNOTATIONS_BYTES:
        return annotations
    kept = {first: clipped(annotations[first])} if first in annotations else {}
    left_bytes = ANNOTATIONS_BYTES - MESSAGE_BYTES
    for name in sorted(
        sizes.keys() - kept.keys(), key=lambda one: (one not in known, sizes[one], one)
    ):
        if len(kept) < ANNOTATIONS and sizes[name] <= left_bytes:
            kept[name] = annotations[name]
            left_bytes -= sizes[name]
    kept[ANNOTATIONS_LEFT_OUT] = str(len(sizes) - len(kept))
    return kept


def shown(thing: Any) -> str:
    """Return text from outside as one short line without control characters."""
    parts = thing if isinstance(thing, list) else [thing]
    text = "; ".join(str(part)[: 2 * TEXT_CHARACTERS] for part in parts[:TEXT_CHARACTERS])
    words = " ".join(text[: 2 * TEXT_CHARACTERS].split())
    line = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in words)
    return line if len(line) <= TEXT_CHARACTERS else f"{line[:TEXT_CHARACTERS]}..."


def shown_name(value: object) -> str:
    """Return a label's value that is shown as a name, as `shown` does and no longer than one."""
    if isinstance(value, str) and len(value) <= NAME_CHARACTERS and value.isprintable():
        return value
    return shown(value)[:NAME_CHARACTERS]
