"""Log records -> logfmt and JSON lines."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from exporter.logs import JsonFormatter, LogfmtFormatter


def record(message="NVML answers", *arguments, **extra):
    made = logging.getLogger("exporter.sampler").makeRecord(
        "exporter.sampler", logging.WARNING, __file__, 1, message, arguments, None, extra=extra
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
            record(reason='a "quoted" = sign\nand line'),
            r'msg="NVML answers" reason="a \"quoted\" = sign\nand line"',
            id="quoted",
        ),
        pytest.param(
            record("%s went", "wrong", reason=""), 'msg="wrong went" reason=""', id="empty"
        ),
    ],
)
def test_logfmt(made, line):
    assert LogfmtFormatter().format(made) == (
        f"ts=2023-11-14T22:13:20.250Z level=warning logger=exporter.sampler {line}"
    )


def test_json():
    assert json.loads(JsonFormatter().format(record(devices=2, path=("a", "b")))) == {
        "ts": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "exporter.sampler",
        "msg": "NVML answers",
        "devices": 2,
        "path": ["a", "b"],
    }


def test_an_exception_stays_on_the_line():
    made = record()
    try:
        raise ValueError("odd")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = LogfmtFormatter().format(made)
    assert "ValueError: odd" in line
    assert "\n" not in line
