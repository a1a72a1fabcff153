"""Pure: what each party may cost the scaler, in bytes, number and length of text.

What goes beyond a budget costs the party alone that sent it: its values are missing, and the reason
names it. Each bound is enforced where the party's bytes come in.
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
"""A longer page is parsed in a thread, so that the event loop goes on."""
INLINE_SAMPLES: Final = 256
"""What a page of that length has; more are joined to pods in a thread as well."""
TEXT_CHARACTERS: Final = 300
"""A text that another party wrote, in a reason, a log line or an event."""

ANNOTATIONS: Final = 64
"""Annotations of ours on one Deployment or Namespace; there are a third as many names."""
ANNOTATIONS_BYTES: Final = 32 * 2**10
"""Their names and values together; the longest query takes a quarter of it."""
ANNOTATIONS_LEFT_OUT: Final = "gpu-scaler/*"
"""Under this name stands how many are left out: no API server takes such a name."""
BEHAVIOR_BYTES: Final = 4 * 2**10
BEHAVIOR_NODES: Final = 200
"""Fields and values of a behavior; one with four policies in each direction has 60."""
BEHAVIOR_DEPTH: Final = 10
PARSING_SECONDS: Final = 0.4
"""Processor time in one loop for annotations that have changed."""
PARSING_SLICE_SECONDS: Final = 0.02
"""For so long the event loop does nothing else meanwhile."""
PROBLEMS: Final = 20
"""Mistakes in a Deployment's annotations that are named one by one."""
MESSAGE_BYTES: Final = 2 * 2**10
"""The message of a decision, which goes to events, the log, the page and the API from there."""

LOG_BYTES: Final = 2 * 2**10
"""In a minute, about what goes wrong with the Deployments of one namespace; a line takes 400."""
CHANGES_LOG_BYTES: Final = 64 * 2**10
"""In a minute, about replica counts of one namespace that were changed."""


class OverBudgetError(ValueError):
    """A party sent more than its budget; the message says of what and how much is allowed."""


def size_bytes(text: str) -> int:
    """Return the length in UTF-8, whatever the text."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def clipped(text: str, most_bytes: int = MESSAGE_BYTES) -> str:
    """Return the text, cut off where it is too long."""
    if 4 * len(text) <= most_bytes or size_bytes(text) <= most_bytes:
        return text
    cut = text.encode(errors="replace")[: most_bytes - 3]
    return cut.decode(errors="ignore") + "..."


def kept_annotations(
    annotations: Mapping[str, str], *, known: AbstractSet[str]
) -> Mapping[str, str]:
    """Return the annotations of ours that are in the budget: those with known names come first.

    What is left out is counted under a name of its own, so that it is refused and never forgotten.
    """
    sizes = {name: size_bytes(name) + size_bytes(value) for name, value in annotations.items()}
    if len(sizes) <= ANNOTATIONS and sum(sizes.values()) <= ANNOTATIONS_BYTES:
        return annotations
    kept: dict[str, str] = {}
    left_bytes = ANNOTATIONS_BYTES
    for name in sorted(sizes, key=lambda one: (one not in known, sizes[one], one)):
        if len(kept) < ANNOTATIONS and sizes[name] <= left_bytes:
            kept[name] = annotations[name]
            left_bytes -= sizes[name]
    kept[ANNOTATIONS_LEFT_OUT] = str(len(sizes) - len(kept))
    return kept


def shown(thing: Any) -> str:
    """Return what came from outside as one short line that no terminal takes for a command."""
    parts = thing if isinstance(thing, list) else [thing]
    text = "; ".join(str(part)[: 2 * TEXT_CHARACTERS] for part in parts[:TEXT_CHARACTERS])
    words = " ".join(text[: 2 * TEXT_CHARACTERS].split())
    line = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in words)
    return line if len(line) <= TEXT_CHARACTERS else f"{line[:TEXT_CHARACTERS]}..."
