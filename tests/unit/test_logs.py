"""Log records -> logfmt and JSON lines; and how all calls that log are worded."""

from __future__ import annotations

import ast
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from toolkit.logs import JsonFormatter, LogfmtFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
# `reason` is a Kubernetes reason alone: that of a decision, which is no literal key of a call.
OTHER_NAMES_FOR_CAUSES = {"cause", "details", "problem", "reason", "why"}


def record(message="NVML answers", *arguments, **extra):
    made = logging.getLogger("exporter.nvml.sampler").makeRecord(
        "exporter.nvml.sampler", logging.WARNING, __file__, 1, message, arguments, None, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


@pytest.mark.parametrize(
    ("made", "line"),
    [
        pytest.param(
            record(devices=2, driver_version="580.65.06"),
            'msg="NVML answers" devices=2 driver_version=580.65.06',
            id="values",
        ),
        pytest.param(
            record(error='a "quoted" = sign\nand line'),
            r'msg="NVML answers" error="a \"quoted\" = sign\nand line"',
            id="quoted",
        ),
        pytest.param(record("%s went", "wrong", error=""), 'msg="wrong went" error=""', id="empty"),
        pytest.param(
            record(namespace=None, kind="pods"), 'msg="NVML answers" kind=pods', id="None"
        ),
    ],
)
def test_logfmt(made, line):
    assert LogfmtFormatter().format(made) == (
        f"ts=2023-11-14T22:13:20.250Z level=warning logger=exporter.nvml.sampler {line}"
    )


def test_json():
    made = record(devices=2, path=("a", "b"), namespace=None)
    assert json.loads(JsonFormatter().format(made)) == {
        "ts": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "exporter.nvml.sampler",
        "msg": "NVML answers",
        "devices": 2,
        "path": ["a", "b"],
        "namespace": None,
    }


def test_an_exception_stays_on_the_line():
    made = record()
    try:
        raise ValueError("odd")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = LogfmtFormatter().format(made)
    assert 'exception="Traceback' in line
    assert "ValueError: odd" in line
    assert "\n" not in line
    assert json.loads(JsonFormatter().format(made))["exception"].endswith("ValueError: odd")


def logging_calls(*folders: str) -> Iterator[tuple[str, ast.Call]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    logger = node.func.value
                    if (
                        node.func.attr in LEVELS
                        and isinstance(logger, ast.Name)
                        and logger.id.strip("_") in ("log", "logger")
                    ):
                        yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_every_message_begins_with_a_capital_letter():
    messages = {
        where: str(call.args[0].value)
        for where, call in logging_calls("exporter", "scaler", "simulator", "toolkit")
        if isinstance(call.args[0], ast.Constant)
    }
    assert len(messages) > 50
    assert [where for where, message in messages.items() if not message[0].isupper()] == []


def test_every_cause_is_called_error():
    names = {
        where: {key.value for key in extra.keys if isinstance(key, ast.Constant)}
        for where, call in logging_calls("exporter", "scaler", "simulator", "toolkit")
        for extra in (word.value for word in call.keywords if word.arg == "extra")
        if isinstance(extra, ast.Dict)
    }
    assert len(names) > 50
    assert [where for where, found in names.items() if found & OTHER_NAMES_FOR_CAUSES] == []
