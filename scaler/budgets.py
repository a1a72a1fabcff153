"""Pure: what each party may cost the scaler, in bytes, number and length of text.

What goes beyond a budget costs the party alone that sent it: its values are missing, and the reason
names it. Each bound is enforced where the party's bytes come in.
"""

from __future__ import annotations

from typing import Any, Final

PAGE_BYTES: Final = 4 * 2**20
"""One exporter's page, decompressed. 16 GPUs with 7 MIG instances each take 100 kB."""
PAGE_SAMPLES: Final = 20_000
LINE_CHARACTERS: Final = 8 * 2**10
INLINE_CHARACTERS: Final = 64 * 2**10
"""A longer page is parsed in a thread, so that the event loop goes on."""
TEXT_CHARACTERS: Final = 300
"""A text that another party wrote, in a reason, a log line or an event."""


class OverBudgetError(ValueError):
    """A party sent more than its budget; the message says of what and how much is allowed."""


def shown(thing: Any) -> str:
    """Return what came from outside as one short line that no terminal takes for a command."""
    parts = thing if isinstance(thing, list) else [thing]
    text = "; ".join(str(part)[: 2 * TEXT_CHARACTERS] for part in parts[:TEXT_CHARACTERS])
    words = " ".join(text[: 2 * TEXT_CHARACTERS].split())
    line = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in words)
    return line if len(line) <= TEXT_CHARACTERS else f"{line[:TEXT_CHARACTERS]}..."
