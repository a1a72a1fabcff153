"""What the documentation shows, for tests to try."""

from __future__ import annotations

import re


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language, as they stand."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(text: str) -> list[str]:
    """Return the lines of a page's `bash` blocks: those that tests run."""
    return "".join(blocks(text, "bash")).splitlines()
