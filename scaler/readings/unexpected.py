# SPDX-License-Identifier: Apache-2.0
"""Unexpected errors; each affects only the party whose answer caused it."""

from __future__ import annotations

import logging

from scaler.budgets import shown

log = logging.getLogger(__name__)

MAX_KINDS = 100
_logged: set[tuple[str, type[Exception], str]] = set()


def unexpected(party: str, error: Exception) -> str:
    """Return the message for an unexpected error; each kind's traceback is logged once."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = "" if last is None else f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
    kind = (party, type(error), where)
    if kind not in _logged and len(_logged) < MAX_KINDS:
        _logged.add(kind)
        log.error("Cannot use an answer", extra={"party": party}, exc_info=error)
    return f"failed: {type(error).__name__}: {shown(error)}"
