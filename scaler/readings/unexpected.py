"""Errors that nobody foresaw: each costs the party whose answer it came from, and nobody else."""

from __future__ import annotations

import logging

from scaler.budgets import shown

log = logging.getLogger(__name__)

MAX_TOLD = 100
_told: set[tuple[str, type[Exception], str]] = set()


def unexpected(party: str, error: Exception) -> str:
    """Return what to say of an unforeseen error; its traceback is logged once for each kind."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = "" if last is None else f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
    kind = (party, type(error), where)
    if kind not in _told and len(_told) < MAX_TOLD:
        _told.add(kind)
        log.error("Answer cannot be used", extra={"party": party}, exc_info=error)
    return f"failed: {type(error).__name__}: {shown(error)}"
