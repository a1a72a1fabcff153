# SPDX-License-Identifier: Apache-2.0
"""Log records -> logfmt and JSON lines; and how all calls that log are worded."""

from __future__ import annotations

import ast
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from toolkit.logs import MOST_CHARACTERS, JsonFormatter, LogfmtFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = ("exporter", "scaler", "simulator", "toolkit")
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


@pytest.mark.parametrize("formatter", [LogfmtFormatter(), JsonFormatter()], ids=["logfmt", "json"])
def test_no_value_fills_the_log(formatter):
    """Whatever an API server, a client or an exception says, a line has a bound."""
    megabyte = "a word " * 150_000
    made = record(f"%s{megabyte}", "", error=megabyte, code=13)
    try:
        raise ValueError(megabyte)
    except ValueError:
        made.exc_info = sys.exc_info()
    line = formatter.format(made)
    assert len(line) < 4 * MOST_CHARACTERS
    for beginning in ("a word a word", "Traceback"):
        assert beginning in line
    assert "code" in line


def logged(*folders: str) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    """Yield where each line of log is written, its message and its further fields."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                where = f"{file.relative_to(ROOT)}:{node.lineno}"
                logger = ast.unparse(node.func.value).strip("_")
                if node.func.attr in LEVELS and logger in ("log", "logger"):
                    fields = (word.value for word in node.keywords if word.arg == "extra")
                    yield where, node.args[0], next(fields, None)
                elif node.func.attr == "log" and len(node.args) == 4:
                    # What a PartyLog is told: level, party, message, fields.
                    yield where, node.args[2], node.args[3]


def constants(message: ast.expr) -> list[str]:
    """Return the sentences that a message can be, none for one that a helper was given."""
    parts = (message.body, message.orelse) if isinstance(message, ast.IfExp) else (message,)
    return [str(one.value) for one in parts if isinstance(one, ast.Constant)]


def test_every_message_is_a_constant_sentence_with_a_capital_letter():
    messages = {where: message for where, message, _ in logged(*PACKAGES)}
    assert sum(bool(constants(one)) for one in messages.values()) > 80
    made_up = (ast.JoinedStr, ast.BinOp)
    assert [where for where, one in messages.items() if isinstance(one, made_up)] == []
    assert [
        (where, text)
        for where, message in messages.items()
        for text in constants(message)
        if not text[0].isupper() or text.endswith(".")
    ] == []


def test_every_cause_is_called_error():
    names = {
        where: {key.value for key in part.keys if isinstance(key, ast.Constant)}
        for where, _, fields in logged(*PACKAGES)
        for part in ast.walk(fields or ast.Constant(None))
        if isinstance(part, ast.Dict)
    }
    assert len(names) > 70
    assert [where for where, found in names.items() if found & OTHER_NAMES_FOR_CAUSES] == []
