# SPDX-License-Identifier: Apache-2.0
"""Log lines in logfmt or JSON: a constant message with its values."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final

_STANDARD_ATTRIBUTES: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", None, None)).keys()
    | {"message", "asctime", "taskName"}
)
MOST_CHARACTERS: Final = 16_384
"""Of one value. What fails may say megabytes, and others' lines would be lost for it."""
_PLAIN_VALUE: Final = re.compile(r"[^\s\"=]+")


def set_up(*, level: str, log_format: str) -> None:
    """Write all logs of `level` and above to standard error in `log_format`, logfmt or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else LogfmtFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields: dict[str, object] = {
        "ts": at.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": _clipped(record.getMessage()),
    }
    fields |= {
        name: _clipped(value) if isinstance(value, str) else value
        for name, value in vars(record).items()
        if name not in _STANDARD_ATTRIBUTES
    }
    if record.exc_info:
        fields["exception"] = _clipped(logging.Formatter().formatException(record.exc_info))
    return fields


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


class LogfmtFormatter(logging.Formatter):
    """`ts=... level=... msg="..." name=value`, one line per record, without None values."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return " ".join(
            f"{name}={_quoted(value)}"
            for name, value in _fields(record).items()
            if value is not None
        )


class JsonFormatter(logging.Formatter):
    """One JSON object per record; None becomes null."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(_fields(record), default=str, ensure_ascii=False)


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN_VALUE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
