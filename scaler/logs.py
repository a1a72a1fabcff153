"""How log lines look: logfmt or JSON, one line each, with the `extra` values of the call."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class StructuredFormatter(logging.Formatter):
    """Formats a record as `ts= level= logger= msg= key=value...`, or as one JSON object."""

    def __init__(self, *, json: bool) -> None:
        super().__init__()
        self._json = json

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, a traceback as its last field."""
        at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "ts": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        if self._json:
            return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        return " ".join(f"{key}={_logfmt(value)}" for key, value in fields.items())


def set_up_logging(*, level: str, log_format: str) -> None:
    """Send everything at `level` and above to stderr in `log_format` (logfmt or json)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(StructuredFormatter(json=log_format == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _logfmt(value: object) -> str:
    text = "" if value is None else str(value)
    if text and not any(character in text for character in ' "=\n\t\r'):
        return text
    return orjson.dumps(text).decode()
